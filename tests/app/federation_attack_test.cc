// label: slow
// A member with valid keys does what it likes to a real server while two honest sites federate: their adapters are those of a run
// without it, and what it makes the server keep has the bounds of docs/operations.md. The times are printed.
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <limits>
#include <thread>

#include "app/federation_files.h"
#include "app/federation_processes.h"
#include "base/random.h"
#include "fed/chunks.h"
#include "federation.pb.h"
#include "net/budgets.h"
#include "net/grpc_connection.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// The third site, c.
class Attacker {
 public:
  Attacker(std::string agreement, const TlsIdentity& identity, const std::string& port)
      : agreement_(std::move(agreement)), connection_("127.0.0.1:" + port, identity, nullptr) {}

  /// Until the run has ended, or the server has.
  void Run() {
    if (!Enrol(false)) return;
    std::pair<int64_t, int64_t> attacked;
    for (;;) {
      v1::PollRequest poll;
      poll.set_run(run_);
      v1::RunState state;
      const auto answer = Call(Rpc::kPoll, poll);
      if (absl::IsResourceExhausted(answer.status())) continue;
      if (absl::IsPermissionDenied(answer.status()) && Enrol(false)) continue;
      if (!answer.ok() || !state.ParseFromString(*answer) || state.phase() == v1::PHASE_ENDED) return;
      if (state.phase() != v1::PHASE_COLLECTING) continue;
      if (attacked == std::pair(state.round(), state.attempt()) || !KnowsValues(state)) continue;
      attacked = {state.round(), state.attempt()};
      Attack(state);
    }
  }
  int64_t calls = 0, exhausted = 0, left_out = 0;
  int64_t values = 0;  ///< of a contribution

 private:
  static constexpr int64_t kCallMs = 20'000;
  StatusOr<std::string> Call(Rpc rpc, const google::protobuf::Message& request) {
    ++calls;
    auto answer = connection_.Call(rpc, request.SerializeAsString(), kCallMs);
    exhausted += absl::IsResourceExhausted(answer.status()) ? 1 : 0;
    left_out += absl::IsOutOfRange(answer.status()) ? 1 : 0;
    return answer;
  }
  /// A budget that is spent comes back: what must arrive is sent until it does.
  StatusOr<std::string> Insist(Rpc rpc, const google::protobuf::Message& request) {
    constexpr int kTries = 10'000;
    StatusOr<std::string> answer = Call(rpc, request);
    for (int i = 0; i < kTries && absl::IsResourceExhausted(answer.status()); ++i) answer = Call(rpc, request);
    return answer;
  }
  bool Enrol(bool anew) {
    v1::EnrolRequest request;
    request.set_oldest_protocol(kOldestProtocol);
    request.set_newest_protocol(kNewestProtocol);
    request.set_agreement(agreement_);
    request.set_train_examples(1);
    request.set_anew(anew);
    v1::EnrolReply reply;
    for (int i = 0; i < 3; ++i) {
      const auto answer = Insist(Rpc::kEnrol, request);
      if (!answer.ok() || !reply.ParseFromString(*answer)) return false;
      run_ = reply.run();
      if (reply.challenge().empty()) break;
      request.set_challenge(reply.challenge());
    }
    return true;
  }
  v1::UploadManifest Manifest(const v1::RunState& state, const at::Tensor& content) const {
    v1::UploadManifest manifest;
    manifest.set_run(run_);
    manifest.set_round(state.round());
    manifest.set_attempt(state.attempt());
    manifest.set_values(content.numel());
    for (const Sha256Digest& digest : ChunksOf(content).digests) manifest.add_chunks(std::string(digest.begin(), digest.end()));
    constexpr int kOldWeight = 4;
    const double weight = 1e12;
    uint64_t bits = 0;
    std::memcpy(&bits, &weight, sizeof(bits));
    manifest.GetReflection()->MutableUnknownFields(&manifest)->AddFixed64(kOldWeight, bits);
    return manifest;
  }
  v1::Chunk Piece(const v1::UploadManifest& manifest, const at::Tensor& content, int index) const {
    v1::Chunk chunk;
    chunk.set_run(run_);
    chunk.set_round(manifest.round());
    chunk.set_sha256(manifest.chunks(index));
    chunk.set_content(std::string(ChunkOf(content, index)));
    return chunk;
  }
  /// How many values the server expects, as its own refusal says. False: it said something else, such as "try again".
  bool KnowsValues(const v1::RunState& state) {
    if (values > 0) return true;
    const auto answer = Insist(Rpc::kBeginUpload, Manifest(state, at::zeros({1})));
    const std::string text(answer.status().message());
    const size_t at = text.find("expected ");
    if (at != std::string::npos) values = std::atoll(text.c_str() + at + std::strlen("expected "));
    return values > 0;
  }
  /// Everything but the last chunk, and never a commit: another content each time.
  void NeverCommit(const v1::RunState& state) {
    constexpr int kContents = 60;
    for (int i = 0; i < kContents; ++i) {
      const at::Tensor content = at::full({values}, static_cast<float>(i) / 1000.0F);
      const v1::UploadManifest manifest = Manifest(state, content);
      if (i % 2 == 0) old_.push_back(manifest);
      if (!Call(Rpc::kBeginUpload, manifest).ok()) continue;
      for (int k = 0; k < manifest.chunks_size(); ++k) (void)Call(Rpc::kPutChunk, Piece(manifest, content, k));
    }
  }
  void SendOutOfBounds(const v1::RunState& state, float value) {
    at::Tensor content = at::zeros({values});
    content[-1] = value;
    const v1::UploadManifest manifest = Manifest(state, content);
    (void)Insist(Rpc::kBeginUpload, manifest);
    for (int k = 0; k < manifest.chunks_size(); ++k) (void)Insist(Rpc::kPutChunk, Piece(manifest, content, k));
    (void)Insist(Rpc::kCommitUpload, manifest);
  }
  void Attack(const v1::RunState& state) {
    if (state.round() == 2 && state.attempt() == 1) NeverCommit(state);  // this round ends without it, at the deadline
    if (state.round() != 2) SendOutOfBounds(state, state.round() == 1 ? 1e30F : std::numeric_limits<float>::quiet_NaN());
    for (const v1::UploadManifest& manifest : old_) {  // replayed, and in the wrong order
      (void)Call(Rpc::kCommitUpload, manifest);
      (void)Call(Rpc::kBeginUpload, manifest);
    }
    v1::Metrics report;
    report.set_run(run_);
    report.set_round(state.closed_round());
    constexpr int kReports = 10'000, kReads = 2'000;
    for (int i = 0; state.round() == 2 && i < kReports; ++i) {
      (*report.mutable_values())["loss"] = i;
      (void)Call(Rpc::kReport, report);
    }
    v1::ManifestRequest wanted;
    wanted.set_run(run_);
    wanted.set_round(state.closed_round());
    v1::Countersignature signature;
    signature.set_run(run_);
    signature.set_round(state.closed_round());
    for (int i = 0; state.round() == 3 && i < kReads; ++i) {
      (void)Call(Rpc::kGetManifest, wanted);
      (void)Call(Rpc::kCountersign, signature);
    }
  }

  const std::string agreement_;
  GrpcConnection connection_;
  std::string run_;
  std::vector<v1::UploadManifest> old_;
};

class FederationAttack : public testing::FederationProcesses {
 protected:
  FederationAttack() : testing::FederationProcesses(3) {}

  /// The honest sites, from their start to their end. Returns seconds.
  double RunHonest(const std::string& out) {
    const auto begun = std::chrono::steady_clock::now();
    const auto a = StartSiteAndReadOn(out, "a"), b = StartSiteAndReadOn(out, "b");
    ExpectEndsWell(*a);
    ExpectEndsWell(*b);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  }
  int64_t Entries(const std::string& what) const {
    return std::stoll(Sql("attacked", "SELECT count(*) FROM audit_entry WHERE subject = 'c' AND " + what));
  }
};

TEST_F(FederationAttack, HonestSitesDoNotNoticeAMemberThatDoesWhatItLikes) {
  // Without it: its keys are revoked.
  fs::copy(folder().path() / "keys", folder().path() / "quiet-keys", fs::copy_options::recursive);
  Fedalt({"keys", "revoke", "quiet-keys", "c"});
  double quiet_s = 0.0, attacked_s = 0.0;
  {
    const auto server = StartServerAndReadOn("quiet", {.keys = "quiet-keys/server", .minimum_cohort = 2});
    quiet_s = RunHonest("quiet");
    (void)server->End(SIGTERM);
  }
  constexpr int64_t kDeadlineS = 10;
  const auto server = StartServerAndReadOn("attacked", {.minimum_cohort = 2, .deadline_s = kDeadlineS});
  const auto party = LoadPartyConfig(folder().path() / WriteSite("attacked", "c"), Party::kSite);
  ASSERT_TRUE(party.ok()) << party.status();
  const auto keys = LoadPartyKeys(*party, Party::kSite);
  ASSERT_TRUE(keys.ok()) << keys.status();
  const auto config = LoadSharedConfig(*party, keys->roster);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto agreement = AgreementOf(*config, keys->roster);
  ASSERT_TRUE(agreement.ok()) << agreement.status();
  Attacker attacker(*agreement, keys->identity, port_);
  std::thread attack([&] { attacker.Run(); });
  attacked_s = RunHonest("attacked");
  (void)server->End(SIGTERM);
  attack.join();
  std::cout << attacker.calls << " calls, " << attacker.exhausted << " beyond its budget, " << attacker.left_out
            << " told that it is left out; honest sites: " << quiet_s << " s without it, " << attacked_s << " s with it, of which "
            << kDeadlineS << " s are the deadline of round 2\n";
  EXPECT_GT(attacker.exhausted, 0);
  EXPECT_GT(attacker.left_out, 0);
  ASSERT_GT(attacker.values, 0);

  for (const std::string site : {"a", "b"}) {
    const auto quiet = Checkpoints(folder().path() / "quiet" / site / "rounds/003", site);
    EXPECT_GT(quiet.size(), 4u);
    EXPECT_EQ(Checkpoints(folder().path() / "attacked" / site / "rounds/003", site), quiet) << site;
  }
  EXPECT_EQ(Sql("attacked", "SELECT count(*) FROM contribution WHERE site = 2"), "0");
  EXPECT_EQ(Sql("attacked", "SELECT count(*) FROM contributor WHERE site = 2"), "0");
  // What it could make the server keep.
  const int64_t attempts = std::stoll(Sql("attacked", "SELECT count(*) FROM attempt")) + 1;
  EXPECT_LE(Entries("kind = 'refusal'"), attempts * (budget::kRefusalsPerAttempt + 1));
  EXPECT_LE(Entries("kind = 'metrics'"), attempts * budget::kReportsPerAttempt);
  EXPECT_LE(Entries("kind IN ('enrolment', 'departure')"), attempts * 2 * budget::kEnrolmentsPerAttempt);
  EXPECT_LE(Entries("kind = 'left_out'"), attempts);
  EXPECT_EQ(Entries("kind NOT IN ('refusal', 'metrics', 'enrolment', 'departure', 'left_out')"), 0);
  int64_t objects = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder().path() / "attacked/server/objects"))
    if (entry.is_regular_file()) objects += static_cast<int64_t>(entry.file_size());
  // Three publications, two contributions that count; of the attacker one upload in flight at most.
  EXPECT_LE(objects, 6 * attacker.values * static_cast<int64_t>(sizeof(float)));
  constexpr size_t kLogBytes = 100'000;
  EXPECT_LT(server->messages().size(), kLogBytes);
  ExpectVerified("attacked/server");
}

}  // namespace
}  // namespace fedalt
