// Files that figures make for themselves: one directory for all processes of one invocation of fedalt_bench, so that a model that
// several figures and repeats need is written once.
#pragma once

#include <filesystem>

#include "base/status.h"

namespace fedalt::bench {

/// The invocation's directory: made below `parent`, removed with everything in it by the destructor.
class ScratchDirectory {
 public:
  static StatusOr<ScratchDirectory> Make(const std::filesystem::path& parent);
  ~ScratchDirectory();
  ScratchDirectory(ScratchDirectory&& other) noexcept { path_.swap(other.path_); }
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  ScratchDirectory() = default;
  std::filesystem::path path_;
};

/// In the process of a figure: the directory that it was given.
const std::filesystem::path& Scratch();
void SetScratch(const std::filesystem::path& path);

}  // namespace fedalt::bench
