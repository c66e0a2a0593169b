// label: slow
// A server and its sites as real processes on loopback: the bits of the single machine, also when one of them is killed at any of
// its messages; and who is refused.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <regex>

#include "app/cli_process.h"
#include "app/kill_process.h"
#include "base/hash.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::FedaltInStep;
using testing::RunFedalt;

constexpr char kShared[] =
    "model: model\n"
    "adapter: {r: 2}\n"
    "train: {rounds: 3, steps: 2, batch_size: 2, max_length: 64, lr: 0.01}\n"
    "eval: {every: 0, beams: 1, max_new_tokens: 4, cross_examples: 0}\n"
    "keep: {rounds: all}\n"
    "threads: 1\n";

class FederationProcesses : public ::testing::Test {
 protected:
  FederationProcesses() {
    testing::WriteTinyRun(folder_);
    folder_.Write("shared.yaml", kShared);
    Fedalt({"keys", "init", "keys"});
    Fedalt({"keys", "server", "keys", "--host", "127.0.0.1"});
    for (const std::string& site : sites_) {
      Fedalt({"keys", "site", "keys", site});
      const std::string k = site == "a" ? "0" : "1";
      folder_.Write("data/" + site + ".jsonl", testing::Slurp(folder_.path() / ("train_" + k + ".jsonl")));
    }
    Fedalt({"run", "shared.yaml", "--quiet", "--out", "single",
            "sites=[{name: a, train: data/a.jsonl, test: data/a.jsonl}, {name: b, train: data/b.jsonl, test: data/b.jsonl}]"});
  }
  void Fedalt(const std::vector<std::string>& arguments) {
    const auto result = RunFedalt(folder_, arguments);
    ASSERT_EQ(result.code, 0) << result.err;
  }
  void WriteServer(const std::string& out, const std::string& port) {
    folder_.Write(out + ".server.yaml", "federation: shared.yaml\nkeys: keys/server\ndirectory: " + out +
                                            "/server\nlisten: 127.0.0.1:" + port + "\nminimum_cohort: 2\nlinger_s: 60\n");
  }
  std::string WriteSite(const std::string& out, const std::string& site, const std::string& keys = "") {
    folder_.Write(out + "." + site + ".yaml", "federation: shared.yaml\nkeys: " + (keys.empty() ? "keys/sites/" + site : keys) +
                                                  "\ndirectory: " + out + "/" + site + "\nserver: 127.0.0.1:" + port_ +
                                                  "\nsite: " + site + "\ndata: {train: data/" + site + ".jsonl, test: data/" +
                                                  site + ".jsonl}\npatience_s: 120\n");
    return out + "." + site + ".yaml";
  }
  /// A server on a free port, which it keeps from then on.
  std::unique_ptr<FedaltInStep> StartServer(const std::string& out) {
    WriteServer(out, port_.empty() ? "0" : port_);
    auto server = std::make_unique<FedaltInStep>(folder_, std::vector<std::string>{"server", out + ".server.yaml"});
    EXPECT_TRUE(server->ReadUntil("listens on port ")) << server->messages();
    EXPECT_TRUE(server->ReadUntil("\n"));
    std::smatch match;
    const std::regex line("listens on port ([0-9]+)\n");
    EXPECT_TRUE(std::regex_search(server->messages(), match, line)) << server->messages();
    port_ = match[1];
    return server;
  }
  std::unique_ptr<FedaltInStep> StartSite(const std::string& out, const std::string& site) {
    return std::make_unique<FedaltInStep>(folder_, std::vector<std::string>{"site", WriteSite(out, site)});
  }
  /// Every file of the last round's checkpoints.
  std::map<std::string, std::string> Checkpoints(const fs::path& round, const std::string& site) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(round / site))
      if (entry.is_regular_file()) files[fs::relative(entry.path(), round).string()] = HexOf(Sha256(testing::Slurp(entry.path())));
    return files;
  }
  void ExpectTheBitsOfTheSingleMachine(const std::string& out) const {
    for (const std::string& site : sites_) {
      const auto alone = Checkpoints(folder_.path() / "single/rounds/003", site);
      EXPECT_GT(alone.size(), 4u);
      EXPECT_EQ(Checkpoints(folder_.path() / out / site / "rounds/003", site), alone) << out << ", " << site;
    }
    const auto audit = RunFedalt(folder_, {"audit", "verify", out + "/server", "--trust", "keys/roster.json"});
    EXPECT_EQ(audit.code, 0) << audit.err;
  }
  static void ExpectEndsWell(FedaltInStep& process) {
    const int status = process.Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << process.messages();
  }

  testing::TestFolder folder_;
  const std::vector<std::string> sites_ = {"a", "b"};
  std::string port_;
};

TEST_F(FederationProcesses, TheServerIsKilledAtEachOfItsMessages) {
  int run = 0;
  for (const char* message :
       {"waits for the enrolment", "round 1, attempt 1: waits for the contributions", "round 1: 2 contributions",
        "round 2, attempt 1: waits for the contributions", "round 3: 2 contributions", "the run has ended"}) {
    const std::string out = "server-" + std::to_string(run++);
    auto server = StartServer(out);
    auto a = StartSite(out, "a"), b = StartSite(out, "b");
    a->ReadOn();
    b->ReadOn();
    ASSERT_TRUE(server->ReadUntil(message)) << server->messages();
    ASSERT_TRUE(WIFSIGNALED(server->End(SIGKILL)));
    server = StartServer(out);
    server->ReadOn();
    ExpectEndsWell(*a);
    ExpectEndsWell(*b);
    ExpectEndsWell(*server);
    ExpectTheBitsOfTheSingleMachine(out);
  }
}

TEST_F(FederationProcesses, ASiteIsKilledAtEachOfItsMessages) {
  int run = 0;
  for (const char* message : {"run in", "memory   expects", "waits for the enrolment", "waits for the contributions of b"}) {
    const std::string out = "site-" + std::to_string(run++);
    auto server = StartServer(out);
    server->ReadOn();
    auto a = StartSite(out, "a");
    std::unique_ptr<FedaltInStep> b;
    if (run == 4) {  // b holds up the round that a waits for
      b = StartSite(out, "b");
      ASSERT_TRUE(b->ReadUntil("memory   expects"));
    }
    ASSERT_TRUE(a->ReadUntil(message)) << a->messages();
    ASSERT_TRUE(WIFSIGNALED(a->End(SIGKILL)));
    a = StartSite(out, "a");
    if (!b) b = StartSite(out, "b");
    a->ReadOn();
    b->ReadOn();
    ExpectEndsWell(*a);
    ExpectEndsWell(*b);
    ExpectEndsWell(*server);
    ExpectTheBitsOfTheSingleMachine(out);
  }
}

TEST_F(FederationProcesses, AnOperatorSteersTheServer) {
  const auto server = StartServer("steered");
  server->ReadOn();
  const auto status = [&] { return RunFedalt(folder_, {"status", "steered/server"}).out; };
  EXPECT_NE(status().find("server      at work, start 1 "), std::string::npos) << status();
  EXPECT_NE(status().find("phase       enrolling; since "), std::string::npos) << status();
  EXPECT_NE(status().find("awaited     a, b\n"), std::string::npos) << status();
  Fedalt({"pause", "steered/server", "--cause", "lunch", "--wait", "600"});
  EXPECT_NE(status().find("phase       paused: lunch; since "), std::string::npos) << status();
  Fedalt({"resume", "steered/server", "--wait", "600"});
  Fedalt({"erase", "steered/server", "--site", "a", "--wait", "600"});
  Fedalt({"stop", "steered/server", "--cause", "good enough", "--wait", "600"});
  EXPECT_EQ(server->Wait() >> 8, 10);
  EXPECT_NE(server->messages().find("the run has ended: stopped by an operator: good enough"), std::string::npos);
  EXPECT_NE(status().find("phase       ended: stopped by an operator: good enough; since "), std::string::npos) << status();
  Fedalt({"audit", "verify", "steered/server", "--trust", "keys/roster.json"});
}

TEST_F(FederationProcesses, WhoDoesNotBelongIsRefused) {
  const auto server = StartServer("refusing");
  server->ReadOn();
  const auto site = [&](const std::string& file) { return RunFedalt(folder_, {"site", file, "--quiet"}); };
  // Another configuration.
  folder_.Write("other.yaml", std::string(kShared) + "seed: 7\n");
  std::string yaml = testing::Slurp(folder_.path() / WriteSite("refusing", "a"));
  folder_.Write("other.a.yaml", std::regex_replace(yaml, std::regex("shared.yaml"), "other.yaml"));
  auto result = site("other.a.yaml");
  EXPECT_EQ(result.code, 10) << result.err;
  EXPECT_NE(result.err.find("the configurations differ: the server has \"seed: 0\", the site has \"seed: 7\""), std::string::npos)
      << result.err;
  // Another site's name on one's own keys.
  result = site(WriteSite("as-b", "b", "keys/sites/a"));
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_NE(result.err.find("keys"), std::string::npos) << result.err;
  EXPECT_EQ(server->End(SIGTERM) >> 8, 130);
  EXPECT_NE(server->messages().find("nothing is lost, go on with the same command"), std::string::npos) << server->messages();
  // Keys that were revoked.
  Fedalt({"keys", "revoke", "keys", "b"});
  const auto again = StartServer("refusing-b");
  again->ReadOn();
  result = site(WriteSite("revoked", "b"));
  EXPECT_EQ(result.code, 10) << result.err;
  EXPECT_NE(result.err.find("revoked"), std::string::npos) << result.err;
  again->End(SIGTERM);
}

}  // namespace
}  // namespace fedalt
