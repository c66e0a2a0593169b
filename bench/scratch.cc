#include "scratch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace fedalt::bench {
namespace {

std::filesystem::path& Given() {
  static std::filesystem::path path;
  return path;
}

void RemoveAll(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) std::fprintf(stderr, "fedalt_bench: %s could not be removed: %s\n", path.c_str(), error.message().c_str());
}

/// What the watching process does: neither Ctrl-C nor the end of the terminal reaches it.
[[noreturn]] void WatchOver(const std::filesystem::path& path, int alive) {
  ::setsid();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_IGN);
  char nothing = 0;
  while (::read(alive, &nothing, 1) < 0 && errno == EINTR) continue;
  std::error_code error;
  constexpr int kTries = 20;  // a process of a figure may still be writing; it is killed with its parent
  for (int i = 0; i < kTries && std::filesystem::exists(path, error); ++i) {
    std::filesystem::remove_all(path, error);
    ::usleep(100'000);
  }
  ::_exit(0);
}

}  // namespace

StatusOr<ScratchDirectory> ScratchDirectory::Make(const std::filesystem::path& parent) {
  std::error_code error;
  std::string name = (std::filesystem::absolute(parent, error) / "fedalt-bench-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr)
    return OutputError(absl::StrCat(parent.string(), ": no directory can be made in it (", std::strerror(errno), ")"));
  ScratchDirectory scratch;
  scratch.path_ = name;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return OutputError(absl::StrCat("there is no pipe: ", std::strerror(errno)));
  scratch.watcher_ = ::fork();
  if (scratch.watcher_ == 0) {
    ::close(ends[1]);
    WatchOver(scratch.path_, ends[0]);
  }
  ::close(ends[0]);
  scratch.watched_ = ends[1];
  return scratch;
}

ScratchDirectory::~ScratchDirectory() {
  if (path_.empty()) return;
  RemoveAll(path_);
  if (watched_ >= 0) ::close(watched_);
  if (watcher_ > 0) ::waitpid(watcher_, nullptr, 0);
}

const std::filesystem::path& Scratch() {
  return Given();
}
void SetScratch(const std::filesystem::path& path) {
  Given() = path;
}

}  // namespace fedalt::bench
