// One process at work in a directory: a lock on the directory itself, so that it ends with the process, however that ends.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/status.h"

namespace fedalt {

/// Held until destruction. Used by one thread.
class DirectoryLock {
 public:
  /// Takes the lock without waiting. `what` the directory is, for the error: "run". Errors: kOutput (it cannot be opened), kUsage
  /// (another process has it).
  static StatusOr<DirectoryLock> Take(const std::filesystem::path& directory, std::string_view what);
  /// Whether some process has it. Takes nothing, so it is in nobody's way. Errors: kOutput (it cannot be opened).
  static StatusOr<bool> IsTaken(const std::filesystem::path& directory);
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&&) = delete;
  ~DirectoryLock();

 private:
  explicit DirectoryLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace fedalt
