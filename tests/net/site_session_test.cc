// What a site makes of its server's answers; faults of the network are the simulation's.
#include "net/site_session.h"

#include <gtest/gtest.h>

#include <memory>

#include "fed/server_round.h"
#include "net/dispatch.h"
#include "net/memory_journal.h"

namespace fedalt {
namespace {

class InstantClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms_; }
  Status Sleep(int64_t ms) override {
    now_ms_ += ms;
    return absl::OkStatus();
  }

 private:
  int64_t now_ms_ = 1;
};

/// To a server in the same process; or to nobody.
class DirectConnection : public ServerConnection {
 public:
  ServerCore* core = nullptr;
  bool ticks = true;  ///< before each call
  Status refusal = absl::UnavailableError("connection refused");
  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t) override {
    if (core == nullptr) return refusal;
    if (ticks) EXPECT_TRUE(core->Tick().ok());
    return testing::Dispatch(*core, 0, rpc, request);
  }
};

class SiteSessionTest : public ::testing::Test {
 protected:
  SiteSessionTest() : core_(Options(), journal_, clock_) {
    EXPECT_TRUE(core_.Recover().ok());
    v1::EnrolRequest other;
    other.set_oldest_protocol(1);
    other.set_newest_protocol(1);
    other.set_agreement("all agree\n");
    other.set_train_examples(3);
    EXPECT_TRUE(core_.Enrol(1, other).ok());  // it never sends, so the first round stays open
  }
  static ServerOptions Options() {
    ServerOptions options;
    options.run = "r";
    options.agreement = "all agree\n";
    options.sites = {"osaka", "lyon"};
    options.exchange_rounds = {1, 2, 3};
    options.values = 2;
    options.minimum_cohort = 2;
    return options;
  }
  static SiteSessionOptions SessionOptions() {
    SiteSessionOptions options;
    options.agreement = "all agree\n";
    options.train_examples = 5;
    options.patience_ms = 60'000;
    return options;
  }

  testing::MemoryJournal journal_;
  InstantClock clock_;
  ServerCore core_;
  DirectConnection connection_;
};

TEST_F(SiteSessionTest, GivesUpAfterItsPatienceAndSaysWhatItWaitsFor) {
  std::vector<std::string> told;
  SiteSession session(SessionOptions(), connection_, clock_, [&](const std::string& what) { told.push_back(what); });
  const Status status = session.Enrol(false);
  EXPECT_EQ(KindOf(status), ErrorKind::kFederation);
  EXPECT_NE(std::string(status.message()).find("no answer for 60 s (connection refused)"), std::string::npos) << status;
  EXPECT_EQ(told, std::vector<std::string>{"waits for the server (connection refused)"});
  EXPECT_GT(clock_.NowMs(), 60'000);
}

TEST_F(SiteSessionTest, ARefusalIsFinal) {
  connection_.refusal = absl::PermissionDeniedError("the keys of osaka are revoked");
  SiteSession session(SessionOptions(), connection_, clock_, nullptr);
  const Status status = session.Enrol(false);
  EXPECT_EQ(KindOf(status), ErrorKind::kFederation);
  EXPECT_EQ(status.message(), "the server refused: the keys of osaka are revoked");
  EXPECT_EQ(clock_.NowMs(), 1) << "it does not try again";
}

TEST_F(SiteSessionTest, AServerThatWentBackIsNoticed) {
  connection_.core = &core_;
  SiteSession session(SessionOptions(), connection_, clock_, nullptr);
  ASSERT_TRUE(session.Enrol(false).ok());
  const Status status = session.Send({3, 0, 1.0, at::ones({2})});
  EXPECT_EQ(KindOf(status), ErrorKind::kFederation);
  EXPECT_NE(std::string(status.message()).find("the server is at round 1 of r"), std::string::npos) << status;
  EXPECT_TRUE(journal_.position().received.empty());
  EXPECT_TRUE(session.Send({1, 0, 1.0, at::ones({2})}).ok());
  EXPECT_EQ(journal_.position().received.size(), 1u);
}

TEST_F(SiteSessionTest, OtherBytesForARoundThatCountsAreRefused) {
  connection_.core = &core_;
  SiteSession session(SessionOptions(), connection_, clock_, nullptr);
  ASSERT_TRUE(session.Enrol(false).ok());
  ASSERT_TRUE(session.Send({1, 0, 1.0, at::ones({2})}).ok());
  SiteSession restarted(SessionOptions(), connection_, clock_, nullptr);
  ASSERT_TRUE(restarted.Enrol(false).ok());
  EXPECT_TRUE(restarted.Send({1, 0, 1.0, at::ones({2})}).ok()) << "the same once more";
  const Status status = restarted.Send({1, 0, 1.0, at::zeros({2})});
  EXPECT_EQ(KindOf(status), ErrorKind::kFederation);
  EXPECT_NE(std::string(status.message()).find("another contribution of this site counts in round 1"), std::string::npos) << status;
  EXPECT_EQ(journal_.saved_twice, 0);
}

/// A site whose server signs, and that keeps a record. The other site of the run is moved by hand.
class WitnessTest : public ::testing::Test {
 protected:
  WitnessTest() {
    Start();
    connection_.core = core_.get();
  }
  void Start() {
    ServerOptions options;
    options.run = "r";
    options.agreement = "all agree\n";
    options.sites = {"osaka"};
    options.exchange_rounds = {1, 2, 3};
    options.values = 2;
    options.instance = absl::StrCat("process ", journal_.starts);
    options.signatures = testing::ToySignatures(Signatures::kServer);
    core_ = std::make_unique<ServerCore>(options, journal_, clock_);
    ASSERT_TRUE(core_->Recover().ok());
    connection_.core = core_.get();
  }
  SiteSessionOptions SessionOptions() {
    SiteSessionOptions options;
    options.agreement = "all agree\n";
    options.train_examples = 5;
    options.patience_ms = 60'000;
    options.token = "t";
    options.record = &record_;
    options.signatures = testing::ToySignatures(0);
    return options;
  }
  StatusOr<Published> Round(SiteSession& session, int64_t round) {
    RETURN_IF_ERROR(session.Send({round, 0, 1.0, at::full({2}, static_cast<float>(round))}));
    const auto closing = core_->Tick();
    RETURN_IF_ERROR(closing.status());
    if (!closing->has_value()) return absl::InternalError("the round is not over");
    const auto method = MakeMethod({});
    const ServerRoundOptions options{method->get(), {{}, 1, UploadFormat::kFloat32}, 2, {"osaka"}};
    RETURN_IF_ERROR(core_->Finish(**closing, Aggregate(**closing, options, journal_)));
    return session.CloseRound(round);
  }
  std::vector<std::string> Kinds() const {
    std::vector<std::string> kinds;
    for (const auto& [kind, body] : record_.entries) kinds.push_back(kind);
    return kinds;
  }

  testing::MemoryJournal journal_;
  testing::MemoryRecord record_;
  InstantClock clock_;
  std::unique_ptr<ServerCore> core_;
  DirectConnection connection_;
};

TEST_F(WitnessTest, EveryHeadIsCheckedKeptAndCountersigned) {
  SiteSession session(SessionOptions(), connection_, clock_, nullptr);
  ASSERT_TRUE(session.Enrol(true).ok());
  ASSERT_TRUE(session.JoinsAfter().ok());
  for (const int64_t round : {1, 2}) {
    const auto published = Round(session, round);
    ASSERT_TRUE(published.ok()) << published.status();
    ASSERT_TRUE(session.NoteReading(round, round == 2 ? "pinned to round 1" : "").ok());
  }
  EXPECT_EQ(record_.run, "r");
  EXPECT_EQ(record_.heads.size(), 2u);
  EXPECT_EQ(journal_.countersigned.size(), 2u);
  EXPECT_EQ(record_.seals, 2);
  EXPECT_EQ(Kinds(), (std::vector<std::string>{"enrolment", "upload", "upload.acknowledged", "rest_of_world", "upload",
                                               "upload.acknowledged", "rest_of_world"}));
  EXPECT_EQ(record_.entries.back().second["reason"], "pinned to round 1");
  EXPECT_EQ(record_.entries[1].second["bytes"], 8);
}

TEST_F(WitnessTest, AServerThatWasPutBackIsNoticedByItsLog) {
  SiteSession session(SessionOptions(), connection_, clock_, nullptr);
  ASSERT_TRUE(session.Enrol(true).ok());
  ASSERT_TRUE(session.JoinsAfter().ok());
  ASSERT_TRUE(Round(session, 1).ok());
  const testing::MemoryJournal backup = journal_;
  ASSERT_TRUE(Round(session, 2).ok());
  journal_ = backup;
  Start();
  SiteSession again(SessionOptions(), connection_, clock_, nullptr);
  ASSERT_TRUE(again.Enrol(false).ok());
  ASSERT_TRUE(again.JoinsAfter().ok());
  // It has the same numbers again, but its log is another one.
  const auto published = Round(again, 2);
  EXPECT_EQ(KindOf(published.status()), ErrorKind::kIntegrity);
  EXPECT_NE(std::string(published.status().message()).find("does not continue"), std::string::npos) << published.status();
}

TEST_F(WitnessTest, AnotherKeyIsNoticed) {
  SiteSessionOptions options = SessionOptions();
  options.signatures.verifies = [](int64_t, std::string_view, std::string_view) { return false; };
  SiteSession session(options, connection_, clock_, nullptr);
  const Status status = session.Enrol(true);
  EXPECT_EQ(KindOf(status), ErrorKind::kIntegrity);
  EXPECT_NE(std::string(status.message()).find("not valid under its key in the roster"), std::string::npos) << status;
}

TEST_F(WitnessTest, AnOlderServerThatAnswersAgainIsNoticed) {
  SiteSession session(SessionOptions(), connection_, clock_, nullptr);
  const std::unique_ptr<ServerCore> older = std::move(core_);
  Start();
  ASSERT_TRUE(session.Enrol(true).ok());
  ASSERT_TRUE(session.JoinsAfter().ok());
  connection_.core = older.get();
  connection_.ticks = false;
  const auto read = session.CloseRound(1);
  EXPECT_EQ(KindOf(read.status()), ErrorKind::kFederation) << read.status();
  EXPECT_FALSE(older->Tick().ok()) << "and the older one has heard of the newer";
}

TEST_F(WitnessTest, ALateSiteBeginsAfterTheLastClosedRound) {
  {
    SiteSession first(SessionOptions(), connection_, clock_, nullptr);
    ASSERT_TRUE(first.Enrol(true).ok());
    EXPECT_EQ(*first.JoinsAfter(), 0);
    ASSERT_TRUE(Round(first, 1).ok());
  }
  record_ = testing::MemoryRecord();
  SiteSessionOptions options = SessionOptions();
  options.token = "another life";
  SiteSession late(options, connection_, clock_, nullptr);
  ASSERT_TRUE(late.Enrol(true).ok());
  EXPECT_EQ(*late.JoinsAfter(), 1);
  const auto published = late.CloseRound(1);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->own_round, 1) << "of the life before";
  EXPECT_TRUE(Round(late, 2).ok());
}

}  // namespace
}  // namespace fedalt
