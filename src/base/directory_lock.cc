#include "base/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace fedalt {

StatusOr<DirectoryLock> DirectoryLock::Take(const std::filesystem::path& directory, std::string_view what) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    return OutputError(absl::StrCat(directory.string(), ": cannot be opened (", std::string(std::strerror(errno)), ")"));
  DirectoryLock lock(descriptor);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return lock;
  return UsageError(absl::StrCat(directory.string(), ": another fedalt is at work in this ", std::string(what),
                                 "; wait for it, or stop it first"));
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

DirectoryLock::~DirectoryLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace fedalt
