// label: slow
// The fault table (docs/verification.md), rows with real processes: what is killed, put back, changed or full, and what comes of
// it.
#include <csignal>
#include <fstream>
#include <optional>

#include "app/between.h"
#include "app/federation_processes.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::Between;
using testing::FedaltInStep;
using testing::RunFedalt;
using Moment = Between::Moment;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)
#define EXPECT_SAYS_NOT(text, part) EXPECT_EQ((text).find(part), std::string::npos) << (text)

class FaultTable : public testing::FederationProcesses {
 protected:
  /// `out` is the test's name.
  FaultTable() : out_(::testing::UnitTest::GetInstance()->current_test_info()->name()) {}

  /// Where a's calls can be held.
  Between BetweenAAndTheServer() const { return {folder().path() / "keys", "a", port_}; }
  std::string Count(const std::string& sql) const { return Sql(out_, sql); }
  /// The server comes back, and its first words about what it waits for are these.
  std::unique_ptr<FedaltInStep> RestartServerThatWaitsFor(const std::string& what) const {
    auto server = StartServer(out_);
    EXPECT_TRUE(server->ReadMessage()) << server->messages();
    EXPECT_SAYS(server->messages(), ": waits for " + what + "\n");
    return server;
  }
  void ExpectAllEndWell(const std::vector<FedaltInStep*>& processes) const {
    for (FedaltInStep* process : processes) process->ReadOn();  // nobody is held up by what nobody reads
    for (FedaltInStep* process : processes) ExpectEndsWell(*process);
    ExpectAllCountedOnce(out_);
  }
  /// fedalt site, which is refused.
  void ExpectSiteRefused(const std::string& file, int code, const std::string& words) const {
    const auto result = RunFedalt(folder(), {"site", file, "--quiet"});
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_SAYS(result.err, words);
  }

  const std::string out_;
};

// kill -9 of the server in any phase: it restarts in that phase; what it acknowledged stays.

TEST_F(FaultTable, ServerKilledWhileEnrolling) {
  auto server = StartServer(out_);
  ASSERT_TRUE(server->ReadUntil("waits for the enrolment of a, b\n"));
  const auto a = StartSite(out_, "a");
  ASSERT_TRUE(server->ReadUntil("waits for the enrolment of b\n"));
  ASSERT_TRUE(a->ReadUntil("waits for the enrolment of b\n")) << a->messages();  // it has the answer, so it will not ask again
  a->ReadOn();
  Kill(*server);
  server = RestartServerThatWaitsFor("the enrolment of b");
  const auto b = StartSiteAndReadOn(out_, "b");
  ExpectAllEndWell({a.get(), b.get(), server.get()});
  EXPECT_EQ(Count("SELECT count(*) FROM audit_entry WHERE kind = 'enrolment'"), "2");
}

TEST_F(FaultTable, ServerKilledWhileCollecting) {
  auto server = StartServer(out_);
  Between between = BetweenAAndTheServer();
  between.HoldAt("BeginUpload", Moment::kAsked);
  const auto a = StartSiteAndReadOn(out_, "a", {.port = between.port()}), b = StartSiteAndReadOn(out_, "b");
  ASSERT_TRUE(server->ReadUntil("round 1, attempt 1: waits for the contributions of a\n")) << server->messages();
  ASSERT_TRUE(between.Held());
  Kill(*server);
  server = RestartServerThatWaitsFor("the contributions of a");  // not of b, whose upload was acknowledged
  between.LetGo();
  ExpectAllEndWell({a.get(), b.get(), server.get()});
}

TEST_F(FaultTable, ServerKilledWhileAggregating) {
  auto server = StartServer(out_);
  const auto a = StartSiteAndReadOn(out_, "a"), b = StartSiteAndReadOn(out_, "b");
  ASSERT_TRUE(server->ReadUntil("round 1: 2 contributions")) << server->messages();
  Kill(*server);
  server = StartServerAndReadOn(out_);
  ExpectAllEndWell({a.get(), b.get(), server.get()});
  EXPECT_SAYS_NOT(server->messages(), "round 1, attempt 1: waits for the contributions");
}

TEST_F(FaultTable, ServerKilledAfterPublishing) {
  auto server = StartServer(out_);
  Between between = BetweenAAndTheServer();
  between.HoldAt("GetManifest", Moment::kAsked);
  const auto a = StartSiteAndReadOn(out_, "a", {.port = between.port()}), b = StartSiteAndReadOn(out_, "b");
  ASSERT_TRUE(server->ReadUntil("round 2, attempt 1: waits for the contributions of")) << server->messages();
  server->ReadOn();
  ASSERT_TRUE(between.Held());  // round 1 is closed, and a has not read what it published
  Kill(*server);
  server = StartServerAndReadOn(out_);
  between.LetGo();
  ExpectAllEndWell({a.get(), b.get(), server.get()});
  EXPECT_SAYS_NOT(server->messages(), "round 1");
}

TEST_F(FaultTable, ServerKilledAfterTheEnd) {
  auto server = StartServer(out_);
  Between between = BetweenAAndTheServer();
  between.HoldAt("GetManifest", Moment::kAsked, kRounds);
  const auto a = StartSiteAndReadOn(out_, "a", {.port = between.port()}), b = StartSiteAndReadOn(out_, "b");
  ASSERT_TRUE(server->ReadUntil("the run has ended")) << server->messages();
  ASSERT_TRUE(between.Held());
  Kill(*server);
  server = StartServer(out_);
  ASSERT_TRUE(server->ReadUntil("the run has ended: all rounds are done")) << server->messages();
  server->ReadOn();
  between.LetGo();
  ExpectEndsWell(*a);
  ExpectEndsWell(*b);
  server->End(SIGTERM);  // b may have read before the kill, of which this server knows nothing
  ExpectAllCountedOnce(out_);
}

// kill -9 of a site: it resumes from its checkpoint, and sends the same bytes under the same key.

TEST_F(FaultTable, SiteKilledWhileTraining) {
  const auto server = StartServerAndReadOn(out_);
  const auto b = StartSiteAndReadOn(out_, "b");
  Between between = BetweenAAndTheServer();
  between.HoldAt("BeginUpload", Moment::kAsked);  // should it come so far
  auto a = StartSite(out_, "a", {.port = between.port()});
  ASSERT_TRUE(a->ReadUntil("memory   expects")) << a->messages();  // the last words before it trains
  Kill(*a);
  a = StartSiteAndReadOn(out_, "a");
  ExpectAllEndWell({a.get(), b.get(), server.get()});
  EXPECT_SAYS(a->messages(), "resumed in");
}

TEST_F(FaultTable, SiteKilledWhileUploading) {
  const auto server = StartServerAndReadOn(out_);
  const auto b = StartSiteAndReadOn(out_, "b");
  Between between = BetweenAAndTheServer();
  const std::pair<const char*, Moment> moments[] = {{"PutChunk", Moment::kAsked},       // the piece has not arrived
                                                    {"PutChunk", Moment::kAnswered},    // it has
                                                    {"CommitUpload", Moment::kAsked}};  // all has arrived, and does not count yet
  std::unique_ptr<FedaltInStep> a;
  for (const auto& [method, moment] : moments) {
    between.HoldAt(method, moment);
    a = StartSiteAndReadOn(out_, "a", {.port = between.port()});
    ASSERT_TRUE(between.Held()) << method;
    Kill(*a);
    ASSERT_TRUE(between.Gone());
  }
  a = StartSiteAndReadOn(out_, "a", {.port = between.port()});
  ExpectAllEndWell({a.get(), b.get(), server.get()});
  const std::vector<std::string> manifests = between.Asked("BeginUpload");
  ASSERT_GE(manifests.size(), 4u);
  for (size_t life = 1; life < 4; ++life) EXPECT_EQ(manifests[life], manifests[0]) << "the same bytes under the same key";
}

TEST_F(FaultTable, SiteKilledAfterUpload) {
  const auto server = StartServerAndReadOn(out_);
  const auto b = StartSiteAndReadOn(out_, "b");
  Between between = BetweenAAndTheServer();
  between.HoldAt("CommitUpload", Moment::kAnswered);
  auto a = StartSiteAndReadOn(out_, "a", {.port = between.port()});
  ASSERT_TRUE(between.Held());  // it counts, and the site does not know
  Kill(*a);
  a = StartSiteAndReadOn(out_, "a", {.port = between.port()});
  ExpectAllEndWell({a.get(), b.get(), server.get()});
}

TEST_F(FaultTable, SiteKilledWhileWaiting) {
  const auto server = StartServerAndReadOn(out_);
  auto a = StartSite(out_, "a");
  ASSERT_TRUE(a->ReadUntil("waits for the enrolment of b\n")) << a->messages();
  Kill(*a);
  Between between = BetweenAAndTheServer();
  const auto b = StartSiteAndReadOn(out_, "b");
  between.HoldAt("GetManifest", Moment::kAsked);
  a = StartSiteAndReadOn(out_, "a", {.port = between.port()});
  ASSERT_TRUE(between.Held());  // it has waited for the end of the round
  Kill(*a);
  a = StartSiteAndReadOn(out_, "a");
  ExpectAllEndWell({a.get(), b.get(), server.get()});
}

// Server restarted with another model or configuration: both sides refuse the run.

TEST_F(FaultTable, ServerRestartedWithAnotherConfiguration) {
  folder().Write("other.yaml", std::string(kShared) + "seed: 7\n");
  auto server = StartServer(out_);
  const auto a = StartSite(out_, "a");
  ASSERT_TRUE(a->ReadUntil("waits for the enrolment of b\n")) << a->messages();
  Kill(*a);
  Kill(*server);
  const auto result = RunFedalt(folder(), {"server", WriteServer(out_, {.federation = "other.yaml"})});
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_SAYS(result.err, "the server has \"seed: 7\", the directory has \"seed: 0\"");
  // In a directory of its own it starts, and the site refuses it.
  server = StartServer(out_ + "-new", {.federation = "other.yaml"});
  ExpectSiteRefused(WriteSite(out_, "a"), 10, "the configurations differ: the server has \"seed: 7\", the site has \"seed: 0\"");
  // A site whose own configuration is another one now.
  ExpectSiteRefused(WriteSite(out_, "a", {.federation = "other.yaml"}), 3, "seed is 7 and was 0 when the run in");
  server->End(SIGTERM);
}

TEST_F(FaultTable, ServerRestartedWithAnotherModel) {
  fs::copy(folder().path() / "model", folder().path() / "model-2", fs::copy_options::recursive);
  std::string weights = testing::Slurp(folder().path() / "model-2/model.safetensors");
  weights.back() = static_cast<char>(weights.back() ^ 1);
  folder().Write("model-2/model.safetensors", weights);
  folder().Write("model-2.yaml", std::string(kShared).replace(0, std::string("model: model").size(), "model: model-2"));
  auto server = StartServer(out_);
  const auto a = StartSite(out_, "a");
  ASSERT_TRUE(a->ReadUntil("waits for the enrolment of b\n")) << a->messages();
  Kill(*a);
  Kill(*server);
  const auto result = RunFedalt(folder(), {"server", WriteServer(out_, {.federation = "model-2.yaml"})});
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_SAYS(result.err, "belongs to a run with another configuration: the server has \"model model.safetensors ");
  server = StartServer(out_ + "-new", {.federation = "model-2.yaml"});
  ExpectSiteRefused(WriteSite(out_, "a"), 10, "the configurations differ: the server has \"model model.safetensors ");
  server->End(SIGTERM);
}

// A site with keys that are not its own or not valid any more. What the server makes of such keys, however the site behaves, is in
// net/fault_table_test.cc.

TEST_F(FaultTable, SiteWithAnotherSitesCertificate) {
  ExpectSiteRefused(WriteSite(out_, "b", {.keys = "keys/sites/a"}), 3,
                    "holds keys of \"a\" that are not those which the roster names for b");
}

TEST_F(FaultTable, SiteWithRevokedKeys) {
  fs::copy(folder().path() / "keys", folder().path() / "keys-revoked", fs::copy_options::recursive);
  Fedalt({"keys", "revoke", "keys-revoked", "b"});
  const auto refused = RunFedalt(folder(), {"server", WriteServer(out_, {.keys = "keys-revoked/server"})});
  EXPECT_EQ(refused.code, 3);
  EXPECT_SAYS(refused.err, "minimum_cohort is 2, but the roster has 1 sites that are not revoked");
  const auto server = StartServerAndReadOn(out_, {.keys = "keys-revoked/server", .minimum_cohort = 1});
  ExpectSiteRefused(WriteSite(out_, "b"), 10, "the keys of b are revoked");
  EXPECT_EQ(server->End(SIGTERM) >> 8, 130);
  EXPECT_SAYS(server->messages(), "nothing is lost, go on with the same command");
  EXPECT_EQ(Count("SELECT count(*) FROM enrolment"), "0");
}

// Server restored from an old backup: the sites notice and stop, also where they have sent their uploads and wait.

TEST_F(FaultTable, ServerRestoredFromAnOldBackup) {
  const fs::path directory = folder().path() / out_ / "server";
  auto server = StartServer(out_);
  ASSERT_TRUE(server->ReadUntil("waits for the enrolment of a, b\n"));
  Kill(*server);
  fs::copy(directory, folder().path() / "backup", fs::copy_options::recursive);
  server = StartServer(out_);
  Between between = BetweenAAndTheServer();
  between.HoldAt("BeginUpload", Moment::kAsked, 2);
  const auto a = StartSiteAndReadOn(out_, "a", {.port = between.port()}), b = StartSiteAndReadOn(out_, "b");
  ASSERT_TRUE(server->ReadUntil("round 2, attempt 1: waits for the contributions of a\n")) << server->messages();
  ASSERT_TRUE(between.Held());
  Kill(*server);
  fs::remove_all(directory);
  fs::copy(folder().path() / "backup", directory, fs::copy_options::recursive);
  server = StartServerAndReadOn(out_);
  between.LetGo();
  for (FedaltInStep* site : {a.get(), b.get()}) {  // one was about to send, the other waited for the end of the round
    const int status = site->Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 10) << site->messages();
    EXPECT_SAYS(site->messages(), "at round 1");
    EXPECT_SAYS(site->messages(), "put its newest directory back");
  }
  server->End(SIGTERM);
}

// Disk full: no acknowledgement, read-only, goes on when there is room.

TEST_F(FaultTable, ServerDiskFull) {
  auto server = StartServer(out_);
  Between between = BetweenAAndTheServer();
  between.HoldAt("BeginUpload", Moment::kAsked);
  auto a = StartSite(out_, "a", {.port = between.port()});
  const auto b = StartSiteAndReadOn(out_, "b");
  ASSERT_TRUE(server->ReadUntil("round 1, attempt 1: waits for the contributions of a\n")) << server->messages();
  ASSERT_TRUE(a->ReadUntil("memory   expects")) << a->messages();
  ASSERT_TRUE(between.Held());
  server->ReadOn();
  server->LimitFiles(0);
  between.LetGo();
  ASSERT_TRUE(a->ReadUntil("waits for the server (the server's disk does not do what it should")) << a->messages();
  EXPECT_EQ(Count("SELECT count(*) FROM contribution"), "1");
  server->LimitFiles(RLIM_INFINITY);
  ExpectAllEndWell({a.get(), b.get(), server.get()});
}

TEST_F(FaultTable, IoErrorWhileARoundIsClosed) {
  // What round 1 publishes is always the same, so it is known where it goes. There is a file where its folder should be.
  const auto run = [&](const std::string& out) {
    const auto server = StartServerAndReadOn(out);
    const auto a = StartSiteAndReadOn(out, "a"), b = StartSiteAndReadOn(out, "b");
    for (FedaltInStep* process : {a.get(), b.get(), server.get()}) ExpectEndsWell(*process);
  };
  run(out_ + "-before");
  const std::string piece = Sql(out_ + "-before", "SELECT lower(hex(pieces)) FROM published WHERE round = 1");
  ASSERT_EQ(piece.size(), 64u);
  const std::string obstacle = out_ + "/server/objects/" + piece.substr(0, 2);
  folder().Write(obstacle, "");
  auto server = StartServer(out_);
  const auto a = StartSiteAndReadOn(out_, "a"), b = StartSiteAndReadOn(out_, "b");
  ASSERT_TRUE(server->ReadUntil("the server can record nothing and only answers what it knows")) << server->messages();
  EXPECT_SAYS(server->messages(), "round 1: 2 contributions");
  EXPECT_EQ(Count("SELECT count(*) FROM contribution"), "2");
  fs::remove(folder().path() / obstacle);
  ASSERT_TRUE(server->ReadUntil("the server can record again and goes on\n")) << server->messages();
  ExpectAllEndWell({a.get(), b.get(), server.get()});
  EXPECT_EQ(Count("SELECT count(*) FROM attempt WHERE abandoned IS NOT NULL"), "0");
}

TEST_F(FaultTable, SiteDiskFull) {
  const auto server = StartServerAndReadOn(out_);
  const auto b = StartSiteAndReadOn(out_, "b");
  constexpr rlim_t kLargest = 2000;  // less than the checkpoint of a round
  const auto full = RunFedalt(folder(), {"site", WriteSite(out_, "a"), "--quiet"}, "", "", kLargest);
  EXPECT_EQ(full.code, 6) << full.err;
  EXPECT_SAYS(full.err, "File too large");
  const auto a = StartSiteAndReadOn(out_, "a");
  ExpectAllEndWell({a.get(), b.get(), server.get()});
}

// Two servers on one run, in one directory: the second is refused.

TEST_F(FaultTable, TwoServersInOneDirectory) {
  auto server = StartServer(out_);
  ASSERT_TRUE(server->ReadUntil("waits for the enrolment of a, b\n"));
  const std::string other_port = testing::FreePort();
  std::string yaml = testing::Slurp(folder().path() / WriteServer(out_, {}));
  folder().Write("second.server.yaml", yaml.replace(yaml.find(":" + port_) + 1, port_.size(), other_port));
  const auto second = RunFedalt(folder(), {"server", "second.server.yaml"});
  EXPECT_EQ(second.code, 2) << second.err;
  EXPECT_SAYS(second.err, "another fedalt is at work in this directory");
  const auto a = StartSiteAndReadOn(out_, "a"), b = StartSiteAndReadOn(out_, "b");
  ExpectAllEndWell({a.get(), b.get(), server.get()});
}

}  // namespace
}  // namespace fedalt
