// label: slow
// kill -9 of the real program: after each of many events in its run directory it is killed, resumed, and must end with the same
// bits.
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/kill_process.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::ChangeWatch;
using testing::Slurp;
using testing::StartFedalt;
using testing::TestFolder;

/// Everything of a run that does not depend on the clock.
std::map<std::string, std::string> Fingerprint(const fs::path& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string name = fs::relative(entry.path(), root).string();
    if (name.find(".part-") != name.npos) continue;  // what the killed process was writing; nothing reads it
    if (entry.is_regular_file() && (entry.path().extension() == ".safetensors" || name.starts_with("predictions")))
      files[name] = Slurp(entry.path());
  }
  std::istringstream lines(Slurp(root / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    auto json = nlohmann::ordered_json::parse(line, nullptr, false);
    json.erase("tokens_per_s");
    files["metrics.jsonl"] += json.dump() + "\n";
  }
  return files;
}

/// Names of what differs between two runs; empty if nothing does.
std::string Difference(const std::map<std::string, std::string>& a, const std::map<std::string, std::string>& b) {
  std::string names;
  for (const auto& [name, content] : a)
    if (const auto other = b.find(name); other == b.end() || other->second != content) names += name + " ";
  for (const auto& [name, content] : b)
    if (!a.contains(name)) names += "(new) " + name + " ";
  return names;
}

TEST(Kill9, AtAnyMomentTheResumedRunEndsWithTheSameBits) {
  TestFolder folder;
  testing::WriteTinyRun(folder);
  const std::vector<std::string> options = {"train.rounds=4", "keep={rounds: all}", "rest_of_world.damping=0.5",
                                            "participation=0.5"};
  const auto run = [&](const std::string& out) {
    std::vector<std::string> arguments = {"run", "config.yaml", "--out", out, "--quiet"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return arguments;
  };
  ASSERT_EQ(testing::RunFedalt(folder, run("undisturbed")).code, 0);
  const auto expected = Fingerprint(folder.path() / "undisturbed");
  ASSERT_GT(expected.size(), 20u);
  int killed = 0;
  for (int events = 1; events <= 61; events += 4) {
    const std::string name = "killed-" + std::to_string(events);
    const fs::path out = folder.path() / name;
    fs::create_directories(out);
    ChangeWatch watch(out, /*below=*/false);
    killed += WIFSIGNALED(watch.SignalAfter(StartFedalt(folder, run(name)), events, SIGKILL)) ? 1 : 0;
    if (fs::exists(out / "config.yaml")) {
      // A second death, while it resumes.
      ChangeWatch again(out, /*below=*/false);
      again.SignalAfter(StartFedalt(folder, {"run", "--resume", name, "--quiet"}), 5, SIGKILL);
      const auto resumed = testing::RunFedalt(folder, {"run", "--resume", name, "--quiet"});
      ASSERT_EQ(resumed.code, 0) << resumed.err;
    } else {
      fs::remove_all(out);  // it died before anything was written: it starts anew
      ASSERT_EQ(testing::RunFedalt(folder, run(name)).code, 0);
    }
    EXPECT_EQ(Difference(expected, Fingerprint(out)), "") << "killed after " << events << " events";
  }
  EXPECT_GT(killed, 8);
}

}  // namespace
}  // namespace fedalt
