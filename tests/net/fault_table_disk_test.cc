// The fault table (docs/verification.md), rows of deadlines and the disk.
#include "net/fault_table.h"

namespace fedalt::testing {
namespace {

namespace fs = std::filesystem;

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
  EXPECT_NE(core_->state().phase(), v1::PHASE_ENDED);
  EXPECT_EQ(Count("published"), 0);
  EXPECT_EQ(Count("contribution WHERE counted = 1"), 0);
}

TEST_F(FaultTable, AfterThreeAbandonedAttemptsTheRunPausesUntilTheSiteIsBack) {
  EnrolBoth();
  for (int64_t attempt = 1; attempt <= 3; ++attempt) {
    ASSERT_TRUE(Send(kOsaka, a_, 1, attempt).ok());
    clock_.now_ms += kDeadlineMs;
    ASSERT_TRUE(Step().ok());
    ASSERT_TRUE(Step().ok());
  }
  EXPECT_SAYS(Sql("SELECT cause FROM pause"), "round 1 was abandoned 3 times, at last because only 1 of 2 sites contributed");
  Start();
  clock_.now_ms += 1;
  EXPECT_SAYS(Must<v1::EnrolReply>(kOsaka, Rpc::kEnrol, EnrolmentIn(kAgreement)).state().waiting_for(), "paused by itself");
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(Count("pause"), 1);
  ASSERT_TRUE(Ask(kLyon, Rpc::kEnrol, EnrolmentIn(kAgreement)).ok());
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(Count("pause"), 0);
  EXPECT_EQ(core_->state().attempt(), 4);
  ASSERT_TRUE(Send(kOsaka, a_, 1, 4).ok());
  ASSERT_TRUE(Send(kLyon, b_, 1, 4).ok());
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(core_->state().closed_round(), 1);
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
  EXPECT_SAYS(told[0], "waits for the server (the server's disk does not do what it should");
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

TEST_F(FaultTable, PublishedObjectThatIsGoneOrDamagedIsMadeAgain) {
  CloseRoundOne();
  const std::string hex = HexOf(ChunksOf(a_ + b_).digests[0]);
  const fs::path object = folder_.path() / "objects" / hex.substr(0, 2) / hex;
  for (const bool gone : {true, false}) {
    if (gone) fs::remove(object);
    if (!gone) testing::FlipABit(object);
    std::vector<std::string> told;
    SiteSession session = SessionOf(As(kOsaka), [&](const std::string& what) {
      told.push_back(what);
      ASSERT_TRUE(Step().ok());
    });
    ASSERT_TRUE(session.Enrol(false).ok());
    const auto published = session.CloseRound(1);
    ASSERT_TRUE(published.ok()) << published.status();
    EXPECT_TRUE(published->values.equal(a_ + b_));
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].find(folder_.path().string()), std::string::npos) << "no path of the server";
  }
}

TEST_F(FaultTable, DamagedContributionIsSentAgain) {
  EnrolBoth();
  ASSERT_TRUE(Send(kOsaka, a_).ok());
  testing::FlipABit(ObjectPath(folder_.path(), ChunksOf(a_).digests[0]));
  ASSERT_TRUE(Send(kLyon, b_).ok());
  ASSERT_TRUE(Step().ok());
  EXPECT_SAYS(Sql("SELECT abandoned FROM attempt WHERE attempt = 1"), "the stored contribution of osaka in round 1 is damaged");
  ASSERT_TRUE(Step().ok());
  ASSERT_TRUE(Send(kOsaka, a_, 1, 2).ok());
  ASSERT_TRUE(Send(kLyon, b_, 1, 2).ok());
  ASSERT_TRUE(Step().ok());
  const auto published = store_->LoadPublished(1);
  ASSERT_TRUE(published.ok() && published->has_value());
  EXPECT_EQ((*published)->chunks.digests, ChunksOf(a_ + b_).digests);
}

// Two servers on one run.

TEST_F(FaultTable, TwoServersInOneDirectory) {
  const auto second = OpenStore();
  EXPECT_EQ(KindOf(second.status()), ErrorKind::kUsage);
  EXPECT_SAYS(std::string(second.status().message()), "another fedalt is at work in this directory");
}

}  // namespace
}  // namespace fedalt::testing
