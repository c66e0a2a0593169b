// A server's state machine on its database behind its real port, with certificates of its own, for the rows of the fault table.
#pragma once

#include <arpa/inet.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <filesystem>
#include <fstream>
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

namespace fedalt::testing {

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

constexpr int64_t kValues = kChunkBytes / 4 + 3;  // two pieces
constexpr int64_t kDeadlineMs = 60'000;
constexpr char kAgreement[] = "model a\nrounds: 2\n";
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument, kPrecondition = absl::StatusCode::kFailedPrecondition,
               kDenied = absl::StatusCode::kPermissionDenied, kUnavailable = absl::StatusCode::kUnavailable;
constexpr size_t kOsaka = 0, kLyon = 1;

inline void FlipABit(const std::filesystem::path& file) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  const int byte = stream.get();
  stream.seekp(0);
  stream.put(static_cast<char>(byte ^ 1));
}

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

  static CertifiedKey Authority() { return *MakeAuthority("clinics", ValidForDays(std::time(nullptr), 300)); }
  static CertifiedKey Issue(const CertifiedKey& authority, CertificateUse use, const std::string& name,
                            std::optional<Validity> validity = std::nullopt) {
    const std::vector<std::string> hosts = {"127.0.0.1"};
    const auto key = IssueCertificate(authority, {.use = use,
                                                  .name = name,
                                                  .hosts = use == CertificateUse::kServer ? hosts : std::vector<std::string>(),
                                                  .validity = validity.value_or(ValidForDays(std::time(nullptr), 100)),
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
    options.minimum_cohort = minimum_cohort_;
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
    return core_->Finish(**closing,
                         Aggregate(**closing, {method->get(), {{}, 1, UploadFormat::kFloat32}, kValues, Options().sites}, *store_));
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
    return SiteSession({.agreement = kAgreement,
                        .train_examples = 5,
                        .patience_ms = 10 * kDeadlineMs,
                        .process = {},
                        .site = "osaka",
                        .sites = {"osaka", "lyon"},
                        .signatures = {},
                        .progress = {}},
                       connection, clock_, std::move(tell));
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
  int64_t minimum_cohort_ = 2;
  std::unique_ptr<ServerStore> store_;
  std::unique_ptr<ServerCore> core_;
  std::unique_ptr<GrpcServer> port_;
  std::map<size_t, std::unique_ptr<GrpcConnection>> connections_;
  const at::Tensor a_ = at::arange(kValues, at::kFloat), b_ = a_ + 1.0;
};

}  // namespace fedalt::testing
