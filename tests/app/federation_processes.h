// A federation of tiny sites as real processes on loopback, and the run on one machine with which it must agree to the bit.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/cli_process.h"
#include "app/kill_process.h"
#include "base/hash.h"
#include "store/raw_database.h"

namespace fedalt::testing {

/// A port of this machine that is free now. Not one of those that the system gives to outgoing connections: a site that tries again
/// and again while its server is down could otherwise be given the server's.
inline std::string FreePort() {
  constexpr int kFirst = 20'000, kPorts = 12'000;
  for (int tries = 0, next = static_cast<int>(::getpid()); tries < kPorts; ++tries, next += 7) {
    const int port = kFirst + next % kPorts;
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    ::close(socket);
    if (free) return std::to_string(port);
  }
  ADD_FAILURE() << "no port is free";
  return "1";
}

/// What the files of a server or a site name that is not the usual.
struct ServerYaml {
  std::string federation = "shared.yaml", keys = "keys/server";
  size_t minimum_cohort = 0;  ///< 0: all sites
  int64_t deadline_s = 0;     ///< 0: the usual
};
struct SiteYaml {
  std::string federation = "shared.yaml";
  std::string keys = {};  ///< empty: the site's
  std::string port = {};  ///< empty: the server's
};

/// Of each test suite: a folder with model, data, keys, and the run on one machine. Each test gives the directories of its
/// processes a name of their own, `out`.
class FederationProcesses : public ::testing::Test {
 protected:
  static constexpr char kShared[] =
      "model: model\n"
      "adapter: {r: 2}\n"
      "train: {rounds: 3, steps: 2, batch_size: 2, max_length: 64, lr: 0.01}\n"
      "eval: {every: 0, beams: 1, max_new_tokens: 4, cross_examples: 0}\n"
      "keep: {rounds: all}\n"
      "threads: 1\n";
  static constexpr int kRounds = 3;
  /// With long.yaml in place of shared.yaml: so many rounds that a site stopped in its first ones cannot be done before the signal
  /// has come.
  static constexpr int kManyRounds = 40;

  /// The sites are called a, b, c.
  explicit FederationProcesses(size_t sites = 2) : sites_({"a", "b", "c"}), port_(FreePort()) {
    sites_.resize(sites);
    if (!world_) MakeWorld();
  }
  static void TearDownTestSuite() { world_.reset(); }

  const TestFolder& folder() const { return *world_; }
  static std::string Replaced(std::string text, const std::string& what, const std::string& with) {
    return text.replace(text.find(what), what.size(), with);
  }
  void Fedalt(const std::vector<std::string>& arguments) const {
    const auto result = RunFedalt(folder(), arguments);
    ASSERT_EQ(result.code, 0) << result.err;
  }

  std::string WriteServer(const std::string& out, const ServerYaml& files) const {
    folder().Write(out + ".server.yaml",
                   "federation: " + files.federation + "\nkeys: " + files.keys + "\ndirectory: " + out +
                       "/server\nlisten: 127.0.0.1:" + port_ +
                       "\nminimum_cohort: " + std::to_string(files.minimum_cohort > 0 ? files.minimum_cohort : sites_.size()) +
                       "\nlinger_s: 60\n" + (files.deadline_s > 0 ? "deadline_s: " + std::to_string(files.deadline_s) + "\n" : ""));
    return out + ".server.yaml";
  }
  std::string WriteSite(const std::string& out, const std::string& site, const SiteYaml& files = {}) const {
    folder().Write(out + "." + site + ".yaml",
                   "federation: " + files.federation + "\nkeys: " + (files.keys.empty() ? "keys/sites/" + site : files.keys) +
                       "\ndirectory: " + out + "/" + site + "\nserver: 127.0.0.1:" + (files.port.empty() ? port_ : files.port) +
                       "\nsite: " + site + "\ndata: {train: data/" + site + ".jsonl, test: data/" + site +
                       ".jsonl}\npatience_s: 120\n");
    return out + "." + site + ".yaml";
  }

  /// A server that listens, always on the same port.
  std::unique_ptr<FedaltInStep> StartServer(const std::string& out, const ServerYaml& files = {}) const {
    auto server = std::make_unique<FedaltInStep>(folder(), std::vector<std::string>{"server", WriteServer(out, files)});
    EXPECT_TRUE(server->ReadUntil("listens on port " + port_ + "\n")) << server->messages();
    return server;
  }
  /// One that needs no more attention.
  std::unique_ptr<FedaltInStep> StartServerAndReadOn(const std::string& out, const ServerYaml& files = {}) const {
    auto server = StartServer(out, files);
    server->ReadOn();
    return server;
  }
  std::unique_ptr<FedaltInStep> StartSite(const std::string& out, const std::string& site, const SiteYaml& files = {}) const {
    return std::make_unique<FedaltInStep>(folder(), std::vector<std::string>{"site", WriteSite(out, site, files)});
  }
  std::unique_ptr<FedaltInStep> StartSiteAndReadOn(const std::string& out, const std::string& site,
                                                   const SiteYaml& files = {}) const {
    auto process = StartSite(out, site, files);
    process->ReadOn();
    return process;
  }
  static void Kill(FedaltInStep& process) {
    const int status = process.End(SIGKILL);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it had ended before: " << process.messages();
  }
  static void ExpectEndsWell(FedaltInStep& process) {
    const int status = process.Wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << process.messages();
  }

  /// The audit log of a server or a site, and the tables of a server.
  void ExpectVerified(const std::string& directory) const {
    const auto audit = RunFedalt(folder(), {"audit", "verify", directory, "--trust", "keys/roster.json"});
    EXPECT_EQ(audit.code, 0) << audit.out << audit.err;
  }
  /// What the statement gives, from the database of the server.
  std::string Sql(const std::string& out, const std::string& sql) const {
    return RawSql(folder().path() / out / "server/store.db", sql);
  }

  /// The files of the last round are those of the single machine, each contribution counts once, and the audit log verifies.
  void ExpectAllCountedOnce(const std::string& out) const {
    SCOPED_TRACE(out);
    for (const std::string& site : sites_) {
      const auto alone = Checkpoints(folder().path() / "single/rounds/003", site);
      EXPECT_GT(alone.size(), 4u);
      EXPECT_EQ(Checkpoints(folder().path() / out / site / "rounds/003", site), alone) << site;
    }
    const std::string all = std::to_string(kRounds * sites_.size());
    // (round, site) is there so many times: received, counted, different ones of those.
    EXPECT_EQ(Sql(out, "SELECT count(*) FROM contribution"), all);
    EXPECT_EQ(Sql(out, "SELECT count(*) FROM contribution WHERE counted = 1"), all);
    EXPECT_EQ(Sql(out, "SELECT count(*) FROM (SELECT DISTINCT round, site FROM contribution WHERE counted = 1)"), all);
    EXPECT_EQ(Sql(out, "SELECT count(*) FROM contributor WHERE round = of_round"), all);
    EXPECT_EQ(Sql(out, "SELECT count(*) FROM contributor"), all);
    EXPECT_EQ(Sql(out, "SELECT count(*) FROM published"), std::to_string(kRounds));
    EXPECT_EQ(Sql(out, "SELECT count(*) FROM audit_entry WHERE kind = 'upload'"), all);
    ExpectVerified(out + "/server");
  }

  /// Every file of a site's checkpoint after a round, with its hash.
  static std::map<std::string, std::string> Checkpoints(const std::filesystem::path& round, const std::string& site) {
    namespace fs = std::filesystem;
    std::map<std::string, std::string> files;
    if (!fs::exists(round / site)) return files;
    for (const auto& entry : fs::recursive_directory_iterator(round / site))
      if (entry.is_regular_file()) files[fs::relative(entry.path(), round).string()] = HexOf(Sha256(Slurp(entry.path())));
    return files;
  }

  std::vector<std::string> sites_;
  std::string port_;

 private:
  void MakeWorld() const {
    world_ = std::make_unique<TestFolder>();
    WriteTinyRun(folder());
    folder().Write("shared.yaml", kShared);
    folder().Write("long.yaml", Replaced(kShared, "rounds: 3", "rounds: " + std::to_string(kManyRounds)));
    Fedalt({"keys", "init", "keys"});
    Fedalt({"keys", "server", "keys", "--host", "127.0.0.1"});
    const std::map<std::string, std::vector<std::string>> data = {
        {"a", {"train_0.jsonl"}}, {"b", {"train_1.jsonl"}}, {"c", {"test_0.jsonl", "test_1.jsonl"}}};
    std::string single;
    for (const std::string& site : sites_) {
      Fedalt({"keys", "site", "keys", site});
      std::string lines;
      for (const std::string& file : data.at(site)) lines += Slurp(folder().path() / file);
      folder().Write("data/" + site + ".jsonl", lines);
      const std::string path = "data/" + site + ".jsonl";
      single += (single.empty() ? "{name: " : ", {name: ") + site + ", train: " + path + ", test: " + path + "}";
    }
    Fedalt({"run", "shared.yaml", "--quiet", "--out", "single", "sites=[" + single + "]"});
  }
  static inline std::unique_ptr<TestFolder> world_;
};

}  // namespace fedalt::testing
