// The fault table (docs/verification.md), rows of messages, certificates, deadlines and the disk: the server's state machine on its
// database behind its real port, and who talks to it over TLS. Rows with processes that are killed are in
// app/federation_faults_test.
#include <arpa/inet.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <future>
#include <limits>
#include <map>

#include "base/file_size_limit.h"
#include "base/signature.h"
#include "net/certificates.h"
#include "net/grpc_connection.h"
#include "net/grpc_server.h"
#include "net/messages.h"
#include "net/site_session.h"
#include "store/raw_database.h"
#include "store/server_store.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::ChunkOfManifest;
using testing::EnrolmentIn;
using testing::ManifestOf;
using testing::RawSql;

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

constexpr int64_t kValues = kChunkBytes / 4 + 3;  // two pieces
constexpr int64_t kDeadlineMs = 60'000;
constexpr char kAgreement[] = "model a\nrounds: 2\n";
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument, kPrecondition = absl::StatusCode::kFailedPrecondition,
               kDenied = absl::StatusCode::kPermissionDenied, kUnavailable = absl::StatusCode::kUnavailable;
constexpr size_t kOsaka = 0, kLyon = 1;

/// Tells what happens, and may change what a call brings.
class WatchedConnection : public ServerConnection {
 public:
  explicit WatchedConnection(ServerConnection& inner) : inner_(inner) {}
  std::function<void(Rpc)> before = [](Rpc) {};
  std::function<void(Rpc, std::string&)> after = [](Rpc, std::string&) {};
  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t timeout_ms) override {
    before(rpc);
    StatusOr<std::string> reply = inner_.Call(rpc, request, timeout_ms);
    if (reply.ok()) after(rpc, *reply);
    return reply;
  }

 private:
  ServerConnection& inner_;
};

class FaultTable : public ::testing::Test {
 protected:
  FaultTable() : authority_(Authority()) {
    const CertifiedKey server = Issue(authority_, CertificateUse::kServer, "server");
    server_identity_ = {server.certificate_pem, server.private_key_pem, authority_.certificate_pem};
    for (const char* name : {"osaka", "lyon"}) {
      const CertifiedKey key = Issue(authority_, CertificateUse::kSite, name);
      keys_.push_back(key);
      roster_.sites.push_back({name, {ParseCertificate(key.certificate_pem)->fingerprint, ""}, false});
    }
    Start();
  }

  static CertifiedKey Authority() { return *MakeAuthority("clinics", ValidForDays(std::time(nullptr), 30)); }
  static CertifiedKey Issue(const CertifiedKey& authority, CertificateUse use, const std::string& name,
                            std::optional<Validity> validity = std::nullopt) {
    const std::vector<std::string> hosts = {"127.0.0.1"};
    const auto key = IssueCertificate(authority, {.use = use,
                                                  .name = name,
                                                  .hosts = use == CertificateUse::kServer ? hosts : std::vector<std::string>(),
                                                  .validity = validity.value_or(ValidForDays(std::time(nullptr), 10)),
                                                  .renewed_pem = ""});
    EXPECT_TRUE(key.ok()) << key.status();
    return *key;
  }

  // The server.

  ServerOptions Options() const {
    ServerOptions options;
    options.run = "r";
    options.agreement = kAgreement;
    options.sites = {"osaka", "lyon"};
    options.exchange_rounds = {1, 2};
    options.values = kValues;
    options.minimum_cohort = 2;
    options.deadline_ms = kDeadlineMs;
    return options;
  }
  StatusOr<std::unique_ptr<ServerStore>> OpenStore() {
    return ServerStore::Open(folder_.path(), {"r",
                                              {"osaka", "lyon"},
                                              [this] { return clock_.now_ms; },
                                              [this](std::string_view message) {
                                                const Ed25519Signature signature = signing_key_.Sign(message);
                                                return std::string(signature.begin(), signature.end());
                                              }});
  }
  /// Begins, or dies and comes back.
  void Start() {
    port_.reset();
    core_.reset();
    store_.reset();
    connections_.clear();
    auto store = OpenStore();
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    core_ = std::make_unique<ServerCore>(Options(), *store_, clock_);
    ASSERT_TRUE(core_->Recover().ok());
    const auto identify = [this, by_roster = IdentifyBy(roster_)](const std::string& certificate) {
      ++callers_;
      return by_roster(certificate);
    };
    auto port = GrpcServer::Start("127.0.0.1:0", server_identity_, identify, *core_, clock_);
    ASSERT_TRUE(port.ok()) << port.status();
    port_ = *std::move(port);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_->port()); }
  /// What the server does by itself; the error of the disk if there is one.
  Status Step() {
    const auto closing = core_->Tick();
    if (!closing.ok()) return closing.status();
    if (!*closing) return absl::OkStatus();
    const auto method = MakeMethod({});
    return core_->Finish(**closing, Aggregate(**closing, {method->get(), {{}, 1, UploadFormat::kFloat32}, kValues, Options().sites}, *store_));
  }
  void EnrolBoth() {
    for (const size_t site : {kOsaka, kLyon}) ASSERT_TRUE(Ask(site, Rpc::kEnrol, EnrolmentIn(kAgreement)).ok());
    ASSERT_TRUE(Step().ok());
    ASSERT_EQ(core_->state().phase(), v1::PHASE_COLLECTING);
  }
  void CloseRoundOne() {
    EnrolBoth();
    ASSERT_TRUE(Send(kOsaka, a_).ok());
    ASSERT_TRUE(Send(kLyon, b_).ok());
    ASSERT_TRUE(Step().ok());
    ASSERT_EQ(core_->state().closed_round(), 1);
  }

  // Who talks to it.

  GrpcConnection& As(size_t site) {
    auto& connection = connections_[site];
    if (!connection) connection = Connect(keys_[site]);
    return *connection;
  }
  std::unique_ptr<GrpcConnection> Connect(const CertifiedKey& key) const {
    return std::make_unique<GrpcConnection>(
        address(), TlsIdentity{key.certificate_pem, key.private_key_pem, authority_.certificate_pem}, nullptr);
  }
  static constexpr int64_t kCallMs = 60'000;
  template <typename Request>
  StatusOr<std::string> Ask(size_t site, Rpc rpc, const Request& request) {
    return As(site).Call(rpc, request.SerializeAsString(), kCallMs);
  }
  template <typename Reply, typename Request>
  Reply Must(size_t site, Rpc rpc, const Request& request) {
    const auto bytes = Ask(site, rpc, request);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    Reply reply;
    EXPECT_TRUE(bytes.ok() && reply.ParseFromString(*bytes));
    return reply;
  }
  /// A whole upload.
  Status Send(size_t site, const at::Tensor& values, int64_t round = 1, int64_t attempt = 1) {
    const v1::UploadManifest manifest = ManifestOf(values, round, attempt);
    const auto begun = Ask(site, Rpc::kBeginUpload, manifest);
    if (!begun.ok()) return begun.status();
    v1::MissingChunks missing;
    EXPECT_TRUE(missing.ParseFromString(*begun));
    for (const int64_t i : missing.chunks())
      if (const auto put = Ask(site, Rpc::kPutChunk, ChunkOfManifest(manifest, values, static_cast<int>(i))); !put.ok())
        return put.status();
    return Ask(site, Rpc::kCommitUpload, manifest).status();
  }
  SiteSession SessionOf(ServerConnection& connection, std::function<void(const std::string&)> tell = nullptr) {
    return SiteSession({kAgreement, 5, 10 * kDeadlineMs}, connection, clock_, std::move(tell));
  }

  /// A call by a client that is not this program's: no limits, any credentials, any bytes.
  Status ForeignCall(const std::shared_ptr<grpc::ChannelCredentials>& credentials, const std::string& method,
                     const std::string& bytes) const {
    grpc::GenericStub stub(grpc::CreateChannel(address(), credentials));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(kCallMs));
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer reply;
    const auto done = std::make_shared<std::promise<grpc::Status>>();
    stub.UnaryCall(&context, "/fedalt.v1.Federation/" + method, grpc::StubOptions(), &request, &reply,
                   [done](const grpc::Status& status) { done->set_value(status); });
    const grpc::Status status = done->get_future().get();
    return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
  }
  std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(size_t site) const {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = authority_.certificate_pem;
    ssl.pem_private_key = keys_[site].private_key_pem;
    ssl.pem_cert_chain = keys_[site].certificate_pem;
    return grpc::SslCredentials(ssl);
  }

  // What is there afterwards.

  std::string Sql(const std::string& sql) const { return RawSql(folder_.store(), sql); }
  int Count(const std::string& what) const { return std::stoi(Sql("SELECT count(*) FROM " + what)); }
  int Refusals() const { return Count("audit_entry WHERE kind = 'refusal'"); }
  /// Refused with this code and these words, and so it stands in the audit log under the site's name.
  void ExpectRefused(const Status& status, absl::StatusCode code, const std::string& words, size_t site = kOsaka) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_SAYS(std::string(status.message()), words);
    const std::string last = " FROM audit_entry ORDER BY sequence DESC LIMIT 1";
    EXPECT_EQ(Sql("SELECT kind" + last), "refusal") << words;
    EXPECT_EQ(Sql("SELECT subject" + last), Options().sites[site]);
    EXPECT_EQ(Sql("SELECT json_extract(body, '$.reason')" + last), std::string(status.message()));
  }
  /// Nobody with such credentials comes as far as the state machine.
  void ExpectNotHeard(const Status& status, absl::StatusCode code) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_EQ(callers_, 0);
    EXPECT_EQ(Refusals(), 0);
    EXPECT_EQ(Count("enrolment"), 0);
  }

  const testing::StoreFolder folder_;
  testing::SettableClock clock_;
  const SigningKey signing_key_ = SigningKey::Generate();
  const CertifiedKey authority_;
  TlsIdentity server_identity_;
  std::vector<CertifiedKey> keys_;
  Roster roster_;
  std::atomic<int> callers_ = 0;
  std::unique_ptr<ServerStore> store_;
  std::unique_ptr<ServerCore> core_;
  std::unique_ptr<GrpcServer> port_;
  std::map<size_t, std::unique_ptr<GrpcConnection>> connections_;
  const at::Tensor a_ = at::arange(kValues, at::kFloat), b_ = a_ + 1.0;
};

// Duplicate upload.

TEST_F(FaultTable, DuplicateUploadSameHashCountsOnce) {
  EnrolBoth();
  ASSERT_TRUE(Send(kOsaka, a_).ok());
  ASSERT_TRUE(Send(kOsaka, a_).ok());
  EXPECT_TRUE(Must<v1::MissingChunks>(kOsaka, Rpc::kBeginUpload, ManifestOf(a_)).committed());
  EXPECT_TRUE(Must<v1::CommitReply>(kOsaka, Rpc::kCommitUpload, ManifestOf(a_)).duplicate());
  Start();  // it is known after a restart, too
  EXPECT_TRUE(Must<v1::CommitReply>(kOsaka, Rpc::kCommitUpload, ManifestOf(a_)).duplicate());
  EXPECT_EQ(Count("contribution"), 1);
  EXPECT_EQ(Count("audit_entry WHERE kind = 'upload'"), 1);
  EXPECT_EQ(Refusals(), 0);
}

TEST_F(FaultTable, DuplicateUploadOtherHashIsAConflictAndRecorded) {
  EnrolBoth();
  ASSERT_TRUE(Send(kOsaka, a_).ok());
  ExpectRefused(Send(kOsaka, b_), absl::StatusCode::kAlreadyExists, "another contribution of this site counts in round 1 already");
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, ManifestOf(b_)).status(), absl::StatusCode::kAlreadyExists, "the first one stays");
  v1::UploadManifest heavier = ManifestOf(a_);
  heavier.set_weight(2.0);
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, heavier).status(), absl::StatusCode::kAlreadyExists, "the first one stays");
  EXPECT_EQ(Count("contribution"), 1);
  ASSERT_TRUE(Send(kLyon, b_).ok());
  ASSERT_TRUE(Step().ok());
  const auto published = store_->LoadPublished(1);
  ASSERT_TRUE(published.ok() && published->has_value());
  EXPECT_EQ((*published)->chunks.digests, ChunksOf(a_ + b_).digests);
}

// Stale, future, replayed.

TEST_F(FaultTable, StaleRoundIsRefusedAndToldTheCurrentOne) {
  CloseRoundOne();
  ASSERT_TRUE(Step().ok());
  ExpectRefused(Send(kOsaka, a_, 1), kPrecondition, "the upload is for round 1, attempt 1, but open is round 2, attempt 1");
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, ManifestOf(a_, 1)).status(), kPrecondition, "open is round 2, attempt 1");
  EXPECT_EQ(Count("contribution WHERE round = 1"), 2);
}

TEST_F(FaultTable, FutureRoundIsRefusedAndToldTheCurrentOne) {
  EnrolBoth();
  ExpectRefused(Send(kOsaka, a_, 2), kPrecondition, "the upload is for round 2, attempt 1, but open is round 1, attempt 1");
  ExpectRefused(Send(kOsaka, a_, 1, 2), kPrecondition, "round 1, attempt 2, but open is round 1, attempt 1");
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, ManifestOf(a_, int64_t{1} << 62)).status(), kPrecondition, "open is round 1");
  EXPECT_EQ(Count("contribution"), 0);
}

TEST_F(FaultTable, ReplayFromAnotherRunIsRefused) {
  EnrolBoth();
  v1::UploadManifest manifest = ManifestOf(a_);
  ASSERT_TRUE(Ask(kOsaka, Rpc::kBeginUpload, manifest).ok());
  v1::Chunk chunk = ChunkOfManifest(manifest, a_, 0);
  manifest.set_run("r-of-yesterday");
  chunk.set_run("r-of-yesterday");
  const std::string words = "this server runs r, not \"r-of-yesterday\"";
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, manifest).status(), kPrecondition, words);
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, chunk).status(), kPrecondition, words);
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, manifest).status(), kPrecondition, words);
  v1::PollRequest poll;
  poll.set_run("r-of-yesterday");
  EXPECT_EQ(Ask(kOsaka, Rpc::kPoll, poll).status().code(), kPrecondition);
  EXPECT_EQ(Count("contribution"), 0);
}

// Malformed uploads: refused before anything is allocated for them, or before the sum.

TEST_F(FaultTable, TruncatedUploadIsRefused) {
  EnrolBoth();
  v1::UploadManifest manifest = ManifestOf(a_);
  v1::UploadManifest shorter = manifest;
  shorter.mutable_chunks()->RemoveLast();
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, shorter).status(), kInvalid, "values in 1 pieces; expected");
  ASSERT_TRUE(Ask(kOsaka, Rpc::kBeginUpload, manifest).ok());
  v1::Chunk chunk = ChunkOfManifest(manifest, a_, 1);
  chunk.mutable_content()->pop_back();
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, chunk).status(), kInvalid, "piece 1 has 11 bytes; expected 12");
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, manifest).status(), kPrecondition, "piece 0 of the upload is missing");
  ASSERT_TRUE(Ask(kOsaka, Rpc::kPutChunk, ChunkOfManifest(manifest, a_, 0)).ok());
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, manifest).status(), kPrecondition, "piece 1 of the upload is missing");
  EXPECT_EQ(Count("contribution"), 0);
}

TEST_F(FaultTable, OversizedUploadIsRefusedBeforeAnythingIsAllocated) {
  EnrolBoth();
  v1::UploadManifest manifest = ManifestOf(a_);
  manifest.set_values(int64_t{1} << 60);
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, manifest).status(), kInvalid, "the upload has 1152921504606846976 values");
  manifest = ManifestOf(at::ones({kValues + kChunkBytes / 4}));
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, manifest).status(), kInvalid, "in 3 pieces; expected 262147 in 2");
  manifest = ManifestOf(a_);
  ASSERT_TRUE(Ask(kOsaka, Rpc::kBeginUpload, manifest).ok());
  v1::Chunk chunk = ChunkOfManifest(manifest, a_, 0);
  chunk.mutable_content()->append("more");
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, chunk).status(), kInvalid, "piece 0 has 1048580 bytes; expected 1048576");
}

TEST_F(FaultTable, OverlappingUploadIsRefused) {
  EnrolBoth();
  v1::UploadManifest manifest = ManifestOf(a_);
  manifest.set_chunks(1, manifest.chunks(0));  // the last place would hold a piece of another size
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, manifest).status(), kInvalid,
                "piece 1 has the hash of an earlier one of 1048576 bytes");
  ASSERT_TRUE(Ask(kOsaka, Rpc::kBeginUpload, ManifestOf(a_)).ok());
  // A piece that is none of this upload's.
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, ChunkOfManifest(ManifestOf(b_), b_, 0)).status(), kInvalid,
                "is none of those that the upload announced");
}

TEST_F(FaultTable, WronglyShapedUploadIsRefused) {
  EnrolBoth();
  const auto refused = [&](const std::function<void(v1::UploadManifest&)>& spoil, const std::string& words) {
    v1::UploadManifest manifest = ManifestOf(a_);
    spoil(manifest);
    ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, manifest).status(), kInvalid, words);
    ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, manifest).status(), kInvalid, words);
  };
  refused([](auto& m) { m.set_values(kValues + 1); }, "the upload has 262148 values in 2 pieces; expected 262147 in 2");
  refused([](auto& m) { m.set_values(kValues - 1); }, "the upload has 262146 values");
  refused([](auto& m) { m.set_values(-1); }, "the upload has -1 values");
  refused([](auto& m) { m.set_chunks(1, "short"); }, "piece 1: a hash has 5 bytes; expected 32");
  for (const double weight : {0.0, -1.0, 1e13, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    refused([&](auto& m) { m.set_weight(weight); }, "the upload has weight ");
  EXPECT_EQ(Count("contribution"), 0);
}

TEST_F(FaultTable, NonFiniteUploadIsRefusedBeforeTheSum) {
  EnrolBoth();
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    const at::Tensor bad = a_.clone();
    bad[-1] = value;
    ExpectRefused(Send(kOsaka, bad), kInvalid, "piece 1 holds a number that is not finite, its number 2");
  }
  EXPECT_EQ(Count("contribution"), 0);
  EXPECT_TRUE(Send(kOsaka, a_).ok()) << "a good one counts after all that";
}

TEST_F(FaultTable, UploadBeyondTheGridOfTheSumAbandonsTheAttemptAndNamesTheSite) {
  EnrolBoth();
  const at::Tensor large = a_.clone();
  large[5] = 1e30F;  // finite, so only the sum finds it
  ASSERT_TRUE(Send(kOsaka, large).ok());
  ASSERT_TRUE(Send(kLyon, b_).ok());
  ASSERT_TRUE(Step().ok());
  EXPECT_SAYS(Sql("SELECT abandoned FROM attempt WHERE attempt = 1"), "site 0");
  EXPECT_EQ(Count("published"), 0);
  ASSERT_TRUE(Step().ok());
  ASSERT_TRUE(Send(kOsaka, a_, 1, 2).ok());
  ASSERT_TRUE(Send(kLyon, b_, 1, 2).ok());
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(core_->state().closed_round(), 1);
}

// A flipped bit.

TEST_F(FaultTable, BitFlipOnTheWayUpIsFoundByTheHash) {
  EnrolBoth();
  const v1::UploadManifest manifest = ManifestOf(a_);
  ASSERT_TRUE(Ask(kOsaka, Rpc::kBeginUpload, manifest).ok());
  v1::Chunk chunk = ChunkOfManifest(manifest, a_, 0);
  (*chunk.mutable_content())[1000] ^= 1;
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, chunk).status(), kInvalid, "piece 0 does not have the hash that it names");
  EXPECT_TRUE(Send(kOsaka, a_).ok());
}

TEST_F(FaultTable, BitFlipOnTheWayDownIsFoundByTheHashAndThePieceFetchedAgain) {
  CloseRoundOne();
  WatchedConnection connection(As(kOsaka));
  int pieces = 0, flips = 1;
  connection.after = [&](Rpc rpc, std::string& reply) {
    if (rpc != Rpc::kGetChunk || ++pieces > flips) return;
    v1::Chunk chunk;
    ASSERT_TRUE(chunk.ParseFromString(reply));
    chunk.mutable_content()->back() ^= 1;
    reply = chunk.SerializeAsString();
  };
  SiteSession session = SessionOf(connection);
  ASSERT_TRUE(session.Enrol(false).ok());
  const auto published = session.CloseRound(1);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_TRUE(published->values.equal(a_ + b_));
  EXPECT_EQ(pieces, 3) << "two, and one of them once more";
  flips = 1000;  // it is no accident any more
  EXPECT_SAYS(std::string(session.CloseRound(1).status().message()), "what round 1 published: piece 0 of a tensor is damaged");
}

// Another configuration after a restart; app/federation_faults_test has it with processes.

TEST_F(FaultTable, AnotherConfigurationAfterARestartIsRefusedByBothSides) {
  EnrolBoth();
  ServerOptions options = Options();
  options.agreement = "model b\nrounds: 2\n";
  const Status status = ServerCore(options, *store_, clock_).Recover();
  EXPECT_EQ(KindOf(status), ErrorKind::kConfig);
  EXPECT_SAYS(std::string(status.message()), "the server has \"model b\", the directory has \"model a\"");
  const std::string words = "the configurations differ: the server has \"model a\", the site has \"model b\"";
  ExpectRefused(Ask(kOsaka, Rpc::kEnrol, EnrolmentIn("model b\nrounds: 2\n")).status(), kPrecondition, words);
}

// Who calls is decided by the certificate alone.

TEST_F(FaultTable, AnotherSitesCertificateIsThatOtherSite) {
  EnrolBoth();
  // Osaka's program with lyon's keys: what it sends is lyon's, and osaka's place stays free.
  ASSERT_TRUE(Send(kLyon, a_).ok());
  EXPECT_EQ(Sql("SELECT site FROM contribution"), "1");
  EXPECT_EQ(Sql("SELECT subject FROM audit_entry WHERE kind = 'upload'"), "lyon");
  ExpectRefused(Send(kLyon, b_), absl::StatusCode::kAlreadyExists, "another contribution of this site", kLyon);
  EXPECT_TRUE(Send(kOsaka, a_).ok());
}

TEST_F(FaultTable, CertificateThatIsNotInTheRosterIsRefused) {
  // Signed by the authority, with a name that is in the roster, but with another key.
  const CertifiedKey stranger = Issue(authority_, CertificateUse::kSite, "osaka");
  const Status status = Connect(stranger)->Call(Rpc::kEnrol, EnrolmentIn(kAgreement).SerializeAsString(), kCallMs).status();
  EXPECT_EQ(status.code(), kDenied);
  EXPECT_EQ(status.message(), "the certificate of \"osaka\" is not in the roster");
  EXPECT_EQ(Count("enrolment"), 0);
}

TEST_F(FaultTable, ExpiredCertificateIsRefused) {
  // Osaka's own key, in the roster, with a certificate that has ended.
  const int64_t now = std::time(nullptr);
  CertifiedKey expired = *IssueCertificate(authority_, {.use = CertificateUse::kSite,
                                                        .name = "osaka",
                                                        .hosts = {},
                                                        .validity = {now - 20, now - 10},
                                                        .renewed_pem = keys_[kOsaka].certificate_pem});
  expired.private_key_pem = keys_[kOsaka].private_key_pem;
  ExpectNotHeard(Connect(expired)->Call(Rpc::kEnrol, EnrolmentIn(kAgreement).SerializeAsString(), kCallMs).status(), kUnavailable);
}

TEST_F(FaultTable, RevokedCertificateIsRefused) {
  EnrolBoth();
  roster_.sites[kLyon].revoked = true;
  Start();
  for (const auto& [rpc, bytes] : std::map<Rpc, std::string>{{Rpc::kEnrol, EnrolmentIn(kAgreement).SerializeAsString()},
                                                             {Rpc::kPoll, v1::PollRequest().SerializeAsString()},
                                                             {Rpc::kBeginUpload, ManifestOf(a_).SerializeAsString()},
                                                             {Rpc::kCommitUpload, ManifestOf(a_).SerializeAsString()},
                                                             {Rpc::kGetManifest, v1::ManifestRequest().SerializeAsString()}}) {
    const Status status = As(kLyon).Call(rpc, bytes, kCallMs).status();
    EXPECT_EQ(status.code(), kDenied) << status;
    EXPECT_EQ(status.message(), "the keys of lyon are revoked");
  }
  EXPECT_TRUE(Send(kOsaka, a_).ok());
}

TEST_F(FaultTable, CertificateOfAForeignAuthorityIsRefused) {
  const CertifiedKey foreign = Issue(Authority(), CertificateUse::kSite, "osaka");
  ExpectNotHeard(Connect(foreign)->Call(Rpc::kEnrol, EnrolmentIn(kAgreement).SerializeAsString(), kCallMs).status(), kUnavailable);
}

TEST_F(FaultTable, ServerOfAForeignAuthorityIsRefusedByTheSite) {
  GrpcConnection connection(address(), {keys_[kOsaka].certificate_pem, keys_[kOsaka].private_key_pem, Authority().certificate_pem},
                            nullptr);
  SiteSession session = SessionOf(connection);
  const Status status = session.Enrol(false);
  EXPECT_EQ(KindOf(status), ErrorKind::kFederation);
  EXPECT_SAYS(std::string(status.message()), "the server's certificate is not one of the federation's authority");
  ExpectNotHeard(absl::OkStatus(), absl::StatusCode::kOk);
}

TEST_F(FaultTable, ClientWithoutACertificateIsRefused) {
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = authority_.certificate_pem;
  ExpectNotHeard(ForeignCall(grpc::SslCredentials(ssl), "Enrol", EnrolmentIn(kAgreement).SerializeAsString()), kUnavailable);
}

TEST_F(FaultTable, PlainTextClientIsRefused) {
  ExpectNotHeard(ForeignCall(grpc::InsecureChannelCredentials(), "Enrol", EnrolmentIn(kAgreement).SerializeAsString()),
                 kUnavailable);
  // A browser, a port scanner: the connection is closed.
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port_->port()));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  const std::string request = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  EXPECT_EQ(::send(socket, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  char answer[256];
  ssize_t bytes = 0;
  while ((bytes = ::recv(socket, answer, sizeof(answer), 0)) > 0) {
  }
  ::close(socket);
  EXPECT_LE(bytes, 0);
  ExpectNotHeard(absl::OkStatus(), absl::StatusCode::kOk);
  EnrolBoth();  // nobody else has noticed
}

// Messages that are none.

TEST_F(FaultTable, GarbageAfterAValidMessageIsRefused) {
  EnrolBoth();
  const std::string manifest = ManifestOf(a_).SerializeAsString();
  for (const std::string& bytes :
       {manifest + "\xff\xff\xff\xff", manifest.substr(0, manifest.size() - 1), std::string("\xff garbage")}) {
    const Status status = ForeignCall(CredentialsOf(kOsaka), "CommitUpload", bytes);
    // gRPC's own words for what it cannot parse, by its version.
    EXPECT_TRUE(status.code() == absl::StatusCode::kUnimplemented || status.code() == absl::StatusCode::kInternal) << status;
  }
  // A piece more than there are, behind a message that is good: the state machine's refusal.
  std::string more = manifest;
  v1::UploadManifest tail;
  tail.add_chunks(std::string(32, 'x'));
  more += tail.SerializeAsString();
  ExpectRefused(ForeignCall(CredentialsOf(kOsaka), "CommitUpload", more), kInvalid, "in 3 pieces; expected 262147 in 2");
  EXPECT_EQ(Count("contribution"), 0);
  EXPECT_EQ(ForeignCall(CredentialsOf(kOsaka), "TakeOver", manifest).code(), absl::StatusCode::kUnimplemented);
}

TEST_F(FaultTable, OversizedMessageIsRefused) {
  EnrolBoth();
  const int before = callers_;
  v1::EnrolRequest request = EnrolmentIn(std::string(size_t{5} << 20, 'x'));
  const Status status = ForeignCall(CredentialsOf(kOsaka), "Enrol", request.SerializeAsString());
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(callers_, before);
  EXPECT_TRUE(Send(kOsaka, a_).ok());
}

TEST_F(FaultTable, WrongOrderOfCallsIsRefused) {
  const v1::UploadManifest manifest = ManifestOf(a_);
  // Before anybody has enrolled.
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, manifest).status(), kPrecondition,
                "the upload is for round 1, attempt 1, but open is");
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, ChunkOfManifest(manifest, a_, 0)).status(), kPrecondition, "no upload that was begun");
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, manifest).status(), kPrecondition,
                "the upload is for round 1, attempt 1, but open is");
  EnrolBoth();
  // A piece before its upload, also where another site has begun one.
  ASSERT_TRUE(Ask(kLyon, Rpc::kBeginUpload, manifest).ok());
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, ChunkOfManifest(manifest, a_, 0)).status(), kPrecondition,
                "a piece for round 1 belongs to no upload that was begun, open is round 1");
  // The end before the pieces.
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, manifest).status(), kPrecondition, "piece 0 of the upload is missing");
  // What is not published yet.
  v1::ManifestRequest of_round;
  of_round.set_run("r");
  of_round.set_round(1);
  EXPECT_EQ(Ask(kOsaka, Rpc::kGetManifest, of_round).status().code(), absl::StatusCode::kNotFound);
  v1::ChunkRequest piece;
  piece.set_run("r");
  piece.set_round(1);
  piece.set_sha256(manifest.chunks(0));
  EXPECT_EQ(Ask(kOsaka, Rpc::kGetChunk, piece).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Count("contribution"), 0);
}

TEST_F(FaultTable, PieceOfAnotherSitesUploadIsNotGivenOut) {
  CloseRoundOne();
  v1::ChunkRequest piece;
  piece.set_run("r");
  piece.set_round(1);
  piece.set_sha256(ManifestOf(b_).chunks(0));  // lyon's, which lies at the server under this name
  ExpectRefused(Ask(kOsaka, Rpc::kGetChunk, piece).status(), absl::StatusCode::kNotFound, "round 1 published no piece ");
}

// Too few sites before the deadline.

TEST_F(FaultTable, TooFewSitesBeforeTheDeadlineAbandonTheRoundAndNothingIsPublished) {
  EnrolBoth();
  for (int64_t attempt = 1; attempt <= 3; ++attempt) {
    EXPECT_EQ(core_->state().attempt(), attempt);
    ASSERT_TRUE(Send(kOsaka, a_, 1, attempt).ok());
    clock_.now_ms += kDeadlineMs - 1;
    ASSERT_TRUE(Step().ok());
    EXPECT_EQ(core_->state().attempt(), attempt) << "a moment before the deadline";
    clock_.now_ms += 1;
    ASSERT_TRUE(Step().ok());
    const std::string reason = "only 1 of 2 sites contributed before the deadline; at least 2 are needed";
    EXPECT_EQ(Sql("SELECT abandoned FROM attempt WHERE attempt = " + std::to_string(attempt)), reason);
    EXPECT_EQ(
        Sql("SELECT json_extract(body, '$.reason') FROM audit_entry WHERE kind = 'round.abandoned' ORDER BY sequence DESC LIMIT 1"),
        reason);
    Start();  // the server dies and comes back here, too
    ASSERT_TRUE(Step().ok());
  }
  EXPECT_EQ(core_->state().phase(), v1::PHASE_ENDED);
  EXPECT_SAYS(core_->state().cause(), "round 1 was abandoned 3 times, at last because only 1 of 2 sites contributed");
  EXPECT_EQ(Count("published"), 0);
  EXPECT_EQ(Count("contribution WHERE counted = 1"), 0);
  // A site that is known hears how it ended.
  EXPECT_SAYS(Must<v1::EnrolReply>(kLyon, Rpc::kEnrol, EnrolmentIn(kAgreement)).state().cause(), "abandoned 3 times");
}

TEST_F(FaultTable, UploadOfAnAbandonedAttemptIsSentAgainInTheNext) {
  EnrolBoth();
  WatchedConnection connection(As(kOsaka));
  int polls = 0;
  connection.before = [&](Rpc rpc) {
    if (rpc != Rpc::kPoll) return;
    if (++polls == 1) {  // it has sent, and waits: the attempt ends without lyon
      clock_.now_ms += kDeadlineMs;
      ASSERT_TRUE(Step().ok());
      ASSERT_TRUE(Step().ok());
      ASSERT_EQ(core_->state().attempt(), 2);
    } else if (polls == 2) {  // it has sent again: now lyon comes
      ASSERT_EQ(Count("contribution WHERE attempt = 2"), 1);
      ASSERT_TRUE(Send(kLyon, b_, 1, 2).ok());
      ASSERT_TRUE(Step().ok());
    } else {
      ASSERT_TRUE(core_->End("the test waits for nothing any more").ok());
    }
  };
  SiteSession session = SessionOf(connection);
  ASSERT_TRUE(session.Enrol(false).ok());
  ASSERT_TRUE(session.Send({1, 0, 1.0, a_}).ok());
  const auto published = session.CloseRound(1);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_TRUE(published->values.equal(a_ + b_));
  EXPECT_EQ(Count("contribution WHERE counted = 1"), 2);
}

TEST_F(FaultTable, DeadlineDoesNotRunWhileThereIsNoServer) {
  EnrolBoth();
  ASSERT_TRUE(Send(kOsaka, a_).ok());
  clock_.now_ms += 10 * kDeadlineMs;  // the machine was off
  Start();
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(core_->state().attempt(), 1);
  ASSERT_TRUE(Send(kLyon, b_).ok());
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(core_->state().closed_round(), 1);
  EXPECT_EQ(Count("contribution WHERE counted = 1"), 2) << "what was acknowledged before counts";
}

// A server that went back.

TEST_F(FaultTable, ServerThatWentBackIsNoticedBySitesThatWait) {
  EnrolBoth();
  // This site has read round 1, which the server does not know any more.
  SiteSession session = SessionOf(As(kOsaka));
  ASSERT_TRUE(session.Enrol(false).ok());
  const Status status = session.CloseRound(2).status();
  EXPECT_EQ(KindOf(status), ErrorKind::kFederation);
  EXPECT_SAYS(std::string(status.message()), "the server is at round 1 of r");
}

// The disk.

TEST_F(FaultTable, FullDiskAcknowledgesNothingAndUploadsGoOnWhenThereIsRoom) {
  EnrolBoth();
  std::optional<testing::FileSizeLimit> full;
  full.emplace(0);
  std::vector<std::string> told;
  SiteSession session = SessionOf(As(kOsaka), [&](const std::string& what) {
    told.push_back(what);
    full.reset();  // somebody makes room
  });
  ASSERT_TRUE(session.Enrol(false).ok()) << "what is known is answered";
  ASSERT_TRUE(session.Send({1, 0, 1.0, a_}).ok());
  ASSERT_EQ(told.size(), 1u);
  EXPECT_SAYS(told[0], "waits for the server (the server could not record this");
  EXPECT_EQ(Count("contribution"), 1);
  ASSERT_TRUE(Send(kLyon, b_).ok());
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(core_->state().closed_round(), 1);
}

TEST_F(FaultTable, FullDiskLeavesWhatWasPublishedReadableAndNoUploadCounts) {
  CloseRoundOne();
  const v1::UploadManifest manifest = ManifestOf(b_ + 5.0, 2);
  {
    const testing::FileSizeLimit full(0);
    SiteSession session = SessionOf(As(kOsaka));
    ASSERT_TRUE(session.Enrol(false).ok());
    const auto published = session.CloseRound(1);
    ASSERT_TRUE(published.ok()) << published.status();
    EXPECT_TRUE(published->values.equal(a_ + b_));
    ASSERT_TRUE(Ask(kOsaka, Rpc::kBeginUpload, manifest).ok());
    EXPECT_EQ(Ask(kOsaka, Rpc::kPutChunk, ChunkOfManifest(manifest, b_ + 5.0, 0)).status().code(), kUnavailable);
    // A refusal that cannot be recorded is none yet.
    EXPECT_EQ(Send(kOsaka, a_, 1).code(), kUnavailable);
  }
  EXPECT_EQ(Count("contribution WHERE round = 2"), 0);
  EXPECT_TRUE(Send(kOsaka, b_ + 5.0, 2).ok());
}

TEST_F(FaultTable, FullDiskWhileARoundIsClosedLosesNothing) {
  EnrolBoth();
  ASSERT_TRUE(Send(kOsaka, a_).ok());
  ASSERT_TRUE(Send(kLyon, b_).ok());
  {
    const testing::FileSizeLimit full(0);
    for (int tries = 0; tries < 5; ++tries) EXPECT_EQ(KindOf(Step()), ErrorKind::kOutput);
  }
  EXPECT_EQ(core_->state().attempt(), 1);
  EXPECT_EQ(Count("attempt WHERE abandoned IS NOT NULL"), 0);
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(core_->state().closed_round(), 1);
  EXPECT_EQ(Count("contribution WHERE counted = 1"), 2);
}

TEST_F(FaultTable, IoErrorOnAPieceIsToldAndGoesAwayWithIt) {
  CloseRoundOne();
  const std::string hex = HexOf(ChunksOf(a_ + b_).digests[0]);
  const fs::path piece = folder_.path() / "objects" / hex.substr(0, 2) / hex;
  fs::rename(piece, folder_.path() / "elsewhere");
  std::vector<std::string> told;
  SiteSession session = SessionOf(As(kOsaka), [&](const std::string& what) {
    told.push_back(what);
    fs::rename(folder_.path() / "elsewhere", piece);
  });
  ASSERT_TRUE(session.Enrol(false).ok());
  const auto published = session.CloseRound(1);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_TRUE(published->values.equal(a_ + b_));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_SAYS(told[0], hex);
}

// Two servers on one run.

TEST_F(FaultTable, TwoServersInOneDirectory) {
  const auto second = OpenStore();
  EXPECT_EQ(KindOf(second.status()), ErrorKind::kUsage);
  EXPECT_SAYS(std::string(second.status().message()), "another fedalt is at work in this directory");
}

}  // namespace
}  // namespace fedalt
