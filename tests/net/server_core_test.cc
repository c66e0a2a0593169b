// What the server's state machine refuses, and what it counts once. Faults of network, clock and disk are the simulation's.
#include "net/server_core.h"

#include <gtest/gtest.h>

#include <limits>

#include "net/memory_journal.h"

namespace fedalt {
namespace {

using testing::MemoryJournal;

class SettableClock : public Clock {
 public:
  int64_t now_ms = 1000;
  int64_t NowMs() const override { return now_ms; }
  Status Sleep(int64_t ms) override {
    now_ms += ms;
    return absl::OkStatus();
  }
};

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
  static v1::EnrolRequest Enrolment() {
    v1::EnrolRequest request;
    request.set_oldest_protocol(1);
    request.set_newest_protocol(1);
    request.set_agreement("model a\nrounds: 2\n");
    request.set_train_examples(5);
    return request;
  }
  static v1::UploadManifest ManifestOf(const at::Tensor& values, int64_t round = 1, int64_t attempt = 1) {
    v1::UploadManifest manifest;
    manifest.set_run("r");
    manifest.set_round(round);
    manifest.set_attempt(attempt);
    manifest.set_weight(1.0);
    manifest.set_values(values.numel());
    for (const Sha256Digest& digest : ChunksOf(values).digests) manifest.add_chunks(std::string(digest.begin(), digest.end()));
    return manifest;
  }
  static v1::Chunk ChunkOfManifest(const v1::UploadManifest& manifest, const at::Tensor& values, int index) {
    v1::Chunk chunk;
    chunk.set_run("r");
    chunk.set_round(manifest.round());
    chunk.set_sha256(manifest.chunks(index));
    chunk.set_content(std::string(ChunkOf(values, index)));
    return chunk;
  }
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
  SettableClock clock_;
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

TEST_F(ServerCoreTest, ManifestsThatDoNotFit) {
  EnrolBoth();
  const v1::UploadManifest good = ManifestOf(a_);
  const auto refused = [&](const std::function<void(v1::UploadManifest&)>& spoil) {
    v1::UploadManifest manifest = good;
    spoil(manifest);
    EXPECT_FALSE(core_->CommitUpload(0, manifest).ok());
    return core_->BeginUpload(0, manifest).status();
  };
  ExpectRefused(refused([](auto& m) { m.set_run("another"); }), kPrecondition, "this server runs r, not \"another\"");
  ExpectRefused(refused([](auto& m) { m.set_round(2); }), kPrecondition, "round 2, attempt 1, but open is round 1, attempt 1");
  ExpectRefused(refused([](auto& m) { m.set_round(0); }), kPrecondition, "round 0");
  ExpectRefused(refused([](auto& m) { m.set_attempt(2); }), kPrecondition, "attempt 2");
  ExpectRefused(refused([](auto& m) { m.set_values(kValues + 1); }), kInvalid, "values");
  ExpectRefused(refused([](auto& m) { m.set_values(int64_t{1} << 60); }), kInvalid, "values");
  ExpectRefused(refused([](auto& m) { m.mutable_chunks()->RemoveLast(); }), kInvalid, "in 1 pieces");
  ExpectRefused(refused([](auto& m) { m.add_chunks("x"); }), kInvalid, "in 3 pieces");
  ExpectRefused(refused([](auto& m) { m.set_chunks(0, "short"); }), kInvalid, "a hash has 5 bytes");
  ExpectRefused(refused([](auto& m) { m.set_chunks(1, m.chunks(0)); }), kInvalid, "different sizes");
  for (const double weight : {0.0, -1.0, 1e13, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    ExpectRefused(refused([&](auto& m) { m.set_weight(weight); }), kInvalid, "weight");
  EXPECT_TRUE(journal_.position().received.empty());
  EXPECT_TRUE(Upload(0, a_).ok());
}

TEST_F(ServerCoreTest, PiecesThatDoNotFit) {
  EnrolBoth();
  const v1::UploadManifest manifest = ManifestOf(a_);
  const v1::Chunk good = ChunkOfManifest(manifest, a_, 0);
  EXPECT_EQ(core_->PutChunk(0, good).status().code(), kPrecondition) << "before the upload was begun";
  ASSERT_TRUE(core_->BeginUpload(0, manifest).ok());
  EXPECT_EQ(core_->PutChunk(1, good).status().code(), kPrecondition) << "another site's";
  v1::Chunk chunk = good;
  chunk.mutable_content()->resize(17);
  ExpectRefused(core_->PutChunk(0, chunk).status(), kInvalid, "17 bytes");
  chunk = good;
  chunk.mutable_content()->append("garbage behind it");
  ExpectRefused(core_->PutChunk(0, chunk).status(), kInvalid, "none of those");
  chunk = good;
  (*chunk.mutable_content())[100] ^= 1;
  ExpectRefused(core_->PutChunk(0, chunk).status(), kInvalid, "does not have the hash");
  EXPECT_EQ(core_->CommitUpload(0, manifest).status().code(), kPrecondition) << "pieces are missing";
  const at::Tensor bad = a_.clone();
  bad[5] = std::numeric_limits<float>::quiet_NaN();
  ASSERT_TRUE(core_->BeginUpload(0, ManifestOf(bad)).ok());
  ExpectRefused(core_->PutChunk(0, ChunkOfManifest(ManifestOf(bad), bad, 0)).status(), kInvalid, "not finite");
  EXPECT_TRUE(journal_.position().received.empty());
}

TEST_F(ServerCoreTest, TheSameUploadTwiceCountsOnceAndAnotherIsAConflict) {
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(0, a_).ok());
  EXPECT_TRUE(core_->BeginUpload(0, ManifestOf(a_))->committed());
  EXPECT_TRUE(core_->CommitUpload(0, ManifestOf(a_))->duplicate());
  ExpectRefused(Upload(0, b_), absl::StatusCode::kAlreadyExists, "the first one stays");
  ExpectRefused(core_->CommitUpload(0, ManifestOf(b_)).status(), absl::StatusCode::kAlreadyExists, "the first one stays");
  EXPECT_EQ(journal_.saved_twice, 0);
  EXPECT_EQ(journal_.position().received.size(), 1u);
}

TEST_F(ServerCoreTest, ASiteReadsWhatWasPublishedAndNothingElse) {
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, b_).ok());
  const auto closing = core_->Tick();
  ASSERT_TRUE(closing.ok() && closing->has_value());
  EXPECT_EQ(Upload(1, b_).code(), absl::StatusCode::kUnavailable) << "while the round is being closed: not yet, and no refusal";
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

TEST_F(ServerCoreTest, ARoundWithTooFewIsAbandonedAndItsUploadsForgotten) {
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  for (int attempt = 1; attempt <= 3; ++attempt) {
    EXPECT_EQ(core_->state().attempt(), attempt);
    clock_.now_ms += 60'000;
    ASSERT_TRUE(core_->Tick().ok());
    EXPECT_TRUE(journal_.position().received.empty());
    Start();  // the server dies and comes back here, too
    ASSERT_TRUE(core_->Tick().ok());
  }
  EXPECT_EQ(core_->state().phase(), v1::PHASE_ENDED);
  EXPECT_NE(core_->state().cause().find("round 1 was abandoned 3 times"), std::string::npos) << core_->state().cause();
  EXPECT_TRUE(journal_.published.empty());
  EXPECT_EQ(core_->Enrol(1, Enrolment()).ok(), true) << "a site that is known hears how it ended";
}

TEST_F(ServerCoreTest, TheEndThatTheDiskDidNotTakeComesLaterAndNotAnotherAttempt) {
  EnrolBoth();
  for (int attempt = 1; attempt <= 2; ++attempt) {
    clock_.now_ms += 60'000;
    ASSERT_TRUE(core_->Tick().ok());
    ASSERT_TRUE(core_->Tick().ok());
  }
  int writes = 0;  // the abandonment is recorded, the end is not
  journal_.disk = [&writes] { return ++writes == 2 ? MemoryJournal::Disk::kFailsBefore : MemoryJournal::Disk::kGood; };
  clock_.now_ms += 60'000;
  EXPECT_FALSE(core_->Tick().ok());
  EXPECT_EQ(journal_.abandoned.size(), 3u);
  EXPECT_NE(core_->state().phase(), v1::PHASE_ENDED);
  Start();
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_EQ(core_->state().phase(), v1::PHASE_ENDED);
  EXPECT_NE(core_->state().cause().find("round 1 was abandoned 3 times"), std::string::npos) << core_->state().cause();
}

TEST_F(ServerCoreTest, WhatIsQuotedIsCutBetweenTwoLetters) {
  v1::EnrolRequest request = Enrolment();
  for (const size_t before : {192, 193, 194}) {  // the letter of two bytes lies before, across and behind the cut
    request.set_agreement("model " + std::string(before, 'x') + "\xc3\xa4\n");
    ExpectRefused(core_->Enrol(0, request).status(), kPrecondition, "the configurations differ");
  }
  EnrolBoth();
  v1::UploadManifest manifest = ManifestOf(a_);
  manifest.set_run(std::string(79, 'x') + "\xe5\xa4\xa7\xe9\x98\xaa");
  ExpectRefused(core_->BeginUpload(0, manifest).status(), kPrecondition,
                "this server runs r, not \"" + std::string(79, 'x') + "\"");
}

TEST_F(ServerCoreTest, AnotherConfigurationAfterARestartIsRefused) {
  ServerOptions options;
  options.run = "r";
  options.agreement = "model b\nrounds: 2\n";
  options.sites = {"osaka", "lyon"};
  options.exchange_rounds = {1};
  options.values = kValues;
  const Status status = ServerCore(options, journal_, clock_).Recover();
  EXPECT_EQ(KindOf(status), ErrorKind::kConfig);
  EXPECT_NE(std::string(status.message()).find("\"model b\""), std::string::npos) << status;
}

TEST_F(ServerCoreTest, WhatTheDiskDidNotTakeIsNotAcknowledged) {
  EnrolBoth();
  journal_.disk = [] { return MemoryJournal::Disk::kFailsBefore; };
  const Status failed = Upload(0, a_);
  EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable) << failed;
  journal_.disk = [] { return MemoryJournal::Disk::kGood; };
  EXPECT_TRUE(Upload(0, a_).ok());
  EXPECT_EQ(journal_.position().received.size(), 1u);
}

}  // namespace
}  // namespace fedalt
