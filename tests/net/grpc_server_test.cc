// What only the port does: who waits for what. The state machine behind it has tests of its own.
#include "net/grpc_server.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <ctime>
#include <mutex>
#include <thread>

#include "net/certificates.h"
#include "net/grpc_connection.h"
#include "net/memory_journal.h"

namespace fedalt {
namespace {

constexpr int kSites = 10;
constexpr int64_t kCallMs = 60'000;

/// A disk that takes pieces and uploads when it is let, not before.
class StuckJournal : public testing::MemoryJournal {
 public:
  Status PutChunk(const Sha256Digest& digest, std::string_view bytes) override {
    Wait();
    return testing::MemoryJournal::PutChunk(digest, bytes);
  }
  Status SaveContribution(const SiteContribution& contribution) override {
    Wait();
    return testing::MemoryJournal::SaveContribution(contribution);
  }
  void Stick() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stuck_ = true;
  }
  void AwaitWaiting(int calls) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= calls; });
  }
  void Release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stuck_ = false;
    changed_.notify_all();
  }

 private:
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !stuck_; });
    --waiting_;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool stuck_ = false;
};

class GrpcServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Validity validity = ValidForDays(static_cast<int64_t>(std::time(nullptr)), 100);
    const CertifiedKey authority = *MakeAuthority("test", validity);
    const auto issue = [&](CertificateUse use, const std::string& name, std::vector<std::string> hosts) {
      const CertifiedKey key = *IssueCertificate(authority, {use, name, std::move(hosts), validity, ""});
      return TlsIdentity{key.certificate_pem, key.private_key_pem, authority.certificate_pem};
    };
    ServerOptions options;
    options.run = "r";
    options.agreement = "all agree\n";
    options.exchange_rounds = {1};
    options.values = 2;
    options.minimum_cohort = kSites;
    Roster roster;
    std::vector<TlsIdentity> identities;
    for (int k = 0; k < kSites; ++k) {
      options.sites.push_back(absl::StrCat("site-", k));
      identities.push_back(issue(CertificateUse::kSite, options.sites.back(), {}));
      roster.sites.push_back({options.sites.back(), {ParseCertificate(identities.back().certificate)->fingerprint, ""}, false});
    }
    core_ = std::make_unique<ServerCore>(options, journal_, clock_);
    ASSERT_TRUE(core_->Recover().ok());
    const TlsIdentity server = issue(CertificateUse::kServer, "server", {"127.0.0.1"});
    auto port = GrpcServer::Start("127.0.0.1:0", server, IdentifyBy(roster), *core_, clock_);
    ASSERT_TRUE(port.ok()) << port.status();
    port_ = *std::move(port);
    for (int k = 0; k < kSites; ++k)
      connections_.push_back(
          std::make_unique<GrpcConnection>(absl::StrCat("127.0.0.1:", port_->port()), identities[static_cast<size_t>(k)], nullptr));
  }

  template <typename Reply, typename Request>
  StatusOr<Reply> Call(int site, Rpc rpc, const Request& request) {
    ASSIGN_OR_RETURN(const std::string bytes,
                     connections_[static_cast<size_t>(site)]->Call(rpc, request.SerializeAsString(), kCallMs));
    Reply reply;
    if (!reply.ParseFromString(bytes)) return absl::InternalError("no message");
    return reply;
  }
  StatusOr<v1::RunState> Poll(int site, int64_t known_version, int64_t wait_ms) {
    v1::PollRequest request;
    request.set_run("r");
    request.set_known_version(known_version);
    request.set_wait_ms(wait_ms);
    return Call<v1::RunState>(site, Rpc::kPoll, request);
  }
  Status Enrol(int site) {
    v1::EnrolRequest request;
    request.set_oldest_protocol(kOldestProtocol);
    request.set_newest_protocol(kNewestProtocol);
    request.set_agreement("all agree\n");
    request.set_train_examples(1);
    return Call<v1::EnrolReply>(site, Rpc::kEnrol, request).status();
  }
  v1::Chunk PieceOf(int site) {
    const float values[2] = {1.0F, static_cast<float>(site)};
    v1::Chunk chunk;
    chunk.set_run("r");
    chunk.set_round(1);
    chunk.set_content(std::string(reinterpret_cast<const char*>(values), sizeof(values)));
    const Sha256Digest digest = Sha256(chunk.content());
    chunk.set_sha256(std::string(reinterpret_cast<const char*>(digest.data()), digest.size()));
    return chunk;
  }
  v1::UploadManifest ManifestOf(int site) {
    v1::UploadManifest manifest;
    manifest.set_run("r");
    manifest.set_round(1);
    manifest.set_attempt(1);
    manifest.set_values(2);
    manifest.add_chunks(PieceOf(site).sha256());
    return manifest;
  }

  StuckJournal journal_;
  SystemClock clock_;
  std::unique_ptr<ServerCore> core_;
  std::unique_ptr<GrpcServer> port_;
  std::vector<std::unique_ptr<GrpcConnection>> connections_;
};

TEST_F(GrpcServerTest, APollIsAnsweredWhileUploadsWaitForTheDisk) {
  for (int site = 0; site < kSites; ++site) ASSERT_EQ(Enrol(site), absl::OkStatus());
  ASSERT_TRUE(core_->Tick().ok());  // opens the round
  for (int site = 0; site + 1 < kSites; ++site)
    ASSERT_EQ(Call<v1::MissingChunks>(site, Rpc::kBeginUpload, ManifestOf(site)).status(), absl::OkStatus());
  ASSERT_EQ(Call<v1::PutChunkReply>(0, Rpc::kPutChunk, PieceOf(0)).status(), absl::OkStatus());

  journal_.Stick();
  std::vector<Status> answers(kSites - 1);
  std::vector<std::thread> uploads;
  uploads.emplace_back([&] { answers[0] = Call<v1::CommitReply>(0, Rpc::kCommitUpload, ManifestOf(0)).status(); });
  journal_.AwaitWaiting(1);
  for (int site = 1; site + 1 < kSites; ++site)
    uploads.emplace_back(
        [&, site] { answers[static_cast<size_t>(site)] = Call<v1::PutChunkReply>(site, Rpc::kPutChunk, PieceOf(site)).status(); });
  const auto state = Poll(kSites - 1, 0, 0);
  EXPECT_TRUE(state.ok()) << state.status();
  journal_.Release();
  for (std::thread& upload : uploads) upload.join();
  for (const Status& answer : answers) EXPECT_EQ(answer, absl::OkStatus());
  EXPECT_EQ(state->phase(), v1::PHASE_COLLECTING);
}

TEST_F(GrpcServerTest, AServerThatEndsDuringACallIsNoRefusal) {
  for (int site = 0; site < kSites; ++site) ASSERT_EQ(Enrol(site), absl::OkStatus());
  ASSERT_TRUE(core_->Tick().ok());
  ASSERT_EQ(Call<v1::MissingChunks>(0, Rpc::kBeginUpload, ManifestOf(0)).status(), absl::OkStatus());
  journal_.Stick();
  Status answer;
  std::thread upload([&] { answer = Call<v1::PutChunkReply>(0, Rpc::kPutChunk, PieceOf(0)).status(); });
  journal_.AwaitWaiting(1);
  std::thread ends([&] { port_.reset(); });  // which gives the call up after a while
  upload.join();
  journal_.Release();
  ends.join();
  EXPECT_TRUE(absl::IsUnavailable(answer)) << answer;
}

TEST_F(GrpcServerTest, WhoWaitsInPollIsToldWhenTheRoundOpens) {
  for (int site = 0; site + 1 < kSites; ++site) ASSERT_EQ(Enrol(site), absl::OkStatus());
  const auto before = Poll(0, 0, 0);
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(before->phase(), v1::PHASE_ENROLLING);
  StatusOr<v1::RunState> after = absl::UnknownError("not yet");
  std::thread waiter([&] {
    after = before;
    while (after.ok() && after->phase() == v1::PHASE_ENROLLING) after = Poll(0, after->version(), 20'000);
  });
  EXPECT_EQ(Enrol(kSites - 1), absl::OkStatus());
  EXPECT_TRUE(core_->Tick().ok());
  waiter.join();
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->phase(), v1::PHASE_COLLECTING);
}

}  // namespace
}  // namespace fedalt
