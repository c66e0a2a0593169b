// What the server's state machine refuses. The rows of the fault table are in fault_table_test.cc, on its database and its port;
// faults of network, clock and disk in any order are the simulation's.
#include "net/server_core.h"

#include <gtest/gtest.h>

#include "net/memory_journal.h"
#include "net/messages.h"

namespace fedalt {
namespace {

using testing::ChunkOfManifest;
using testing::ManifestOf;
using testing::MemoryJournal;

constexpr int64_t kValues = kChunkBytes / 4 + 3;  // two pieces

class ServerCoreTest : public ::testing::Test {
 protected:
  ServerCoreTest() { Start(); }
  void Start() {
    ServerOptions options;
    options.run = "r";
    options.agreement = "model a\nrounds: 2\n";
    options.sites = {"osaka", "lyon"};
    options.exchange_rounds = {1, 2};
    options.values = kValues;
    options.minimum_cohort = 2;
    options.deadline_ms = 60'000;
    core_ = std::make_unique<ServerCore>(options, journal_, clock_);
    EXPECT_TRUE(core_->Recover().ok());
  }
  void EnrolBoth() {
    for (const int64_t site : {0, 1}) ASSERT_TRUE(core_->Enrol(site, Enrolment()).ok());
    ASSERT_TRUE(core_->Tick().ok());
    ASSERT_EQ(core_->state().phase(), v1::PHASE_COLLECTING);
  }
  static v1::EnrolRequest Enrolment() { return testing::EnrolmentIn("model a\nrounds: 2\n"); }
  Status Upload(int64_t site, const at::Tensor& values, int64_t round = 1) {
    const v1::UploadManifest manifest = ManifestOf(values, round);
    const auto missing = core_->BeginUpload(site, manifest);
    if (!missing.ok()) return missing.status();
    for (const int64_t i : missing->chunks())
      if (const auto put = core_->PutChunk(site, ChunkOfManifest(manifest, values, static_cast<int>(i))); !put.ok())
        return put.status();
    return core_->CommitUpload(site, manifest).status();
  }
  /// The refusal is of this code, says this, and is noted for the log.
  void ExpectRefused(const Status& status, absl::StatusCode code, const std::string& words) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(std::string(status.message()).find(words), std::string::npos) << status;
    ASSERT_FALSE(journal_.refusals.empty());
    EXPECT_NE(journal_.refusals.back().find(words), std::string::npos) << journal_.refusals.back();
  }

  MemoryJournal journal_;
  testing::SettableClock clock_;
  std::unique_ptr<ServerCore> core_;
  at::Tensor a_ = at::arange(kValues, at::kFloat), b_ = a_ + 1.0;
};

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument, kPrecondition = absl::StatusCode::kFailedPrecondition;

TEST_F(ServerCoreTest, EnrolmentThatDoesNotFit) {
  v1::EnrolRequest request = Enrolment();
  request.set_agreement("model a\nrounds: 3\n");
  ExpectRefused(core_->Enrol(0, request).status(), kPrecondition, "the server has \"rounds: 2\", the site has \"rounds: 3\"");
  request = Enrolment();
  request.set_oldest_protocol(7);
  request.set_newest_protocol(9);
  ExpectRefused(core_->Enrol(0, request).status(), kPrecondition, "protocols 7 to 9");
  request = Enrolment();
  request.set_train_examples(0);
  ExpectRefused(core_->Enrol(0, request).status(), kInvalid, "no training examples");
  EXPECT_TRUE(journal_.position().enrolled.empty());
  ASSERT_TRUE(core_->Enrol(0, Enrolment()).ok());
  request = Enrolment();
  request.set_train_examples(6);
  ExpectRefused(core_->Enrol(0, request).status(), kPrecondition, "enrolled with 5 training examples and now has 6");
}

TEST_F(ServerCoreTest, ASiteReadsWhatWasPublishedAndNothingElse) {
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, b_).ok());
  const auto closing = core_->Tick();
  ASSERT_TRUE(closing.ok() && closing->has_value());
  EXPECT_EQ(Upload(1, b_).code(), kPrecondition) << "while the round is being closed";
  const auto method = MakeMethod({});
  const auto published = Aggregate(**closing, {method->get(), {}, 1, {"osaka", "lyon"}}, journal_);
  ASSERT_TRUE(core_->Finish(**closing, published).ok());
  EXPECT_EQ(core_->state().closed_round(), 1);
  EXPECT_EQ(core_->state().round(), 2);

  v1::ManifestRequest wanted;
  wanted.set_run("r");
  wanted.set_round(1);
  const auto manifest = core_->GetManifest(0, wanted);
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->own_round(), 1);
  EXPECT_EQ(manifest->total_weight(), 2.0);
  v1::ChunkRequest piece;
  piece.set_run("r");
  piece.set_round(1);
  piece.set_sha256(manifest->chunks(0));
  const auto chunk = core_->GetChunk(0, piece);
  ASSERT_TRUE(chunk.ok());
  EXPECT_EQ(chunk->content(), std::string(ChunkOf(a_ + b_, 0)));
  // The other site's upload is there under its hash, but not for this one.
  piece.set_sha256(ManifestOf(b_).chunks(0));
  EXPECT_EQ(core_->GetChunk(0, piece).status().code(), absl::StatusCode::kNotFound);
  piece.set_sha256("x");
  EXPECT_EQ(core_->GetChunk(0, piece).status().code(), kInvalid);
  wanted.set_round(2);
  EXPECT_EQ(core_->GetManifest(0, wanted).status().code(), absl::StatusCode::kNotFound);
  // An old round's upload is told what is open.
  ExpectRefused(Upload(0, a_), kPrecondition, "open is round 2");
}

TEST_F(ServerCoreTest, DeadlinesAbandonAndEndWithACause) {
  ASSERT_TRUE(core_->Enrol(0, Enrolment()).ok());
  clock_.now_ms += 60'000;
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_EQ(core_->state().phase(), v1::PHASE_ENDED);
  EXPECT_NE(core_->state().cause().find("only 1 of 2 sites enrolled"), std::string::npos) << core_->state().cause();
}

}  // namespace
}  // namespace fedalt
