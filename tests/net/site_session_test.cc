// What a site makes of its server's answers; faults of the network are the simulation's.
#include "net/site_session.h"

#include <gtest/gtest.h>

#include <memory>

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
  Status refusal = absl::UnavailableError("connection refused");
  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t) override {
    if (core == nullptr) return refusal;
    EXPECT_TRUE(core->Tick().ok());
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

}  // namespace
}  // namespace fedalt
