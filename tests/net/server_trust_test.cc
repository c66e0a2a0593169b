// The server's state machine takes nothing on trust: weights, values, what a site may use and read, damage, clocks, processes.
#include <gtest/gtest.h>

#include <limits>

#include "fed/fixed_point_sum.h"
#include "fed/upload_format.h"
#include "net/server_core_fixture.h"

namespace fedalt::testing {
namespace {

constexpr auto kOutOfRange = absl::StatusCode::kOutOfRange, kExhausted = absl::StatusCode::kResourceExhausted,
               kDenied = absl::StatusCode::kPermissionDenied, kUnavailable = absl::StatusCode::kUnavailable;
constexpr int64_t kContributionBytes = kValues * static_cast<int64_t>(sizeof(float));

class ServerTrust : public ServerCoreTest {
 protected:
  void Begin(const std::vector<std::string>& sites, int64_t minimum_cohort) {
    sites_ = sites;
    minimum_cohort_ = minimum_cohort;
    Start();
    for (size_t site = 0; site < sites_.size(); ++site) ASSERT_TRUE(core_->Enrol(static_cast<int64_t>(site), Enrolment()).ok());
    ASSERT_TRUE(core_->Tick().ok());
    ASSERT_EQ(core_->state().phase(), v1::PHASE_COLLECTING);
  }
  static v1::ManifestRequest PublishedOf(int64_t round) {
    v1::ManifestRequest wanted;
    wanted.set_run("r");
    wanted.set_round(round);
    return wanted;
  }
  static v1::PollRequest PollBy(const std::string& process) {
    v1::PollRequest poll;
    poll.set_run("r");
    poll.set_process(process);
    return poll;
  }
  StatusOr<v1::Chunk> FirstChunkOf(int64_t site, int64_t round) {
    v1::ChunkRequest wanted;
    wanted.set_run("r");
    wanted.set_round(round);
    const Sha256Digest& digest = journal_.published.at(round).ReadBy(site).digests.front();
    wanted.set_sha256(std::string(digest.begin(), digest.end()));
    return core_->GetChunk(site, wanted);
  }
};

// Weights.

TEST_F(ServerTrust, WeightsFollowFromTheRuleAndTheEnrolment) {
  weight_ = [](int64_t train_examples) { return static_cast<double>(train_examples); };
  Start();
  v1::EnrolRequest more = Enrolment();
  more.set_train_examples(2);
  ASSERT_TRUE(core_->Enrol(0, Enrolment()).ok());
  ASSERT_TRUE(core_->Enrol(1, more).ok());
  ASSERT_TRUE(core_->Tick().ok());
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, b_).ok());
  CLOSE_NOW();
  EXPECT_EQ(journal_.published.at(1).weights, (std::map<int64_t, double>{{0, 5.0}, {1, 2.0}}));
  EXPECT_EQ(journal_.published.at(1).total_weight, 7.0);
  const auto told = core_->GetManifest(1, PublishedOf(1));
  ASSERT_TRUE(told.ok());
  EXPECT_EQ(testing::OwnIn(*told, "lyon").weight, 2.0);
  more.set_train_examples(budget::kMostTrainExamples + 1);
  EXPECT_EQ(core_->Enrol(1, more).status().code(), absl::StatusCode::kInvalidArgument);
}

// Values.

TEST_F(ServerTrust, EveryFormatIsBoundedWhenItArrives) {
  for (const UploadFormat format : {UploadFormat::kFloat32, UploadFormat::kBFloat16, UploadFormat::kInt8}) {
    SCOPED_TRACE(static_cast<int>(format));
    journal_ = MemoryJournal();
    upload_ = format;
    Begin({"osaka", "lyon", "graz"}, 2);
    const double limit = kSumReach / 3.0;
    at::Tensor values = at::zeros({kValues});
    values[7] = static_cast<float>(limit * 1.1);
    EXPECT_EQ(Upload(0, Encoded(AsTransmitted(values, format), format)).code(), kOutOfRange);
    values[7] = static_cast<float>(-limit * 0.9);
    const at::Tensor good = Encoded(AsTransmitted(values, format), format);
    EXPECT_TRUE(Upload(1, good).ok());
    EXPECT_TRUE(Upload(2, good).ok());
    CLOSE_NOW();
    EXPECT_EQ(journal_.published.at(1).contributors, (std::map<int64_t, int64_t>{{1, 1}, {2, 1}}));
  }
}

/// The same bits may mean something else in another place, and of another site: what is stored is looked at for each upload.
TEST_F(ServerTrust, StoredChunksAreLookedAtForEachUpload) {
  weight_ = [](int64_t train_examples) { return static_cast<double>(train_examples); };
  Start();
  v1::EnrolRequest heavy = Enrolment();
  heavy.set_train_examples(1'000'000);
  ASSERT_TRUE(core_->Enrol(0, Enrolment()).ok());
  ASSERT_TRUE(core_->Enrol(1, heavy).ok());
  ASSERT_TRUE(core_->Tick().ok());
  ASSERT_TRUE(Upload(0, a_).ok());
  EXPECT_EQ(Upload(1, a_).code(), kOutOfRange) << "with its weight the same values are beyond the sum";
}

TEST_F(ServerTrust, ALargeNormIsLeftOutAndTheLastContributionStays) {
  max_norm_ = 3.0;
  Begin({"osaka", "lyon", "graz"}, 2);
  for (const int64_t site : {0, 1, 2}) ASSERT_TRUE(Upload(site, a_).ok());
  CLOSE_NOW();
  ASSERT_TRUE(Upload(0, a_, 2).ok());
  ASSERT_TRUE(Upload(1, b_, 2).ok());
  ASSERT_TRUE(Upload(2, a_ * 4.0, 2).ok()) << "on arrival nobody knows the median";
  CLOSE_NOW();
  const PublishedObject& second = journal_.published.at(2);
  EXPECT_EQ(second.contributors, (std::map<int64_t, int64_t>{{0, 2}, {1, 2}, {2, 1}}));
  ASSERT_TRUE(second.left_out.contains(2));
  const auto told = core_->GetManifest(2, PublishedOf(2));
  ASSERT_TRUE(told.ok());
  EXPECT_EQ(testing::OwnIn(*told, "graz").round, 1);
  EXPECT_NE(told->left_out().find("contribution.max_norm"), std::string::npos) << told->left_out();
  ASSERT_FALSE(warnings_.empty());
  EXPECT_NE(warnings_.back().find("graz"), std::string::npos);
  const auto sum = FromChunks(second.chunks, [&](const Sha256Digest& digest) { return journal_.GetChunk(digest); });
  ASSERT_TRUE(sum.ok());
  EXPECT_TRUE(sum->equal(a_ + b_ + a_));
}

TEST_F(ServerTrust, OfTwoNobodyCanTellWhoIsWrong) {
  max_norm_ = 1.5;
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, a_ / 1000.0).ok());
  CLOSE_NOW();
  EXPECT_TRUE(journal_.published.at(1).left_out.empty());
}

// Budgets.

TEST_F(ServerTrust, UncommittedChunksDoNotPileUp) {
  Begin({"osaka", "lyon", "graz"}, 2);
  bool spent = false;
  for (int i = 0; i < 100 && !spent; ++i) {
    const at::Tensor values = a_ + static_cast<float>(i);
    const v1::UploadManifest manifest = ManifestOf(values);
    const auto begun = core_->BeginUpload(0, manifest);
    if (begun.ok())
      for (const int64_t place : begun->chunks()) {
        const auto put = core_->PutChunk(0, ChunkOfManifest(manifest, values, static_cast<int>(place)));
        spent = spent || put.status().code() == kExhausted;
      }
    EXPECT_LE(journal_.stored(), kContributionBytes) << i;
  }
  EXPECT_TRUE(spent);
  EXPECT_EQ(Upload(0, a_).code(), kExhausted);
  ASSERT_TRUE(Upload(1, a_).ok()) << "the others do not notice";
  ASSERT_TRUE(Upload(2, b_).ok());
  clock_.now_ms += 60'000;
  CLOSE_NOW();
  EXPECT_EQ(journal_.stored(), 3 * kContributionBytes) << "what counts, and what was published";
  EXPECT_TRUE(Upload(0, a_, 2).ok()) << "the next attempt gives it back";
}

TEST_F(ServerTrust, ANeverCommittedUploadOfBeforeARestartIsCollected) {
  Begin({"osaka", "lyon", "graz"}, 2);
  const v1::UploadManifest manifest = ManifestOf(a_);
  ASSERT_TRUE(core_->BeginUpload(0, manifest).ok());
  ASSERT_TRUE(core_->PutChunk(0, ChunkOfManifest(manifest, a_, 0)).ok());
  Start();
  const auto missing = core_->BeginUpload(0, manifest);
  ASSERT_TRUE(missing.ok());
  EXPECT_EQ(missing->chunks_size(), 1) << "what had come needs not come again";
  clock_.now_ms += 60'000;
  ASSERT_TRUE(core_->Tick().ok());
  ASSERT_EQ(journal_.abandoned.size(), 1u);
  EXPECT_EQ(journal_.stored(), 0);
}

TEST_F(ServerTrust, TenThousandReportsAreTen) {
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, b_).ok());
  CLOSE_NOW();
  v1::Metrics report;
  report.set_run("r");
  report.set_round(1);
  int64_t taken = 0, exhausted = 0;
  for (int i = 0; i < 10'000; ++i) {
    (*report.mutable_values())["loss"] = i;
    const Status status = core_->Report(0, report).status();
    taken += status.ok() ? 1 : 0;
    exhausted += status.code() == kExhausted ? 1 : 0;
  }
  EXPECT_EQ(taken, budget::kReportsPerAttempt);
  EXPECT_EQ(taken + exhausted, 10'000);
  EXPECT_EQ(journal_.reports, budget::kReportsPerAttempt);
  EXPECT_EQ(journal_.refusals.size(), 1u) << "told once";
  EXPECT_TRUE(core_->Report(1, report).ok()) << "the other has its own budget";
}

TEST_F(ServerTrust, CallsHaveARate) {
  EnrolBoth();
  int64_t answered = 0;
  for (int64_t i = 0; i < 2 * budget::kCallsPerMinute; ++i) answered += core_->State(0, PollBy("")).ok() ? 1 : 0;
  EXPECT_LE(answered, budget::kCallsPerMinute);
  EXPECT_GT(answered, budget::kCallsPerMinute / 2);
  EXPECT_EQ(core_->BeginUpload(0, ManifestOf(a_)).status().code(), kExhausted);
  EXPECT_TRUE(Upload(1, b_).ok());
  clock_.now_ms += 1000;
  EXPECT_TRUE(Upload(0, a_).ok()) << "after a second it has some again";
}

TEST_F(ServerTrust, RejoiningHasABudget) {
  EnrolBoth();
  v1::EnrolRequest anew = Enrolment();
  anew.set_anew(true);
  Status last;
  for (int i = 0; i < 1000 && last.ok(); ++i) {
    const auto reply = core_->Enrol(0, anew);
    last = reply.status();
    if (reply.ok()) anew.set_challenge(reply->challenge());
  }
  EXPECT_EQ(last.code(), kExhausted);
  EXPECT_LE(static_cast<int64_t>(journal_.departed.size()), budget::kEnrolmentsPerAttempt);
}

// Damage.

TEST_F(ServerTrust, ADamagedContributionIsSentAgain) {
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  journal_.Damage(ChunksOf(a_).digests[1]);
  ASSERT_TRUE(Upload(1, b_).ok());
  CLOSE_NOW();
  EXPECT_EQ(core_->state().closed_round(), 0);
  ASSERT_EQ(journal_.abandoned.size(), 1u);
  EXPECT_NE(journal_.abandoned[0].find("the stored contribution of osaka in round 1 is damaged"), std::string::npos)
      << journal_.abandoned[0];
  ASSERT_TRUE(core_->Tick().ok());
  ASSERT_TRUE(Upload(0, a_, 1, 2).ok()) << "its damaged chunk is asked for";
  ASSERT_TRUE(Upload(1, b_, 1, 2).ok());
  CLOSE_NOW();
  EXPECT_EQ(journal_.published.at(1).chunks.digests, ChunksOf(a_ + b_).digests);
}

TEST_F(ServerTrust, ADamagedContributionOfAnAbsentSiteIsLeftOut) {
  minimum_cohort_ = 1;
  Start();
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, b_).ok());
  CLOSE_NOW();
  journal_.Damage(ChunksOf(a_).digests[0]);
  ASSERT_TRUE(Upload(1, b_ + 1.0, 2).ok());
  clock_.now_ms += 60'000;
  CLOSE_NOW();
  const PublishedObject& second = journal_.published.at(2);
  EXPECT_EQ(second.contributors, (std::map<int64_t, int64_t>{{1, 2}}));
  EXPECT_EQ(second.chunks.digests, ChunksOf(b_ + 1.0).digests);
  ASSERT_TRUE(second.left_out.contains(0));
}

TEST_F(ServerTrust, ADamagedPublicationIsMadeAgain) {
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, b_).ok());
  CLOSE_NOW();
  journal_.Damage(ChunksOf(a_ + b_).digests[0]);
  const Status told = FirstChunkOf(0, 1).status();
  EXPECT_EQ(told.code(), kUnavailable) << "the site waits";
  CLOSE_NOW();
  const auto chunk = FirstChunkOf(0, 1);
  ASSERT_TRUE(chunk.ok()) << chunk.status();
  EXPECT_EQ(chunk->content(), std::string(ChunkOf(a_ + b_, 0)));
  EXPECT_EQ(core_->state().round(), 2);
  ASSERT_FALSE(warnings_.empty());
  EXPECT_NE(warnings_.back().find("was made again"), std::string::npos) << warnings_.back();
}

// Who reads.

TEST_F(ServerTrust, WhoTakesNoPartReadsNothing) {
  Begin({"osaka", "lyon", "graz"}, 2);
  for (const int64_t site : {0, 1, 2}) ASSERT_TRUE(Upload(site, a_).ok());
  CLOSE_NOW();
  ASSERT_TRUE(core_->GetManifest(2, PublishedOf(1)).ok());
  v1::LeaveRequest leave;
  leave.set_run("r");
  leave.set_enrolment(journal_.position().enrolments.at(2));
  ASSERT_TRUE(core_->Leave(2, leave).ok());
  const auto reads_nothing = [&](int64_t site) {
    EXPECT_EQ(core_->GetManifest(site, PublishedOf(1)).status().code(), kDenied);
    EXPECT_EQ(FirstChunkOf(site, 1).status().code(), kDenied);
    EXPECT_EQ(core_->State(site, PollBy("")).status().code(), kDenied);
    v1::Metrics report;
    report.set_run("r");
    report.set_round(1);
    EXPECT_EQ(core_->Report(site, report).status().code(), kDenied);
  };
  reads_nothing(2);
  journal_.requests.push_back({1, OperatorRequest::Kind::kErase, "lyon", ""});
  ASSERT_TRUE(core_->Tick().ok());
  reads_nothing(1);
  revoked_ = {0};
  minimum_cohort_ = 1;
  Start();
  reads_nothing(0);
  reads_nothing(1);
  ASSERT_TRUE(core_->Enrol(2, Enrolment()).ok());
}

// Clocks.

TEST_F(ServerTrust, TheWallClockDecidesNothing) {
  constexpr int64_t kTwoDaysMs = 172'800'000;
  for (const int64_t step : {kTwoDaysMs, -kTwoDaysMs}) {
    journal_ = MemoryJournal();
    minimum_cohort_ = 2;
    clock_.set_by_ms = 0;
    Start();
    ASSERT_TRUE(core_->Enrol(0, Enrolment()).ok());
    clock_.set_by_ms = step;
    ASSERT_TRUE(core_->Tick().ok());
    EXPECT_EQ(core_->state().phase(), v1::PHASE_ENROLLING);
    ASSERT_TRUE(core_->Enrol(1, Enrolment()).ok());
    ASSERT_TRUE(core_->Tick().ok());
    clock_.set_by_ms = 0;
    clock_.now_ms += 59'999;
    ASSERT_TRUE(core_->Tick().ok());
    EXPECT_TRUE(journal_.abandoned.empty());
    clock_.set_by_ms = -step;
    clock_.now_ms += 1;
    ASSERT_TRUE(core_->Tick().ok());
    EXPECT_EQ(journal_.abandoned.size(), 1u);
  }
}

// The run pauses by itself.

TEST_F(ServerTrust, AfterThreeDeadlinesTheRunPausesAndGoesOnWhenTheSiteIsBack) {
  EnrolBoth();
  for (int attempt = 1; attempt <= 3; ++attempt) {
    ASSERT_TRUE(Upload(0, a_, 1, attempt).ok());
    clock_.now_ms += 60'000;
    ASSERT_TRUE(core_->Tick().ok());
    ASSERT_TRUE(core_->Tick().ok());
  }
  ASSERT_TRUE(journal_.position().paused.has_value());
  EXPECT_NE(core_->state().phase(), v1::PHASE_ENDED);
  EXPECT_NE(core_->state().waiting_for().find("only 1 of 2 sites contributed"), std::string::npos) << core_->state().waiting_for();
  Start();  // it outlives the server
  for (int i = 0; i < 10; ++i) {
    clock_.now_ms += 60'000;
    ASSERT_TRUE(core_->State(0, PollBy("")).ok());
    ASSERT_TRUE(core_->Tick().ok());
  }
  ASSERT_TRUE(journal_.position().paused.has_value()) << "one is not enough";
  EXPECT_EQ(journal_.abandoned.size(), 3u);
  ASSERT_TRUE(core_->Enrol(1, Enrolment()).ok()) << "the other is back";
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_FALSE(journal_.position().paused.has_value());
  EXPECT_EQ(core_->state().attempt(), 4);
  ASSERT_TRUE(Upload(0, a_, 1, 4).ok());
  ASSERT_TRUE(Upload(1, b_, 1, 4).ok());
  CLOSE_NOW();
  EXPECT_EQ(core_->state().closed_round(), 1);
}

TEST_F(ServerTrust, APauseForTheServersOwnFailureNeedsAnOperator) {
  EnrolBoth();
  for (int attempt = 1; attempt <= 3; ++attempt) {
    ASSERT_TRUE(Upload(0, a_, 1, attempt).ok());
    ASSERT_TRUE(Upload(1, b_, 1, attempt).ok());
    const auto closing = core_->Tick();
    ASSERT_TRUE(closing.ok() && closing->has_value());
    ASSERT_TRUE(core_->Finish(**closing, MemoryError("/srv/fedalt: no memory")).ok());
    ASSERT_TRUE(core_->Tick().ok());
  }
  ASSERT_TRUE(journal_.position().paused.has_value());
  EXPECT_EQ(core_->state().waiting_for().find("/srv"), std::string::npos) << "no path of the server";
  clock_.now_ms += 1000;
  for (const int64_t site : {0, 1}) ASSERT_TRUE(core_->State(site, PollBy("")).ok());
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_TRUE(journal_.position().paused.has_value());
  journal_.requests.push_back({1, OperatorRequest::Kind::kResume, "", ""});
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_FALSE(journal_.position().paused.has_value());
  EXPECT_EQ(core_->state().attempt(), 4);
}

TEST_F(ServerTrust, AnEnrolmentOfTooFewPausesAndGoesOnWhenTheyCome) {
  ASSERT_TRUE(core_->Enrol(0, Enrolment()).ok());
  clock_.now_ms += 60'000;
  ASSERT_TRUE(core_->Tick().ok());
  ASSERT_TRUE(journal_.position().paused.has_value());
  EXPECT_NE(core_->state().waiting_for().find("only 1 of 2 sites enrolled"), std::string::npos);
  ASSERT_TRUE(core_->Enrol(1, Enrolment()).ok());
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_EQ(core_->state().phase(), v1::PHASE_COLLECTING);
}

// Two processes with the same keys.

TEST_F(ServerTrust, ASecondProcessWithoutStateDoesNotTakeTheFirstOnesPlace) {
  v1::EnrolRequest first = Enrolment(), second = Enrolment();
  first.set_process("first");
  second.set_process("second");
  second.set_anew(true);
  ASSERT_TRUE(core_->Enrol(0, first).ok());
  ASSERT_TRUE(core_->Enrol(1, Enrolment()).ok());
  ASSERT_TRUE(core_->Tick().ok());
  ASSERT_TRUE(Upload(0, a_).ok());
  EXPECT_EQ(core_->State(0, PollBy("first"))->notice(), "");
  clock_.now_ms += budget::kProcessSilentMs - 1;
  const Status told = core_->Enrol(0, second).status();
  EXPECT_EQ(told.code(), kUnavailable) << told;
  EXPECT_NE(std::string(told.message()).find("another process with the keys of this site"), std::string::npos);
  EXPECT_NE(core_->State(0, PollBy("first"))->notice().find("another process"), std::string::npos) << "both are told";
  EXPECT_TRUE(journal_.departed.empty());
  Start();  // a server that comes back gives it the same time
  EXPECT_EQ(core_->Enrol(0, second).status().code(), kUnavailable);
  clock_.now_ms += budget::kProcessSilentMs;
  auto reply = core_->Enrol(0, second);
  ASSERT_TRUE(reply.ok()) << "the first is silent: the state was lost indeed";
  second.set_challenge(reply->challenge());
  ASSERT_TRUE(core_->Enrol(0, second).ok());
  EXPECT_EQ(journal_.departed.size(), 1u);
}

TEST_F(ServerTrust, ASiteThatDiedBeforeItSentAnythingRejoinsAtOnce) {
  v1::EnrolRequest first = Enrolment(), second = Enrolment();
  first.set_process("first");
  second.set_process("second");
  second.set_anew(true);
  ASSERT_TRUE(core_->Enrol(0, first).ok());
  const auto asked = core_->Enrol(0, second);
  ASSERT_TRUE(asked.ok()) << asked.status();
  second.set_challenge(asked->challenge());
  const auto reply = core_->Enrol(0, second);
  ASSERT_TRUE(reply.ok() && reply->challenge().empty()) << reply.status();
}

TEST_F(ServerTrust, AnErasedSiteRejoinsAtOnce) {
  EnrolBoth();
  journal_.requests.push_back({1, OperatorRequest::Kind::kErase, "osaka", ""});
  ASSERT_TRUE(core_->Tick().ok());
  v1::EnrolRequest second = Enrolment();
  second.set_process("second");
  second.set_anew(true);
  auto reply = core_->Enrol(0, second);
  ASSERT_TRUE(reply.ok());
  second.set_challenge(reply->challenge());
  reply = core_->Enrol(0, second);
  ASSERT_TRUE(reply.ok() && reply->challenge().empty()) << reply.status();
}

// What sites are told.

TEST_F(ServerTrust, ErrorsForSitesHoldNoPathsOfTheServer) {
  class PathJournal : public MemoryJournal {
   public:
    Status PutChunk(const Sha256Digest&, std::string_view) override { return OutputError("/srv/fedalt/objects: the disk is full"); }
  };
  PathJournal journal;
  ServerOptions options;
  options.run = "r";
  options.agreement = "all agree\n";
  options.sites = {"osaka"};
  options.exchange_rounds = {1};
  options.values = kValues;
  options.warn = [this](const std::string& what) { warnings_.push_back(what); };
  ServerCore core(options, journal, clock_);
  ASSERT_TRUE(core.Recover().ok());
  ASSERT_TRUE(core.Enrol(0, EnrolmentIn("all agree\n")).ok());
  ASSERT_TRUE(core.Tick().ok());
  const v1::UploadManifest manifest = ManifestOf(a_);
  ASSERT_TRUE(core.BeginUpload(0, manifest).ok());
  for (int i = 0; i < 5; ++i) {
    const Status told = core.PutChunk(0, ChunkOfManifest(manifest, a_, 0)).status();
    EXPECT_EQ(told.code(), kUnavailable);
    EXPECT_EQ(std::string(told.message()).find("/srv"), std::string::npos) << told;
  }
  ASSERT_EQ(warnings_.size(), 1u) << "the operator is told, not at each call";
  EXPECT_NE(warnings_[0].find("/srv/fedalt/objects: the disk is full"), std::string::npos);
}

}  // namespace
}  // namespace fedalt::testing
