// label: slow
// kill -9 of the real program: after each of many events in its run directory it is killed, resumed, and must end with the same
// bits.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/cli_process.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::Slurp;
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

pid_t Start(const TestFolder& folder, const std::vector<std::string>& arguments) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  std::vector<char*> argv = {const_cast<char*>("fedalt")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  if (::chdir(folder.path().c_str()) == 0 && std::freopen("kill-out.txt", "w", stdout) != nullptr &&
      std::freopen("kill-err.txt", "w", stderr) != nullptr)
    ::execv(FEDALT_PROGRAM, argv.data());
  ::_exit(99);
}

/// Kills `child` as soon as `events` changes were seen in the directory. Whether it was still running then.
bool KillAfter(pid_t child, int watch, int events) {
  alignas(inotify_event) std::array<char, 4096> buffer{};
  int seen = 0;
  while (seen < events) {
    pollfd ready{watch, POLLIN, 0};
    if (::poll(&ready, 1, 50) > 0) {
      const ssize_t bytes = ::read(watch, buffer.data(), buffer.size());
      for (ssize_t at = 0; at < bytes; ++seen)
        at += static_cast<ssize_t>(sizeof(inotify_event) + reinterpret_cast<inotify_event*>(&buffer[static_cast<size_t>(at)])->len);
    } else if (siginfo_t info{};
               ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child) {
      break;
    }
  }
  ::kill(child, SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) != 0;
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
    const int watch = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    ASSERT_GE(::inotify_add_watch(watch, out.c_str(), IN_CREATE | IN_MODIFY | IN_MOVED_TO), 0);
    killed += KillAfter(Start(folder, run(name)), watch, events);
    ::close(watch);
    if (fs::exists(out / "config.yaml")) {
      // A second death, while it resumes.
      const int again = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
      ASSERT_GE(::inotify_add_watch(again, out.c_str(), IN_CREATE | IN_MODIFY | IN_MOVED_TO), 0);
      KillAfter(Start(folder, {"run", "--resume", name, "--quiet"}), again, 5);
      ::close(again);
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
