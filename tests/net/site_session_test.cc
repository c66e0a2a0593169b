// What a site makes of its server's answers; faults of the network are the simulation's.
#include "net/site_session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "fed/server_round.h"
#include "net/dispatch.h"
#include "net/memory_journal.h"

namespace fedalt {
namespace {

/// Its wall clock is set by two days, forth and back, whenever somebody sleeps: nothing may depend on it.
class InstantClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms_ + set_by_ms_; }
  int64_t MonotonicMs() const override { return now_ms_; }
  Status Sleep(int64_t ms) override {
    constexpr int64_t kTwoDaysMs = 172'800'000;
    now_ms_ += ms;
    set_by_ms_ = set_by_ms_ == 0 ? kTwoDaysMs : set_by_ms_ > 0 ? -kTwoDaysMs : 0;
    return absl::OkStatus();
  }

 private:
  int64_t now_ms_ = 1, set_by_ms_ = 0;
};

/// To a server in the same process; or to nobody.
class DirectConnection : public ServerConnection {
 public:
  ServerCore* core = nullptr;
  int64_t site = 0;
  bool ticks = true;  ///< before each call
  Status refusal = absl::UnavailableError("connection refused");
  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t) override {
    if (core == nullptr) return refusal;
    if (ticks) {
      EXPECT_TRUE(core->Tick().ok());
    }
    StatusOr<std::string> reply = testing::Dispatch(*core, site, rpc, request);
    after(rpc);
    return reply;
  }
  std::function<void(Rpc)> after = [](Rpc) {};
};

class SiteSessionTest : public ::testing::Test {
 protected:
  SiteSessionTest() : core_(Options(), journal_, clock_) {
    EXPECT_TRUE(core_.Recover().ok());
    v1::EnrolRequest other;
    other.set_oldest_protocol(kOldestProtocol);
    other.set_newest_protocol(kNewestProtocol);
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
    options.site = "osaka";
    options.sites = {"osaka", "lyon"};
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
  EXPECT_EQ(KindOf(status), ErrorKind::kNotNow);
  EXPECT_NE(std::string(status.message()).find("no answer for 60 s (connection refused)"), std::string::npos) << status;
  EXPECT_EQ(told, std::vector<std::string>{"waits for the server (connection refused)"});
  EXPECT_GT(clock_.MonotonicMs(), 60'000);
  EXPECT_LT(clock_.MonotonicMs(), 120'000);
}

TEST_F(SiteSessionTest, TellsWhenAnotherProcessUsesItsKeys) {
  connection_.core = &core_;
  std::vector<std::string> told;
  SiteSessionOptions options = SessionOptions();
  options.process = "first";
  SiteSession session(options, connection_, clock_, [&](const std::string& what) { told.push_back(what); });
  ASSERT_TRUE(session.Enrol(true).ok());
  ASSERT_TRUE(session.Send({1, 0, 1.0, at::ones({2})}).ok());
  std::vector<std::string> told_second;
  options.process = "second";
  options.patience_ms = 1000;
  SiteSession second(options, connection_, clock_, [&](const std::string& what) { told_second.push_back(what); });
  EXPECT_EQ(KindOf(second.Enrol(true)), ErrorKind::kNotNow) << "its patience is over";
  ASSERT_FALSE(told_second.empty());
  EXPECT_NE(told_second[0].find("another process with the keys of this site"), std::string::npos) << told_second[0];
  connection_.after = [&](Rpc rpc) {
    if (rpc == Rpc::kPoll) (void)core_.End("the test waits for nothing any more");
  };
  EXPECT_FALSE(session.CloseRound(1).ok());
  ASSERT_FALSE(told.empty());
  EXPECT_TRUE(std::any_of(told.begin(), told.end(), [](const std::string& what) {
    return what.find("the server says: another process uses the keys of this site") == 0;
  }));
  EXPECT_TRUE(journal_.departed.empty());
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

/// A round is closed without the site, and takes longer to aggregate than any poll waits.
TEST_F(SiteSessionTest, WaitsWhileTheRoundIsBeingClosed) {
  ServerOptions options = Options();
  options.minimum_cohort = 1;
  testing::MemoryJournal journal;
  ServerCore core(options, journal, clock_);
  ASSERT_TRUE(core.Recover().ok());
  class SlowServer : public ServerConnection {
   public:
    SlowServer(ServerCore& core, InstantClock& clock) : core_(core), clock_(clock) {}
    std::optional<ClosingRound> closing;
    int64_t until_ms = 0;
    StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t) override {
      EXPECT_TRUE(clock_.Sleep(rpc == Rpc::kPoll ? 20'000 : 10).ok());
      if (closing && clock_.MonotonicMs() >= until_ms) {
        const auto& first = closing->received.front();
        PublishedObject published{closing->round, first.weight, first.chunks, {}, {{first.site, closing->round}}, {}, {}};
        EXPECT_TRUE(core_.Finish(*std::exchange(closing, std::nullopt), published).ok());
      }
      return testing::Dispatch(core_, 0, rpc, request);
    }

   private:
    ServerCore& core_;
    InstantClock& clock_;
  } server(core, clock_);
  SiteSessionOptions patient = SessionOptions();
  patient.patience_ms = 3'600'000;
  std::vector<std::string> told;
  SiteSession session(patient, server, clock_, [&](const std::string& what) { told.push_back(what); });
  ASSERT_TRUE(session.Enrol(false).ok());
  DirectConnection other_connection;
  other_connection.core = &core;
  other_connection.site = 1;
  SiteSessionOptions of_other = SessionOptions();
  of_other.site = "lyon";
  SiteSession other(of_other, other_connection, clock_, nullptr);
  ASSERT_TRUE(other.Enrol(false).ok());
  ASSERT_TRUE(other.Send({1, 1, 1.0, at::ones({2})}).ok());
  ASSERT_TRUE(clock_.Sleep(options.deadline_ms).ok());
  auto closing = core.Tick();
  ASSERT_TRUE(closing.ok() && closing->has_value());
  server.closing = **std::move(closing);
  server.until_ms = clock_.MonotonicMs() + 600'000;
  const Status sent = session.Send({1, 0, 1.0, at::ones({2})});
  EXPECT_TRUE(sent.ok()) << sent;
  EXPECT_GE(clock_.MonotonicMs(), server.until_ms);
  const auto published = session.CloseRound(1);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->own_round, 0);
  ASSERT_FALSE(told.empty());
  EXPECT_NE(told.back().find("closed before this site's contribution arrived; of this site it counts nothing"), std::string::npos)
      << told.back();
}

/// Answers as a server that has closed round 1, and as told.
class MadeUpServer : public ServerConnection {
 public:
  RoundRecord record;
  v1::PublishedManifest manifest;
  std::string content;
  MadeUpServer() {
    manifest.set_values(2);
    content = std::string(8, '\0');
    const Sha256Digest digest = Sha256(content);
    manifest.add_chunks(std::string(digest.begin(), digest.end()));
    record.run = "r";
    record.round = 1;
    record.total_weight = 1.0;
    record.contents = {{"", ContentHash({2, {digest}})}};
    record.contributors = {{"lyon", 1, 1.0, std::string(64, 'a')}};
    record.log.size = 5;
  }
  StatusOr<std::string> Call(Rpc rpc, const std::string&, int64_t) override {
    v1::RunState state;
    state.set_closed_round(1);
    if (rpc == Rpc::kEnrol) {
      v1::EnrolReply reply;
      reply.set_run("r");
      *reply.mutable_state() = state;
      return reply.SerializeAsString();
    }
    if (rpc == Rpc::kPoll) return state.SerializeAsString();
    manifest.set_record(EncodeRecord(record));
    v1::Chunk chunk;
    chunk.set_content(content);
    return rpc == Rpc::kGetManifest ? manifest.SerializeAsString() : chunk.SerializeAsString();
  }
};

TEST_F(SiteSessionTest, WhatCannotHaveBeenPublishedIsRefused) {
  const auto close = [&](const std::function<void(MadeUpServer&)>& spoil) {
    MadeUpServer server;
    spoil(server);
    SiteSession session(SessionOptions(), server, clock_, nullptr);
    EXPECT_TRUE(session.Enrol(false).ok());
    return session.CloseRound(1).status();
  };
  EXPECT_TRUE(close([](MadeUpServer&) {}).ok());
  // Times four bytes, 2^62 values are none, and 2^62 + 2 are those of the one piece.
  for (const int64_t values : {int64_t{1} << 60, int64_t{1} << 62, (int64_t{1} << 62) + 2, int64_t{-1}, int64_t{-4}, int64_t{0},
                               std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()}) {
    for (const bool pieces : {false, true}) {
      const Status status = close([&](MadeUpServer& server) {
        server.manifest.set_values(values);
        if (!pieces) server.manifest.clear_chunks();
      });
      const bool empty = values == 0 && !pieces;  // well formed, but not what the record says
      EXPECT_EQ(KindOf(status), empty ? ErrorKind::kIntegrity : ErrorKind::kFederation) << values << " " << status;
    }
  }
  const auto refused = [&](const std::function<void(MadeUpServer&)>& spoil) {
    const Status status = close(spoil);
    EXPECT_EQ(KindOf(status), ErrorKind::kIntegrity) << status;
  };
  refused([](auto& server) { server.record.run = "another"; });
  refused([](auto& server) { server.record.round = 2; });
  for (const double weight : {0.0, -1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    refused([&](auto& server) { server.record.total_weight = weight; });
    refused([&](auto& server) { server.record.contributors[0].weight = weight; });
  }
  refused([](auto& server) { server.record.contributors.clear(); });
  for (const int64_t round : {-1, 0, 2}) refused([&](auto& server) { server.record.contributors[0].round = round; });
  refused([](auto& server) { server.record.contents[0].content = std::string(64, 'b'); });
  refused([](auto& server) { server.record.contents[0].site = "lyon"; });
  for (const std::string& content : {std::string(8, '\1'), std::string(7, '\0'), std::string()}) {
    const Status status = close([&](MadeUpServer& server) { server.content = content; });
    EXPECT_EQ(KindOf(status), ErrorKind::kFederation) << status;
    EXPECT_NE(std::string(status.message()).find("is damaged"), std::string::npos) << status;
  }
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
    options.site = "osaka";
    options.sites = {"osaka", "lyon"};
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

TEST_F(WitnessTest, EveryRecordIsCheckedAndKeptAndCountersignedWhenItIsAdopted) {
  SiteSession session(SessionOptions(), connection_, clock_, nullptr);
  ASSERT_TRUE(session.Enrol(true).ok());
  ASSERT_TRUE(session.JoinsAfter().ok());
  for (const int64_t round : {1, 2}) {
    const auto published = Round(session, round);
    ASSERT_TRUE(published.ok()) << published.status();
    EXPECT_TRUE(journal_.adopted[round].empty()) << "it has only seen it";
    ASSERT_TRUE(session.NoteReading(round, round == 2 ? "the guard refused it: loss 0.5" : "").ok());
  }
  EXPECT_EQ(record_.run, "r");
  EXPECT_EQ(record_.records.size(), 2u);
  EXPECT_EQ(journal_.adopted[1].size(), 1u);
  EXPECT_TRUE(journal_.adopted[2].empty());
  EXPECT_EQ(journal_.refused.at({0, 2}), "the guard refused it") << "figures stay at the site";
  EXPECT_EQ(record_.seals, 2);
  EXPECT_EQ(Kinds(), (std::vector<std::string>{"enrolment", "upload", "upload.acknowledged", "record.first", "contribution",
                                               "rest_of_world", "countersignature", "upload", "upload.acknowledged",
                                               "countersignatures", "contribution", "rest_of_world", "publication.refused"}));
  EXPECT_EQ(record_.entries[9].second,
            (nlohmann::json{{"round", 1}, {"adopted", {"osaka"}}, {"missing", nlohmann::json::array()}}));
  EXPECT_EQ(record_.entries[11].second["reason"], "the guard refused it: loss 0.5");
  EXPECT_EQ(record_.entries[1].second["bytes"], 8);
}

TEST_F(WitnessTest, AServerThatWasPutBackIsNoticedByItsRecord) {
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
  // It has the same numbers again, but its log is another one, and so is the record.
  const auto published = Round(again, 2);
  EXPECT_EQ(KindOf(published.status()), ErrorKind::kIntegrity);
  EXPECT_NE(std::string(published.status().message()).find("round 2: its record"), std::string::npos) << published.status();
}

/// What an honest server says of a round, changed and signed again, as only its owner can.
class TwoFaced : public ServerConnection {
 public:
  TwoFaced(ServerConnection& honest, std::function<void(RoundRecord&, v1::PublishedManifest&)> change)
      : honest_(honest), change_(std::move(change)) {}
  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t timeout_ms) override {
    auto answer = honest_.Call(rpc, request, timeout_ms);
    if (!answer.ok() || rpc != Rpc::kGetManifest) return answer;
    v1::PublishedManifest manifest;
    EXPECT_TRUE(manifest.ParseFromString(*answer));
    RoundRecord record = ParseRecord(manifest.record()).value();
    change_(record, manifest);
    manifest.set_record(EncodeRecord(record));
    manifest.set_signature(testing::ToySignatures(Signatures::kServer).sign(manifest.record()));
    return manifest.SerializeAsString();
  }

 private:
  ServerConnection& honest_;
  std::function<void(RoundRecord&, v1::PublishedManifest&)> change_;
};

TEST_F(WitnessTest, ALieOfTheServerIsFoundAtOnceOrInTheNextRound) {
  const auto second_round = [&](const std::function<void(RoundRecord&, v1::PublishedManifest&)>& change) {
    journal_ = testing::MemoryJournal();
    record_ = testing::MemoryRecord();
    Start();
    TwoFaced server(connection_, change);
    SiteSession session(SessionOptions(), server, clock_, nullptr);
    EXPECT_TRUE(session.Enrol(true).ok() && session.JoinsAfter().ok());
    for (const int64_t round : {1, 2}) {
      const auto published = Round(session, round);
      if (!published.ok()) return std::pair(round, published.status());
      EXPECT_TRUE(session.NoteReading(round, "pinned").ok());
    }
    return std::pair(int64_t{0}, absl::OkStatus());
  };
  const auto found = [&](int64_t in, const std::string& word,
                         const std::function<void(RoundRecord&, v1::PublishedManifest&)>& change) {
    const auto [round, status] = second_round(change);
    EXPECT_EQ(round, in) << status;
    EXPECT_EQ(KindOf(status), ErrorKind::kIntegrity) << status;
    EXPECT_NE(std::string(status.message()).find(word), std::string::npos) << status;
  };
  EXPECT_EQ(second_round([](auto&, auto&) {}).first, 0);
  found(1, "counts a contribution of this site", [](RoundRecord& record, auto&) { record.contributors[0].weight = 2.0; });
  found(1, "counts a contribution of this site",
        [](RoundRecord& record, auto&) { record.contributors[0].content = std::string(64, 'c'); });
  found(2, "follows a record of round 1", [](RoundRecord& record, auto&) {
    if (record.round == 2) record.previous[0] ^= 1;
  });
  found(2, "follows that of round 0", [](RoundRecord& record, auto&) { record.previous_round = 0; });
  found(2, "is of a log of", [](RoundRecord& record, auto&) {
    if (record.round == 2) record.log.size = 1;
  });
  // Lyon was shown another record of round 1, and countersigned that.
  found(2, "round 1: the countersignature of \"lyon\"", [](RoundRecord& record, v1::PublishedManifest& manifest) {
    if (record.round != 2) return;
    v1::Adoption& adoption = *manifest.add_adoptions();
    adoption.set_site("lyon");
    adoption.set_signature(testing::ToySignatures(1).sign(AdoptionMessage(Sha256("another record"))));
  });
  found(2, "the countersignature of \"oslo\"", [](RoundRecord& record, v1::PublishedManifest& manifest) {
    if (record.round != 2) return;
    v1::Adoption& adoption = *manifest.add_adoptions();
    adoption.set_site("oslo");
    adoption.set_signature(testing::ToySignatures(1).sign(AdoptionMessage(record.previous)));
  });
}

TEST_F(WitnessTest, AfterTheEndNobodyWaitsForACountersignature) {
  SiteSession session(SessionOptions(), connection_, clock_, nullptr);
  ASSERT_TRUE(session.Enrol(true).ok());
  ASSERT_TRUE(session.JoinsAfter().ok());
  for (const int64_t round : {1, 2, 3}) {
    ASSERT_TRUE(Round(session, round).ok());
    if (round == 3) connection_.core = nullptr;  // the server has ended, and gone
    const int64_t before = clock_.MonotonicMs();
    EXPECT_TRUE(session.NoteReading(round, "").ok());
    EXPECT_LT(clock_.MonotonicMs() - before, 60'000);
  }
  EXPECT_EQ(Kinds().back(), "countersignature.lost");
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
  SiteSession late(options, connection_, clock_, nullptr);
  ASSERT_TRUE(late.Enrol(true).ok());
  EXPECT_EQ(*late.JoinsAfter(), 1);
  const auto published = late.CloseRound(1);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->own_round, 1) << "of the life before";
  EXPECT_TRUE(Round(late, 2).ok());
}

TEST_F(SiteSessionTest, ShowsHowFarAnUploadAndADownloadAre) {
  constexpr int64_t kChunks = 4, kBig = (kChunks - 1) * kChunkBytes / 4 + 1;
  ServerOptions server = Options();
  server.sites = {"osaka"};
  server.minimum_cohort = 1;
  server.values = kBig;
  testing::MemoryJournal journal;
  ServerCore core(server, journal, clock_);
  ASSERT_TRUE(core.Recover().ok());
  connection_.core = &core;
  connection_.ticks = false;
  std::vector<std::string> lines;
  double seconds = 0.0;
  connection_.after = [&](Rpc rpc) {
    if (rpc == Rpc::kPutChunk || rpc == Rpc::kGetChunk) seconds += 10.0;  // a slow line
    if (rpc != Rpc::kEnrol && rpc != Rpc::kCommitUpload) return;
    const auto closing = core.Tick();
    ASSERT_TRUE(closing.ok()) << closing.status();
    if (!closing->has_value()) return;
    const auto method = MakeMethod({});
    ASSERT_TRUE(
        core.Finish(**closing, Aggregate(**closing, {method->get(), {{}, 1, UploadFormat::kFloat32}, kBig, {"osaka"}}, journal))
            .ok());
  };
  SiteSessionOptions options = SessionOptions();
  options.sites = {"osaka"};
  options.progress.emplace();
  options.progress->now = [&] { return seconds; };
  options.progress->line = [&](std::string_view line) { lines.emplace_back(line); };
  SiteSession session(options, connection_, clock_, nullptr);
  ASSERT_TRUE(session.Enrol(true).ok());
  ASSERT_TRUE(session.JoinsAfter().ok());
  const at::Tensor values = at::arange(kBig, at::kFloat) / 1e6;
  Upload upload;
  upload.round = 1;
  upload.values = values;
  upload.weight = 1.0;
  ASSERT_TRUE(session.Send(std::move(upload)).ok());
  ASSERT_EQ(lines.size(), static_cast<size_t>(kChunks)) << ::testing::PrintToString(lines);
  EXPECT_EQ(lines[1], "round 1, upload (chunks)  2/4 (50%), 10.0 s each, 0:20 left");
  const auto published = session.CloseRound(1);
  ASSERT_TRUE(published.ok()) << published.status();
  ASSERT_EQ(lines.size(), static_cast<size_t>(2 * kChunks)) << ::testing::PrintToString(lines);
  EXPECT_EQ(lines[4], "round 1, download (chunks)  1/4 (25%), 10.0 s each, 0:30 left");
}

}  // namespace
}  // namespace fedalt
