// Ends the real program in the middle of its work: after a number of changes below a directory.
#pragma once

#include <poll.h>
#include <sys/inotify.h>

#include <array>
#include <map>

#include "app/cli_process.h"

namespace fedalt::testing {

/// fedalt ARGUMENTS in `folder`, in the background; its messages go to kill-err.txt there.
inline pid_t StartFedalt(const TestFolder& folder, const std::vector<std::string>& arguments) {
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

/// Counts changes in a directory and, if wanted, in those that are there or are made below it while it is watched.
class ChangeWatch {
 public:
  ChangeWatch(const std::filesystem::path& root, bool below) : watch_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)), below_(below) {
    Add(root);
    if (!below) return;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
      if (entry.is_directory()) Add(entry.path());
  }
  ~ChangeWatch() { ::close(watch_); }
  ChangeWatch(const ChangeWatch&) = delete;
  ChangeWatch& operator=(const ChangeWatch&) = delete;

  /// Sends `signal` to `child` as soon as `events` changes were seen, or it has ended. Its wait status.
  int SignalAfter(pid_t child, int events, int signal) {
    for (int seen = 0; seen < events;) {
      pollfd ready{watch_, POLLIN, 0};
      if (::poll(&ready, 1, 50) > 0) {
        seen += Read();
      } else if (siginfo_t info{};
                 ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child) {
        break;
      }
    }
    ::kill(child, signal);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }

 private:
  void Add(const std::filesystem::path& directory) {
    const int id = ::inotify_add_watch(watch_, directory.c_str(), IN_CREATE | IN_MODIFY | IN_MOVED_TO);
    if (id >= 0) directories_[id] = directory;
  }
  int Read() {
    alignas(inotify_event) std::array<char, 4096> buffer{};
    const ssize_t bytes = ::read(watch_, buffer.data(), buffer.size());
    int seen = 0;
    for (ssize_t at = 0; at < bytes; ++seen) {
      const auto* event = reinterpret_cast<const inotify_event*>(&buffer[static_cast<size_t>(at)]);
      if (below_ && (event->mask & IN_ISDIR) != 0 && (event->mask & (IN_CREATE | IN_MOVED_TO)) != 0)
        Add(directories_[event->wd] / event->name);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
    return seen;
  }

  int watch_;
  bool below_;
  std::map<int, std::filesystem::path> directories_;
};

}  // namespace fedalt::testing
