// What fedalt status reads in a server's directory, beside what the server tells its sites at the same moment; and what the
// operator sees of the sites on the server's stderr.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "fed/server_round.h"
#include "net/memory_journal.h"
#include "net/messages.h"
#include "net/server_core.h"
#include "store/raw_database.h"
#include "store/run_view.h"
#include "store/server_now.h"
#include "store/server_store.h"

namespace fedalt::testing {
namespace {

constexpr char kAgreement[] = "all agree\n";
constexpr int64_t kDeadlineMs = 60'000;
const std::vector<std::string> kSites = {"osaka", "lyon", "graz", "quito"};

ServerOptions OptionsOf(const std::set<int64_t>& revoked, int64_t cohort) {
  ServerOptions options;
  options.run = "r";
  options.agreement = kAgreement;
  options.sites = kSites;
  options.revoked = revoked;
  options.exchange_rounds = {1, 2};
  options.values = 2;
  options.participation.count = cohort;
  options.minimum_cohort = 1;
  options.deadline_ms = kDeadlineMs;
  options.program = "fedalt 7";
  options.roster_sha256 = "digest";
  return options;
}

class ServerStatus : public ::testing::Test {
 protected:
  /// Begins, or dies and comes back; with another roster, it may be.
  void Start(const std::set<int64_t>& revoked = {}) {
    core_.reset();
    store_.reset();
    auto store = ServerStore::Open(
        folder_.path(), {"r", kSites, [this] { return clock_.NowMs(); }, [](std::string_view) { return std::string("signed"); }});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    ServerOptions options = OptionsOf(revoked, cohort_);
    options.instance = std::to_string(++instances_);
    core_ = std::make_unique<ServerCore>(options, *store_, clock_);
    ASSERT_TRUE(core_->Recover().ok());
  }
  void Enrol(const std::set<int64_t>& sites) {
    for (const int64_t site : sites) ASSERT_TRUE(core_->Enrol(site, EnrolmentIn(kAgreement)).ok());
  }
  Status Upload(int64_t site, const at::Tensor& values) {
    const v1::UploadManifest manifest = ManifestOf(values);
    const auto missing = core_->BeginUpload(site, manifest);
    if (!missing.ok()) return missing.status();
    for (const int64_t i : missing->chunks())
      if (const auto put = core_->PutChunk(site, ChunkOfManifest(manifest, values, static_cast<int>(i))); !put.ok())
        return put.status();
    return core_->CommitUpload(site, manifest).status();
  }
  /// What the directory says, which must be what the sites are told.
  RunState Seen() {
    const auto view = RunView::Open(folder_.path());
    EXPECT_TRUE(view.ok()) << view.status();
    const auto state = view.ok() ? (*view)->State() : view.status();
    EXPECT_TRUE(state.ok()) << state.status();
    if (!state.ok()) return {};
    EXPECT_EQ(state->waiting_text, core_->state().waiting_for());
    return *state;
  }
  static std::string Names(const RunState& state, bool SiteView::*flag) {
    std::string names;
    for (const SiteView& site : state.sites)
      if (site.*flag) names += (names.empty() ? "" : " ") + site.name;
    return names;
  }
  std::string Awaited() { return Names(Seen(), &SiteView::awaited); }

  const StoreFolder folder_;
  SettableClock clock_;
  int64_t cohort_ = 0;
  int instances_ = 0;
  std::unique_ptr<ServerStore> store_;
  std::unique_ptr<ServerCore> core_;
};

TEST_F(ServerStatus, SaysTheSentenceThatTheServerTellsItsSites) {
  Start({3});
  EXPECT_EQ(Seen().waits_for, WaitsFor::kEnrolment);
  EXPECT_EQ(Awaited(), "osaka lyon graz") << "the keys of quito are revoked";
  Enrol({0, 1, 2});
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_EQ(Seen().waits_for, WaitsFor::kContributions);
  ASSERT_TRUE(Upload(1, at::ones({2})).ok());
  EXPECT_EQ(Awaited(), "osaka graz");
  EXPECT_FALSE(Upload(0, at::full({2}, 1e30)).ok());
  EXPECT_EQ(Awaited(), "graz") << "osaka is left out";
  EXPECT_NE(Seen().sites[0].left_out.value_or("").find("1e+30"), std::string::npos);
  EXPECT_EQ(Names(Seen(), &SiteView::contributed), "lyon");
  Start({2, 3});
  EXPECT_EQ(Awaited(), "") << "revoked by the roster of this start";
  EXPECT_EQ(Names(Seen(), &SiteView::revoked), "graz quito");
  EXPECT_EQ(Seen().waits_for, WaitsFor::kNextStep);
  Start({3});
  EXPECT_EQ(Awaited(), "graz");
  ASSERT_TRUE(store_->SavePause("lunch", /*for_sites=*/false).ok());
  Start({3});
  EXPECT_EQ(Seen().waits_for, WaitsFor::kOperator);
  EXPECT_EQ(Awaited(), "");
  ASSERT_TRUE(core_->End("enough").ok());
  EXPECT_EQ(Seen().waits_for, WaitsFor::kNothing);
}

TEST_F(ServerStatus, AwaitsTheCohortAlone) {
  cohort_ = 2;
  Start();
  Enrol({0, 1, 2, 3});
  ASSERT_TRUE(core_->Tick().ok());
  const RunState state = Seen();
  EXPECT_EQ(std::count_if(state.sites.begin(), state.sites.end(), [](const SiteView& site) { return site.awaited; }), 2);
  EXPECT_EQ(Names(state, &SiteView::awaited), Names(state, &SiteView::in_cohort));
  EXPECT_EQ(Names(state, &SiteView::enrolled), "osaka lyon graz quito");
}

TEST_F(ServerStatus, WhatPausedByItselfWaitsForTheReturnOfSites) {
  Start();
  Enrol({0, 1, 2, 3});
  for (int attempt = 1; attempt <= 4; ++attempt) {
    ASSERT_TRUE(core_->Tick().ok());
    clock_.now_ms += kDeadlineMs;
    ASSERT_TRUE(core_->Tick().ok());
    (void)Seen();  // also between two attempts
  }
  EXPECT_EQ(Seen().waits_for, WaitsFor::kReturn);
}

TEST_F(ServerStatus, TellsTheAggregationWhileTheServerIsAtWork) {
  Start();
  Enrol({0, 1, 2, 3});
  ASSERT_TRUE(core_->Tick().ok());
  for (const int64_t site : {0, 1, 2, 3}) ASSERT_TRUE(Upload(site, at::ones({2})).ok());
  const auto closing = core_->Tick();
  ASSERT_TRUE(closing.ok() && closing->has_value());
  ASSERT_TRUE(WriteServerNow(folder_.path(), {.start = 1, .aggregating_round = 1, .heard_ms = {}, .not_after_s = {}}).ok());
  EXPECT_EQ(Seen().waits_for, WaitsFor::kAggregation);
  Start();
  EXPECT_EQ(Seen().waits_for, WaitsFor::kNextStep) << "that server is dead";
}

TEST_F(ServerStatus, TheStartSaysProgramRosterAndWhoIsRevoked) {
  Start();
  Start({1});
  EXPECT_EQ(RawSql(folder_.store(), "SELECT body FROM audit_entry WHERE kind = 'server.start' ORDER BY sequence DESC LIMIT 1"),
            R"({"instance":"2","program":"fedalt 7","revoked":["lyon"],"roster_sha256":"digest","start":2})");
  EXPECT_EQ(Seen().program, "fedalt 7");
  EXPECT_EQ(Seen().roster_sha256, "digest");
}

TEST_F(ServerStatus, WhoeverCallsIsHeard) {
  Start();
  EXPECT_TRUE(core_->LastCalls().empty());
  Enrol({1});
  clock_.now_ms += 5000;
  v1::PollRequest poll;
  poll.set_run("r");
  ASSERT_TRUE(core_->AdmitPoll(1, poll).ok());
  EXPECT_FALSE(core_->AdmitPoll(2, poll).ok()) << "it takes no part";
  EXPECT_EQ(core_->LastCalls(), (std::map<int64_t, int64_t>{{1, clock_.NowMs()}, {2, clock_.NowMs()}}));
  Start();
  EXPECT_TRUE(core_->LastCalls().empty()) << "this process has not heard it";
}

// What the operator sees of the sites.

class ServerTells : public ::testing::Test {
 protected:
  void Start(const std::set<int64_t>& revoked = {}) {
    ServerOptions options = OptionsOf(revoked, 0);
    options.warn = [this](const std::string& what) { warned_.push_back(what); };
    options.tell = [this](const std::string& what) { told_.push_back(what); };
    core_ = std::make_unique<ServerCore>(options, journal_, clock_);
    ASSERT_TRUE(core_->Recover().ok());
  }
  static bool Says(const std::vector<std::string>& lines, const std::string& part) {
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) { return line.find(part) != std::string::npos; });
  }
  MemoryJournal journal_;
  SettableClock clock_;
  std::vector<std::string> warned_, told_;
  std::unique_ptr<ServerCore> core_;
};

TEST_F(ServerTells, WhoEnrolsLeavesIsErasedOrRevoked) {
  Start({3});
  EXPECT_TRUE(Says(told_, "the keys of quito are revoked")) << ::testing::PrintToString(told_);
  const auto enrolled = core_->Enrol(0, EnrolmentIn(kAgreement));
  ASSERT_TRUE(enrolled.ok() && core_->Enrol(1, EnrolmentIn(kAgreement)).ok());
  EXPECT_TRUE(Says(told_, "osaka has enrolled with 5 training examples")) << ::testing::PrintToString(told_);
  const size_t before = told_.size();
  ASSERT_TRUE(core_->Enrol(1, EnrolmentIn(kAgreement)).ok());
  EXPECT_EQ(told_.size(), before) << "the same enrolment again";
  v1::LeaveRequest leave;
  leave.set_run("r");
  leave.set_enrolment(enrolled->enrolment());
  leave.set_cause("the contract has ended");
  ASSERT_TRUE(core_->Leave(0, leave).ok());
  EXPECT_TRUE(Says(told_, "osaka takes part no longer: the site leaves: the contract has ended"))
      << ::testing::PrintToString(told_);
  journal_.requests = {{1, OperatorRequest::Kind::kErase, "lyon", "consent withdrawn"}};
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_TRUE(Says(told_, "lyon takes part no longer: erased by an operator: consent withdrawn"))
      << ::testing::PrintToString(told_);
  EXPECT_EQ(warned_, std::vector<std::string>());
}

TEST_F(ServerTells, ARefusedSiteOnceAndNotWithoutEnd) {
  Start();
  v1::EnrolRequest other = EnrolmentIn("another configuration\n");
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(core_->Enrol(0, other).ok());
  ASSERT_EQ(warned_.size(), 1u) << ::testing::PrintToString(warned_);
  EXPECT_EQ(warned_[0].find("osaka was refused: the configurations differ"), 0u) << warned_[0];
  for (int i = 0; i < 50; ++i) {
    other.set_agreement("configuration " + std::to_string(i));
    EXPECT_FALSE(core_->Enrol(0, other).ok());
  }
  EXPECT_EQ(warned_.size(), budget::kWarningsPerAttempt + 1);
  EXPECT_NE(warned_.back().find("osaka causes more such lines"), std::string::npos) << warned_.back();
  EXPECT_FALSE(core_->Enrol(1, other).ok());
  EXPECT_NE(warned_.back().find("lyon was refused"), std::string::npos) << "others are told all the same";
}

TEST_F(ServerTells, AFullDiskWithTheSite) {
  Start();
  journal_.disk = [] { return MemoryJournal::Disk::kFailsBefore; };
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(absl::IsUnavailable(core_->Enrol(2, EnrolmentIn(kAgreement)).status()));
  ASSERT_EQ(warned_.size(), 1u) << ::testing::PrintToString(warned_);
  EXPECT_EQ(warned_[0].find("graz was told to try again"), 0u) << warned_[0];
}

TEST_F(ServerTells, AGuardThatRefused) {
  Start();
  for (const int64_t site : {0, 1, 2, 3}) ASSERT_TRUE(core_->Enrol(site, EnrolmentIn(kAgreement)).ok());
  ASSERT_TRUE(core_->Tick().ok());
  const at::Tensor values = at::ones({2});
  const v1::UploadManifest manifest = ManifestOf(values);
  for (const int64_t site : {0, 1, 2, 3}) {
    ASSERT_TRUE(core_->BeginUpload(site, manifest).ok());
    ASSERT_TRUE(core_->PutChunk(site, ChunkOfManifest(manifest, values, 0)).ok());
    ASSERT_TRUE(core_->CommitUpload(site, manifest).ok());
  }
  const auto closing = core_->Tick();
  ASSERT_TRUE(closing.ok() && closing->has_value());
  const auto method = MakeMethod({});
  ASSERT_TRUE(
      core_->Finish(**closing, Aggregate(**closing, {method->get(), {{}, 1, UploadFormat::kFloat32}, 2, kSites}, journal_)).ok());
  v1::Countersignature refuses;
  refuses.set_run("r");
  refuses.set_round(1);
  refuses.set_refused("its loss rose from 1 to 7");
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(core_->Countersign(1, refuses).ok());
  EXPECT_EQ(warned_, (std::vector<std::string>{"lyon did not adopt what round 1 published: its loss rose from 1 to 7"}));
}

}  // namespace
}  // namespace fedalt::testing
