// label: slow
// A comparison by the real program that is killed, or interrupted, between its runs and after each of many changes in its
// directory: it goes on where it was, and its results are those of an undisturbed one.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "app/comparison_json.h"
#include "app/kill_process.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ChangeWatch;
using testing::FedaltInStep;
using testing::RunFedalt;
using testing::Slurp;
using testing::StartFedalt;
using testing::TestFolder;

class CompareKill : public ::testing::Test {
 protected:
  CompareKill() { testing::WriteTinyRun(folder_); }
  static std::vector<std::string> Arguments(const std::string& out) {
    return {"compare", "config.yaml", "--methods", "local,fedalt",  "--bootstrap",
            "100",     "--out",       out,         "train.rounds=6"};  // long enough to be met at work
  }
  /// Goes on with the killed comparison in `out`: to the results of `undisturbed`, and without making again what was finished,
  /// whose number is returned.
  size_t GoOn(const std::string& out, bool by_resume) const {
    const auto finished = Finished(out);
    const auto resumed =
        RunFedalt(folder_, by_resume ? std::vector<std::string>{"compare", "--resume", out, "--quiet"} : Arguments(out));
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(Results(out), Results("undisturbed")) << out;
    const auto now = Finished(out);
    for (const auto& run : finished) EXPECT_TRUE(now.contains(run)) << run.first << " was made again";
    return finished.size();
  }
  /// Results without what the clock says.
  std::string Results(const std::string& out) const {
    const json comparison = testing::WithoutTimes(testing::ReadJson(folder_.path() / out / "comparison.json"));
    return comparison.dump(1) + Slurp(folder_.path() / out / "comparison.csv");
  }
  /// Finished runs and when they were finished.
  std::set<std::pair<std::string, fs::file_time_type>> Finished(const std::string& out) const {
    std::set<std::pair<std::string, fs::file_time_type>> finished;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path() / out))
      if (entry.path().filename() == "summary.json") finished.emplace(entry.path().string(), entry.last_write_time());
    return finished;
  }
  TestFolder folder_;
};

TEST_F(CompareKill, BetweenRunsItGoesOnToTheSameResults) {
  ASSERT_EQ(RunFedalt(folder_, Arguments("undisturbed")).code, 0);
  std::set<size_t> finished;
  for (const char* run : {"1", "3", "5"}) {
    const std::string out = std::string("killed-in-") + run;
    FedaltInStep fedalt(folder_, Arguments(out));
    ASSERT_TRUE(fedalt.ReadUntil(std::string("run ") + run + " of 5")) << fedalt.messages();
    ASSERT_TRUE(WIFSIGNALED(fedalt.End(SIGKILL)));
    finished.insert(GoOn(out, /*by_resume=*/true));
  }
  EXPECT_EQ(finished.size(), 3u);
}

TEST_F(CompareKill, AtAnyMomentItGoesOnToTheSameResults) {
  ASSERT_EQ(RunFedalt(folder_, Arguments("undisturbed")).code, 0);
  int killed = 0;
  // Later and later, until one comes to its end: so the moments lie all over it, however many of its changes are seen.
  bool ended = false;
  for (int events = 1; !ended; events *= 2) {
    const std::string out = "killed-" + std::to_string(events);
    fs::create_directories(folder_.path() / out);
    ChangeWatch watch(folder_.path() / out, /*below=*/true);
    ended = !WIFSIGNALED(watch.SignalAfter(StartFedalt(folder_, Arguments(out)), events, SIGKILL));
    killed += ended ? 0 : 1;
    // By the same command, or by --resume where there is something to resume.
    GoOn(out, killed % 2 == 1 && fs::exists(folder_.path() / out / "comparison-spec.json"));
  }
  EXPECT_GT(killed, 4);
}

TEST_F(CompareKill, AnInterruptSaysHowToGoOn) {
  std::vector<std::string> arguments = Arguments("stopped");
  FedaltInStep fedalt(folder_, arguments);
  ASSERT_TRUE(fedalt.ReadUntil("run 2 of 5")) << fedalt.messages();
  const int status = fedalt.End(SIGINT);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  const std::string& messages = fedalt.messages();
  std::smatch match;
  const std::regex sentence(
      "fedalt: stopped (?:in|before) run ([1-5]) of 5, .*; nothing is lost, go on with: fedalt compare --resume stopped\n");
  ASSERT_TRUE(std::regex_search(messages, match, sentence)) << messages;
  EXPECT_EQ(Slurp(folder_.path() / "kill-out.txt"), "");
  EXPECT_FALSE(fs::exists(folder_.path() / "stopped/comparison.json"));
  const auto resumed = RunFedalt(folder_, {"compare", "--resume", "stopped"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  const int done = std::stoi(match[1]) - 1;
  EXPECT_EQ(resumed.err.find(std::to_string(done) + " of 5 runs are done already") != std::string::npos, done > 0) << resumed.err;
  arguments[7] = "undisturbed";
  ASSERT_EQ(RunFedalt(folder_, arguments).code, 0);
  EXPECT_EQ(Results("stopped"), Results("undisturbed"));
}

}  // namespace
}  // namespace fedalt
