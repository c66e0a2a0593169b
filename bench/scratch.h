// Files that figures make for themselves: one directory for all processes of one invocation of fedalt_bench, so that a model that
// several figures and repeats need is written once.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <utility>

#include "base/status.h"

namespace fedalt::bench {

/// The invocation's directory: made below `parent`, removed with everything in it by the destructor, or by a process that watches
/// over it when this one ends in any other way.
class ScratchDirectory {
 public:
  /// Before the first thread.
  static StatusOr<ScratchDirectory> Make(const std::filesystem::path& parent);
  ~ScratchDirectory();
  ScratchDirectory(ScratchDirectory&& other) noexcept {
    path_.swap(other.path_);
    std::swap(watched_, other.watched_);
    std::swap(watcher_, other.watcher_);
  }
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  ScratchDirectory() = default;
  std::filesystem::path path_;
  int watched_ = -1;  // open as long as this process lives
  pid_t watcher_ = -1;
};

/// In the process of a figure: the directory that it was given.
const std::filesystem::path& Scratch();
void SetScratch(const std::filesystem::path& path);

}  // namespace fedalt::bench
