// label: slow
// A server and its sites as real processes on loopback: the bits of the single machine. What goes wrong on the way is in
// federation_faults_test.cc and federation_kills_test.cc.
#include <tuple>

#include "app/federation_processes.h"

namespace fedalt {
namespace {

class FederationProcess : public testing::FederationProcesses {};

TEST_F(FederationProcess, HasTheBitsOfTheSingleMachine) {
  const auto server = StartServerAndReadOn("run");
  const auto a = StartSiteAndReadOn("run", "a"), b = StartSiteAndReadOn("run", "b");
  for (auto* process : {a.get(), b.get(), server.get()}) ExpectEndsWell(*process);
  ExpectAllCountedOnce("run");

  // A site goes on as its run began, whatever changed meanwhile.
  const auto again = [&] { return testing::RunFedalt(folder(), {"site", "run.a.yaml", "--quiet"}); };
  const auto with = [&](const std::string& file, const std::string& from, const std::string& to) {
    const std::string text = testing::Slurp(folder().path() / file);
    folder().Write(file, Replaced(text, from, to));
    const auto result = again();
    folder().Write(file, text);
    return result;
  };
  EXPECT_EQ(again().code, 0);
  EXPECT_EQ(with("shared.yaml", "threads: 1", "threads: 2").code, 0);
  const std::vector<std::tuple<std::string, std::string, std::string, std::string>> changes = {
      {"shared.yaml", "lr: 0.01", "lr: 0.5", "train.lr is 0.5 and was 0.01"},
      {"run/a/config.yaml", "lr: 0.01", "lr: 0.5", "train.lr is 0.5 and was 0.01"},
      {"run.a.yaml", "test: data/a.jsonl", "test: data/b.jsonl", "data.test is "},
      {"run.a.yaml", "server: ", "server: http://", "server is "}};
  for (const auto& [file, from, to, says] : changes) {
    const auto refused = with(file, from, to);
    EXPECT_EQ(refused.code, 3) << refused.err;
    EXPECT_NE(refused.err.find(says), std::string::npos) << refused.err;
    EXPECT_NE(refused.err.find(file), std::string::npos) << refused.err;
  }
}

TEST_F(FederationProcess, ACohortThatCanNeverBeCompleteIsRefused) {
  folder().Write("few.yaml", std::string(kShared) + "participation: 1\n");
  const auto server = testing::RunFedalt(folder(), {"server", WriteServer("few", {.federation = "few.yaml"})});
  EXPECT_EQ(server.code, 3) << server.err;
  EXPECT_NE(server.err.find("minimum_cohort is 2, but participation asks 1"), std::string::npos) << server.err;
}

}  // namespace
}  // namespace fedalt
