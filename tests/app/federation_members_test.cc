// label: slow
// Sites that come late, lose their state or leave, versions that a site refuses or goes back to, and operators, on real processes.
#include <absl/strings/str_cat.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/federation_processes.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

class FederationMembers : public testing::FederationProcesses {
 protected:
  FederationMembers() : testing::FederationProcesses(3) {}

  const testing::SiteYaml many_rounds_ = {.federation = "long.yaml"};

  /// What the site did in each of its rounds.
  std::map<int64_t, nlohmann::json> RoundsOf(const std::string& out, const std::string& site) const {
    std::istringstream lines(testing::Slurp(folder().path() / out / site / "metrics.jsonl"));
    std::map<int64_t, nlohmann::json> rounds;
    for (std::string line; std::getline(lines, line);)
      if (const auto json = nlohmann::json::parse(line); json["site"] == site) rounds[json["round"]] = json;
    return rounds;
  }
};

TEST_F(FederationMembers, ALateSiteTakesPartFromTheNextRoundOn) {
  // At first c's keys are revoked, so nobody waits for its enrolment.
  fs::copy(folder().path() / "keys", folder().path() / "late-keys", fs::copy_options::recursive);
  Fedalt({"keys", "revoke", "late-keys", "c"});
  auto server = StartServer("late", {.federation = "long.yaml", .keys = "late-keys/server", .minimum_cohort = 2});
  const auto a = StartSiteAndReadOn("late", "a", many_rounds_), b = StartSiteAndReadOn("late", "b", many_rounds_);
  ASSERT_TRUE(server->ReadUntil("round 1: 2 contributions")) << server->messages();
  b->Signal(SIGSTOP);  // a alone closes no round, so there is one left for c
  EXPECT_EQ(WEXITSTATUS(server->End(SIGTERM)), 130) << server->messages();
  server = StartServerAndReadOn("late", {.federation = "long.yaml", .minimum_cohort = 2});
  auto c = StartSite("late", "c", many_rounds_);
  ASSERT_TRUE(c->ReadUntil("memory   expects")) << c->messages();
  b->Signal(SIGCONT);
  c->ReadOn();
  for (auto* process : {a.get(), b.get(), c.get(), server.get()}) ExpectEndsWell(*process);
  const auto rounds = RoundsOf("late", "c");
  ASSERT_FALSE(rounds.empty());
  const int64_t first = rounds.begin()->first;
  EXPECT_GE(first, 1);
  EXPECT_EQ(rounds.at(first)["participated"], false) << "it only reads what was there";
  EXPECT_EQ(rounds.at(first)["reads_round"], first);
  EXPECT_EQ(Sql("late", "SELECT count(*) FROM contribution WHERE site = 2 AND round <= " + std::to_string(first)), "0");
  for (const std::string party : {"server", "a", "b", "c"}) ExpectVerified("late/" + party);
}

TEST_F(FederationMembers, ASiteThatLostItsStateRejoins) {
  const auto server = StartServerAndReadOn("lost", {.federation = "long.yaml"});
  auto a = StartSite("lost", "a", many_rounds_);
  const auto b = StartSiteAndReadOn("lost", "b", many_rounds_), c = StartSiteAndReadOn("lost", "c", many_rounds_);
  ASSERT_TRUE(a->ReadUntil("waits for the contributions of ")) << a->messages();
  Kill(*a);
  fs::remove_all(folder().path() / "lost/a");
  // The server would wait whether the process is still there that has the state; its operator knows.
  Fedalt({"erase", "lost/server", "--site", "a", "--cause", "its directory is lost", "--wait", "600"});
  a = StartSiteAndReadOn("lost", "a", many_rounds_);
  for (auto* process : {a.get(), b.get(), c.get(), server.get()}) ExpectEndsWell(*process);
  EXPECT_EQ(Sql("lost", "SELECT count(*) FROM departure WHERE site = 0"), "1");
  EXPECT_EQ(Sql("lost", "SELECT count(*) FROM (SELECT DISTINCT round, site FROM contribution WHERE counted = 1)"),
            Sql("lost", "SELECT count(*) FROM contribution"));
  for (const std::string party : {"server", "a", "b", "c"}) ExpectVerified("lost/" + party);
}

TEST_F(FederationMembers, ASiteLeavesAndTheOthersGoOn) {
  const auto server = StartServerAndReadOn("left", {.federation = "long.yaml", .minimum_cohort = 2});
  auto a = StartSite("left", "a", many_rounds_);
  const auto b = StartSiteAndReadOn("left", "b", many_rounds_), c = StartSiteAndReadOn("left", "c", many_rounds_);
  ASSERT_TRUE(a->ReadUntil("waits for the contributions of ")) << a->messages();
  Kill(*a);
  Fedalt({"site", "left.a.yaml", "--leave", "--cause", "the contract has ended"});
  for (auto* process : {b.get(), c.get(), server.get()}) ExpectEndsWell(*process);
  EXPECT_EQ(Sql("left", "SELECT cause FROM departure WHERE site = 0"), "the site leaves: the contract has ended");
  EXPECT_EQ(Sql("left", "SELECT count(*) FROM contribution WHERE site = 0"), "0");
  EXPECT_EQ(Sql("left", absl::StrCat("SELECT count(*) FROM contributor WHERE round = ", kManyRounds, " AND site = 0")), "0");
  for (const std::string party : {"server", "a", "b", "c"}) ExpectVerified("left/" + party);
  const auto again = testing::RunFedalt(folder(), {"site", "left.a.yaml", "--leave", "--cause", "\xff"});
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.err.find("--cause is not valid UTF-8"), std::string::npos) << again.err;
}

TEST_F(FederationMembers, APinnedSiteReadsWhatItRead) {
  WriteSite("pinned", "a");
  const auto server = StartServerAndReadOn("pinned");
  const auto b = StartSiteAndReadOn("pinned", "b"), c = StartSiteAndReadOn("pinned", "c");
  folder().Write("pinned.a.yaml",
                 testing::Slurp(folder().path() / "pinned.a.yaml") + "rest_of_world: {pin: 1}\nshare_metrics: true\n");
  const auto a = std::make_unique<testing::FedaltInStep>(folder(), std::vector<std::string>{"site", "pinned.a.yaml"});
  a->ReadOn();
  for (auto* process : {a.get(), b.get(), c.get(), server.get()}) ExpectEndsWell(*process);
  const auto rounds = RoundsOf("pinned", "a");
  EXPECT_EQ(rounds.at(1)["reads_round"], 1);
  EXPECT_FALSE(rounds.at(1).contains("refused"));
  EXPECT_EQ(rounds.at(3)["reads_round"], 1);
  EXPECT_EQ(rounds.at(3)["refused"], "pinned to round 1");
  EXPECT_EQ(Sql("pinned", "SELECT value FROM metric WHERE site = 0 AND round = 2 AND name = 'took_in'"), "0.0");
  EXPECT_EQ(Sql("pinned", "SELECT count(*) FROM metric WHERE site <> 0"), "0") << "the others told nothing";
  const auto shown = testing::RunFedalt(folder(), {"audit", "show", "pinned/a", "--kind", "rest_of_world"});
  EXPECT_NE(shown.out.find("\"reason\":\"pinned to round 1\",\"round\":3"), std::string::npos) << shown.out;
  EXPECT_EQ(Sql("pinned", "SELECT refused FROM adoption WHERE site = 0 AND round = 3"), "pinned to round 1");
  EXPECT_EQ(Sql("pinned", "SELECT count(*) FROM adoption WHERE refused = ''"), "7") << "the others adopted every version";
  ExpectVerified("pinned/a");
}

TEST_F(FederationMembers, AnOperatorSteersTheServer) {
  const auto server = StartServerAndReadOn("steered");
  const auto status = [&] { return testing::RunFedalt(folder(), {"status", "steered/server"}).out; };
  EXPECT_NE(status().find("server      at work, start 1 "), std::string::npos) << status();
  EXPECT_NE(status().find("phase       enrolling; since "), std::string::npos) << status();
  EXPECT_NE(status().find("waits for   the enrolment of a, b, c\n"), std::string::npos) << status();
  Fedalt({"pause", "steered/server", "--cause", "lunch", "--wait", "600"});
  EXPECT_NE(status().find("phase       paused: lunch; since "), std::string::npos) << status();
  Fedalt({"resume", "steered/server", "--wait", "600"});
  Fedalt({"erase", "steered/server", "--site", "a", "--wait", "600"});
  Fedalt({"stop", "steered/server", "--cause", "good enough", "--wait", "600"});
  EXPECT_EQ(server->Wait() >> 8, 10);
  EXPECT_NE(server->messages().find("the run has ended: stopped by an operator: good enough"), std::string::npos);
  EXPECT_NE(status().find("phase       ended: stopped by an operator: good enough; since "), std::string::npos) << status();
  ExpectVerified("steered/server");
}

}  // namespace
}  // namespace fedalt
