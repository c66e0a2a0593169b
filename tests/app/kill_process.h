// Ends the real program in the middle of its work: after a number of changes below a directory, or at a message.
#pragma once

#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <map>
#include <thread>

#include "app/cli_process.h"

namespace fedalt::testing {

/// fedalt ARGUMENTS in `folder`, in the background; its messages go to `messages`, or else to kill-err.txt there.
inline pid_t StartFedalt(const TestFolder& folder, const std::vector<std::string>& arguments, int messages = -1) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  std::vector<char*> argv = {const_cast<char*>("fedalt")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit of a file's size fails, as on a full disk
  if (::chdir(folder.path().c_str()) == 0 && std::freopen("kill-out.txt", "w", stdout) != nullptr &&
      (messages < 0 ? std::freopen("kill-err.txt", "w", stderr) != nullptr : ::dup2(messages, STDERR_FILENO) >= 0))
    ::execv(FEDALT_PROGRAM, argv.data());
  ::_exit(99);
}

/// A fedalt in the background that cannot run ahead of who reads its messages by more than a few of them: the socket that takes
/// them holds no more. So a signal sent at a message meets it there, however busy the machine is.
class FedaltInStep {
 public:
  FedaltInStep(const TestFolder& folder, const std::vector<std::string>& arguments) {
    std::array<int, 2> ends{};
    const int least = 1;  // bytes; the kernel makes it the smallest that it has
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    EXPECT_EQ(::setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
    messages_ = ends[0];
    child_ = StartFedalt(folder, arguments, ends[1]);
    ::close(ends[1]);
  }
  ~FedaltInStep() {
    if (child_ > 0) End(SIGKILL);
    ::close(messages_);
  }
  FedaltInStep(const FedaltInStep&) = delete;
  FedaltInStep& operator=(const FedaltInStep&) = delete;

  /// Reads its messages until `words` came; false if it ended before.
  bool ReadUntil(const std::string& words) {
    while (!read_.ends_with(words))
      if (!ReadOne()) return false;
    return true;
  }
  /// Reads its next message; false if it ended before.
  bool ReadMessage() {
    do {
      if (!ReadOne()) return false;
    } while (read_.back() != '\n');
    return true;
  }
  /// Reads on in the background, so that it goes on by itself. messages() is for after its end then.
  void ReadOn() {
    if (reader_.joinable()) return;
    reader_ = std::thread([this] {
      while (ReadOne()) {
      }
    });
  }
  /// Sends `signal` and does not wait.
  void Signal(int signal) const { ::kill(child_, signal); }
  /// From now on no file of the process can grow beyond `bytes`.
  void LimitFiles(rlim_t bytes) const {
    rlimit limit{};
    EXPECT_EQ(::prlimit(child_, RLIMIT_FSIZE, nullptr, &limit), 0);
    limit.rlim_cur = std::min(bytes, limit.rlim_max);
    EXPECT_EQ(::prlimit(child_, RLIMIT_FSIZE, &limit, nullptr), 0);
  }
  /// Sends `signal`, reads what it still has to say, and waits for its end. Its wait status.
  int End(int signal) {
    ::kill(child_, signal);
    return Wait();
  }
  int Wait() {
    ReadOn();
    reader_.join();
    int status = 0;
    EXPECT_EQ(::waitpid(child_, &status, 0), child_);
    child_ = -1;
    return status;
  }
  const std::string& messages() const { return read_; }

 private:
  bool ReadOne() {
    char next = 0;
    if (::read(messages_, &next, 1) != 1) return false;
    read_ += next;
    return true;
  }

  int messages_ = -1;
  pid_t child_ = -1;
  std::string read_;
  std::thread reader_;
};

/// Counts changes in a directory and, if wanted, in those that are there or are made below it while it is watched.
class ChangeWatch {
 public:
  ChangeWatch(const std::filesystem::path& root, bool below) : watch_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)), below_(below) {
    Add(root);
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
  /// Watches a directory and, if wanted, those that are in it already. How many files were.
  int Add(const std::filesystem::path& directory) {
    const int id = ::inotify_add_watch(watch_, directory.c_str(), IN_CREATE | IN_MODIFY | IN_MOVED_TO);
    if (id >= 0) directories_[id] = directory;
    int files = 0;
    std::error_code gone;
    if (below_)
      for (const auto& entry : std::filesystem::directory_iterator(directory, gone))
        files += entry.is_directory(gone) ? Add(entry.path()) : 1;
    return files;
  }
  int Read() {
    alignas(inotify_event) std::array<char, 4096> buffer{};
    const ssize_t bytes = ::read(watch_, buffer.data(), buffer.size());
    int seen = 0;
    for (ssize_t at = 0; at < bytes; ++seen) {
      const auto* event = reinterpret_cast<const inotify_event*>(&buffer[static_cast<size_t>(at)]);
      if (below_ && (event->mask & IN_ISDIR) != 0 && (event->mask & (IN_CREATE | IN_MOVED_TO)) != 0)
        seen += Add(directories_[event->wd] / event->name);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
    return seen;
  }

  int watch_;
  bool below_;
  std::map<int, std::filesystem::path> directories_;
};

}  // namespace fedalt::testing
