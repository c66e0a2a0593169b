// The fault table (docs/verification.md), rows of messages and certificates: who talks to a server over TLS. Deadlines and the disk
// are in fault_table_disk_test.cc, processes that are killed in app/federation_faults_test.
#include <algorithm>
#include <cstring>

#include "net/fault_table.h"

namespace fedalt::testing {
namespace {

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
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, shorter).status(), kInvalid, "values in 1 chunks; expected");
  ASSERT_TRUE(Ask(kOsaka, Rpc::kBeginUpload, manifest).ok());
  v1::Chunk chunk = ChunkOfManifest(manifest, a_, 1);
  chunk.mutable_content()->pop_back();
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, chunk).status(), kInvalid, "chunk 1 has 11 bytes; expected 12");
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, manifest).status(), kPrecondition, "chunk 0 of the upload is missing");
  ASSERT_TRUE(Ask(kOsaka, Rpc::kPutChunk, ChunkOfManifest(manifest, a_, 0)).ok());
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, manifest).status(), kPrecondition, "chunk 1 of the upload is missing");
  EXPECT_EQ(Count("contribution"), 0);
}

TEST_F(FaultTable, OversizedUploadIsRefusedBeforeAnythingIsAllocated) {
  EnrolBoth();
  v1::UploadManifest manifest = ManifestOf(a_);
  manifest.set_values(int64_t{1} << 60);
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, manifest).status(), kInvalid, "the upload has 1152921504606846976 values");
  manifest = ManifestOf(at::ones({kValues + kChunkBytes / 4}));
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, manifest).status(), kInvalid, "in 3 chunks; expected 262147 in 2");
  manifest = ManifestOf(a_);
  ASSERT_TRUE(Ask(kOsaka, Rpc::kBeginUpload, manifest).ok());
  v1::Chunk chunk = ChunkOfManifest(manifest, a_, 0);
  chunk.mutable_content()->append("more");
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, chunk).status(), kInvalid, "chunk 0 has 1048580 bytes; expected 1048576");
}

TEST_F(FaultTable, OverlappingUploadIsRefused) {
  EnrolBoth();
  v1::UploadManifest manifest = ManifestOf(a_);
  manifest.set_chunks(1, manifest.chunks(0));  // the last place would hold a piece of another size
  ExpectRefused(Ask(kOsaka, Rpc::kBeginUpload, manifest).status(), kInvalid,
                "chunk 1 has the hash of an earlier one of 1048576 bytes");
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
  refused([](auto& m) { m.set_values(kValues + 1); }, "the upload has 262148 values in 2 chunks; expected 262147 in 2");
  refused([](auto& m) { m.set_values(kValues - 1); }, "the upload has 262146 values");
  refused([](auto& m) { m.set_values(-1); }, "the upload has -1 values");
  refused([](auto& m) { m.set_chunks(1, "short"); }, "chunk 1: a hash has 5 bytes; expected 32");
  EXPECT_EQ(Count("contribution"), 0);
}

/// A site names no weight. Whatever one says in the place where older protocols had it means nothing.
TEST_F(FaultTable, WeightThatASiteNamesIsNothing) {
  EnrolBoth();
  ASSERT_TRUE(Send(kOsaka, a_).ok());
  ASSERT_TRUE(Ask(kLyon, Rpc::kBeginUpload, ManifestOf(b_)).ok());
  for (const int i : {0, 1}) ASSERT_TRUE(Ask(kLyon, Rpc::kPutChunk, ChunkOfManifest(ManifestOf(b_), b_, i)).ok());
  v1::UploadManifest heavy = ManifestOf(b_);
  constexpr int kOldWeight = 4;
  const double weight = 1e12;
  uint64_t bits = 0;
  std::memcpy(&bits, &weight, sizeof(bits));
  heavy.GetReflection()->MutableUnknownFields(&heavy)->AddFixed64(kOldWeight, bits);
  ASSERT_TRUE(Ask(kLyon, Rpc::kCommitUpload, heavy).ok());
  ASSERT_TRUE(Step().ok());
  const auto published = store_->LoadPublished(1);
  ASSERT_TRUE(published.ok() && published->has_value());
  EXPECT_EQ((*published)->weights, (std::map<int64_t, double>{{0, 1.0}, {1, 1.0}}));
  EXPECT_EQ((*published)->chunks.digests, ChunksOf(a_ + b_).digests);
  v1::ManifestRequest wanted;
  wanted.set_run("r");
  wanted.set_round(1);
  EXPECT_EQ(testing::OwnIn(Must<v1::PublishedManifest>(kLyon, Rpc::kGetManifest, wanted), "lyon").weight, 1.0);
}

TEST_F(FaultTable, ValuesOutOfBoundsAreLeftOutAtOnceAndTheRoundClosesWithTheOthers) {
  minimum_cohort_ = 1;
  Start();
  EnrolBoth();
  // Two sites share the sum's +-2^22.
  const std::map<int64_t, float> bad_in = {{1, std::numeric_limits<float>::quiet_NaN()}, {2, -2.2e6F}};
  for (const auto& [round, value] : bad_in) {
    ASSERT_TRUE(Send(kLyon, b_, round).ok());
    const at::Tensor bad = a_.clone();
    bad[-1] = value;
    const Status told = Send(kOsaka, bad, round);
    EXPECT_EQ(told.code(), absl::StatusCode::kOutOfRange) << told;
    EXPECT_SAYS(std::string(told.message()), "chunk 1 holds a number of magnitude ");
    EXPECT_EQ(Sql("SELECT kind || ' ' || subject FROM audit_entry ORDER BY sequence DESC LIMIT 1"), "left_out osaka");
    EXPECT_EQ(Send(kOsaka, a_, round).code(), absl::StatusCode::kOutOfRange) << "nothing of it counts in this attempt";
    Start();
    EXPECT_EQ(Send(kOsaka, a_, round).code(), absl::StatusCode::kOutOfRange) << "also after a restart";
    ASSERT_TRUE(Step().ok()) << "nobody waits for it";
    ASSERT_EQ(core_->state().closed_round(), round);
    v1::ManifestRequest wanted;
    wanted.set_run("r");
    wanted.set_round(round);
    const auto manifest = Must<v1::PublishedManifest>(kOsaka, Rpc::kGetManifest, wanted);
    EXPECT_EQ(testing::OwnIn(manifest, "osaka").round, 0);
    EXPECT_SAYS(manifest.left_out(), "magnitude");
  }
}

TEST_F(FaultTable, ASiteThatIsLeftOutSaysSoAndGoesOn) {
  minimum_cohort_ = 1;
  Start();
  EnrolBoth();
  std::vector<std::string> told;
  SiteSession session = SessionOf(As(kOsaka), [&](const std::string& what) { told.push_back(what); });
  ASSERT_TRUE(session.Enrol(false).ok());
  const at::Tensor bad = at::full({kValues}, 1e30F);
  ASSERT_TRUE(session.Send({1, 0, 1.0, bad}).ok());
  ASSERT_EQ(told.size(), 1u);
  EXPECT_SAYS(told[0], "chunk 0 holds a number of magnitude 1e+30");
  EXPECT_SAYS(told[0], "lower train.lr");
  ASSERT_TRUE(Send(kLyon, b_).ok());
  ASSERT_TRUE(Step().ok());
  const auto published = session.CloseRound(1);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->own_round, 0);
  EXPECT_TRUE(published->values.equal(b_));
  EXPECT_EQ(
      std::count_if(told.begin(), told.end(), [](const std::string& what) { return what.find("left out") != std::string::npos; }),
      1)
      << "once; the other message is that it waits";
}

// A flipped bit.

TEST_F(FaultTable, BitFlipOnTheWayUpIsFoundByTheHash) {
  EnrolBoth();
  const v1::UploadManifest manifest = ManifestOf(a_);
  ASSERT_TRUE(Ask(kOsaka, Rpc::kBeginUpload, manifest).ok());
  v1::Chunk chunk = ChunkOfManifest(manifest, a_, 0);
  (*chunk.mutable_content())[1000] ^= 1;
  ExpectRefused(Ask(kOsaka, Rpc::kPutChunk, chunk).status(), kInvalid, "chunk 0 does not have the hash that it names");
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
  // Its own program does not even dial; another one is told why, at each call.
  EXPECT_EQ(KindOf(Connect(expired)->Call(Rpc::kEnrol, EnrolmentIn(kAgreement).SerializeAsString(), kCallMs).status()),
            ErrorKind::kConfig);
  keys_[kOsaka] = expired;
  const Status status = ForeignCall(CredentialsOf(kOsaka), "Enrol", EnrolmentIn(kAgreement).SerializeAsString());
  EXPECT_SAYS(std::string(status.message()), "the certificate of \"osaka\" expired on " + DateOf(now - 10));
  ExpectNotHeard(status, kDenied);
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
  EXPECT_EQ(KindOf(Connect(foreign)->Call(Rpc::kEnrol, EnrolmentIn(kAgreement).SerializeAsString(), kCallMs).status()),
            ErrorKind::kConfig);  // its own program sees that its keys are not of one folder
  keys_[kOsaka] = foreign;
  ExpectNotHeard(ForeignCall(CredentialsOf(kOsaka), "Enrol", EnrolmentIn(kAgreement).SerializeAsString()), kUnavailable);
}

TEST_F(FaultTable, ServerOfAForeignAuthorityIsRefusedByTheSite) {
  const CertifiedKey elsewhere = Authority();
  const CertifiedKey key = Issue(elsewhere, CertificateUse::kSite, "osaka");
  GrpcConnection connection(address(), {key.certificate_pem, key.private_key_pem, elsewhere.certificate_pem}, nullptr);
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
  ExpectRefused(ForeignCall(CredentialsOf(kOsaka), "CommitUpload", more), kInvalid, "in 3 chunks; expected 262147 in 2");
  EXPECT_EQ(Count("contribution"), 0);
  EXPECT_EQ(ForeignCall(CredentialsOf(kOsaka), "TakeOver", manifest).code(), absl::StatusCode::kUnimplemented);
}

TEST_F(FaultTable, OversizedMessageIsRefused) {
  EnrolBoth();
  const int before = Count("audit_entry");
  v1::EnrolRequest request = EnrolmentIn(std::string(size_t{5} << 20, 'x'));
  const Status status = ForeignCall(CredentialsOf(kOsaka), "Enrol", request.SerializeAsString());
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(Count("audit_entry"), before);
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
                "a chunk for round 1 belongs to no upload that was begun, open is round 1");
  // The end before the pieces.
  ExpectRefused(Ask(kOsaka, Rpc::kCommitUpload, manifest).status(), kPrecondition, "chunk 0 of the upload is missing");
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

}  // namespace
}  // namespace fedalt::testing
