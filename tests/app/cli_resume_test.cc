// A run goes on as it was started: what may have changed in its directory meanwhile, and what its log tells.
#include <gtest/gtest.h>

#include "app/cli_process.h"
#include "app/kill_process.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::ProcessResult;
using testing::RunFedalt;
using testing::Slurp;
using testing::TestFolder;

// One run serves all tests; each puts back what it changes.
class CliResume : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TestFolder;
    testing::WriteTinyRun(*folder_);
    const ProcessResult run = RunFedalt(*folder_, {"run", "config.yaml", "--out", "out", "--quiet"});
    ASSERT_EQ(run.code, 0) << run.err;
  }
  static void TearDownTestSuite() { delete folder_; }

  /// What `command` says with `from` in a file of the run replaced by `to`.
  static ProcessResult With(const std::string& file, const std::string& from, const std::string& to,
                            const std::vector<std::string>& command = {"run", "--resume", "out", "--quiet"}) {
    const std::string text = Slurp(folder_->path() / "out" / file);
    std::string changed = text;
    EXPECT_NE(text.find(from), std::string::npos) << from;
    folder_->Write("out/" + file, changed.replace(changed.find(from), from.size(), to));
    const ProcessResult result = testing::RunInProcess(*folder_, command);
    folder_->Write("out/" + file, text);
    return result;
  }
  static void ExpectRefused(const ProcessResult& result, int code, const std::vector<std::string>& parts) {
    EXPECT_EQ(result.code, code) << result.err;
    for (const std::string& part : parts) EXPECT_NE(result.err.find(part), std::string::npos) << result.err << "lacks: " << part;
  }

  static TestFolder* folder_;
};
TestFolder* CliResume::folder_ = nullptr;

TEST_F(CliResume, RefusesAConfigurationThatTheRunWasNotStartedWith) {
  const std::string config = "out/config.yaml";
  ExpectRefused(With("config.yaml", "lr: 0.01", "lr: 0.5"), 3, {config, "train.lr is 0.5 and was 0.01"});
  ExpectRefused(With("config.yaml", "rounds: 2", "rounds: 3"), 3, {config, "train.rounds is 3 and was 2"});
  ExpectRefused(With("config.yaml", "name: site-1", "name: other"), 3, {config, "name is other and was site-1"});
  ExpectRefused(With("config.yaml", "test_0.jsonl: ", "test_0.jsonl: 0000"), 3, {"64 lower-case hexadecimal digits"});
  // What uses a finished run reads the same file.
  for (const char* command : {"eval", "generate"}) {
    std::vector<std::string> line = {command, "out", "--site", "site-0"};
    if (std::string(command) == "generate") line.insert(line.end(), {"--prompt", "x"});
    ExpectRefused(With("config.yaml", "lora_alpha: 32", "lora_alpha: 64", line), 3, {"adapter.lora_alpha is 64 and was 32"});
  }
}

TEST_F(CliResume, RefusesWhenASiteIsLeftOut) {
  const std::string text = Slurp(folder_->path() / "out/config.yaml");
  const size_t begin = text.find("  - {name: site-1");
  ExpectRefused(With("config.yaml", text.substr(begin, text.find('\n', begin) + 1 - begin), ""), 3, {"out/config.yaml"});
}

TEST_F(CliResume, TakesWhatOnlyTheMachineIsToldBy) {
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"threads: 1", "threads: 2"},
                                                                                 {"device: auto", "device: cpu"},
                                                                                 {"sites_at_once: auto", "sites_at_once: 2"},
                                                                                 {"rounds: last 2 and best", "rounds: all"},
                                                                                 {"# Resolved", "# My own words: resolved"}}) {
    const ProcessResult result = With("config.yaml", from, to);
    EXPECT_EQ(result.code, 0) << result.err;
  }
}

TEST_F(CliResume, KnowsWhetherItsOwnCopyIsWhole) {
  ExpectRefused(With("started.yaml", "lr: 0.01", "lr: 0.5"), 6, {"started.yaml", "was changed"});
  fs::rename(folder_->path() / "out/started.yaml", folder_->path() / "elsewhere.yaml");
  const ProcessResult without = testing::RunInProcess(*folder_, {"run", "--resume", "out", "--quiet"});
  fs::rename(folder_->path() / "elsewhere.yaml", folder_->path() / "out/started.yaml");
  EXPECT_EQ(without.code, 0) << without.err;
  EXPECT_NE(without.err.find("started.yaml is missing"), std::string::npos) << without.err;
}

TEST_F(CliResume, TheLogSaysThatARunWasStoppedAndHowToGoOn) {
  const auto stop = [&](const std::vector<std::string>& line, const std::string& words) {
    testing::FedaltInStep run(*folder_, line);
    EXPECT_TRUE(run.ReadUntil(words)) << run.messages();
    EXPECT_EQ(WEXITSTATUS(run.End(SIGINT)), 130) << run.messages();
    return Slurp(folder_->path() / "long/log.txt");
  };
  const std::string first = stop({"run", "config.yaml", "train.rounds=5000", "eval.every=0", "--out", "long"}, "run in ");
  EXPECT_NE(first.find(" warning "), std::string::npos) << first;
  EXPECT_NE(first.find("nothing is lost, go on with: fedalt run --resume "), std::string::npos) << first;
  const std::string second = stop({"run", "--resume", "long"}, "resumed in ");
  EXPECT_TRUE(second.starts_with(first));
  EXPECT_NE(second.find("resumed in ", first.size()), std::string::npos) << second;
  EXPECT_NE(second.find("--resume ", first.size()), std::string::npos) << second;
  EXPECT_NE(Slurp(folder_->path() / "out/log.txt").find("finished"), std::string::npos);
}

}  // namespace
}  // namespace fedalt
