#include "base/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace fedalt {
namespace {

StatusOr<int> OpenDirectory(const std::filesystem::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) return descriptor;
  return OutputError(absl::StrCat(directory.string(), ": cannot be opened (", std::string(std::strerror(errno)), ")"));
}

/// The lock that a look sees, on the whole directory; flock tells nothing without taking.
struct flock Mark(short type) {
  struct flock mark {};
  mark.l_type = type;
  mark.l_whence = SEEK_SET;
  return mark;
}

}  // namespace

StatusOr<DirectoryLock> DirectoryLock::Take(const std::filesystem::path& directory, std::string_view what) {
  ASSIGN_OR_RETURN(const int descriptor, OpenDirectory(directory));
  DirectoryLock lock(descriptor);
  struct flock mark = Mark(F_RDLCK);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
    ::fcntl(descriptor, F_OFD_SETLK, &mark);  // where this cannot be, only IsTaken does not know of it
    return lock;
  }
  return UsageError(absl::StrCat(directory.string(), ": another fedalt is at work in this ", std::string(what),
                                 "; wait for it, or stop it first"));
}

StatusOr<bool> DirectoryLock::IsTaken(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(const int descriptor, OpenDirectory(directory));
  const DirectoryLock closes(descriptor);
  struct flock mark = Mark(F_WRLCK);
  return ::fcntl(descriptor, F_OFD_GETLK, &mark) == 0 && mark.l_type != F_UNLCK;
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

DirectoryLock::~DirectoryLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace fedalt
