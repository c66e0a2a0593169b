#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/private_file.h"

namespace fedalt {
namespace {

std::string Reason() {
  return std::strerror(errno);
}

constexpr mode_t kOwnerOnly = 0600;

thread_local int sync_together = 0;  // living SyncTogether objects of this thread

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int Close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

Status WriteAll(int fd, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0) {
      if (errno == EINTR) continue;
      return OutputError(absl::StrCat(path.string(), ": cannot be written (", Reason(), "); free space or choose another place"));
    }
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

Status WriteAtomic(const std::filesystem::path& path, mode_t mode, const std::function<Status(const AppendBytes&)>& produce) {
  const std::string temporary = absl::StrCat(path.string(), ".part-", ::getpid());
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (file.get() < 0)
    return OutputError(
        absl::StrCat(path.string(), ": cannot be created (", Reason(), "); check the directory and its permissions"));
  // A file that a killed process left under this name keeps its mode when it is opened.
  Status status = mode == kOwnerOnly && ::fchmod(file.get(), mode) != 0
                      ? OutputError(absl::StrCat(path.string(), ": cannot be kept from other users (", Reason(), ")"))
                      : absl::OkStatus();
  if (status.ok()) status = produce([&](std::string_view bytes) { return WriteAll(file.get(), bytes, path); });
  if (status.ok() && sync_together == 0 && ::fsync(file.get()) != 0)
    status = OutputError(absl::StrCat(path.string(), ": cannot be synced (", Reason(), ")"));
  if (status.ok() && file.Close() != 0) status = OutputError(absl::StrCat(path.string(), ": cannot be closed (", Reason(), ")"));
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0)
    status = OutputError(absl::StrCat(path.string(), ": cannot be put in place (", Reason(), ")"));
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  if (sync_together > 0) return absl::OkStatus();
  return SyncDirectory(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace

StatusOr<std::string> ReadFile(const std::filesystem::path& path, ErrorKind kind, size_t limit_bytes) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return MakeError(kind, absl::StrCat(path.string(), ": cannot be opened (", Reason(), ")"));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return MakeError(kind, absl::StrCat(path.string(), ": is not a regular file"));
  if (static_cast<size_t>(info.st_size) > limit_bytes)
    return MakeError(kind, absl::StrCat(path.string(), ": is ", info.st_size, " bytes, at most ", limit_bytes, " are accepted"));
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return MakeError(kind, absl::StrCat(path.string(), ": read error (", Reason(), ")"));
    if (count == 0) break;  // the file became shorter while it was read
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

Status WriteFileAtomic(const std::filesystem::path& path, const std::function<Status(const AppendBytes&)>& produce) {
  return WriteAtomic(path, 0644, produce);
}

Status WriteFileAtomic(const std::filesystem::path& path, std::string_view bytes) {
  return WriteFileAtomic(path, [bytes](const AppendBytes& append) { return append(bytes); });
}

Status WritePrivateFileAtomic(const std::filesystem::path& path, std::string_view bytes) {
  return WriteAtomic(path, kOwnerOnly, [bytes](const AppendBytes& append) { return append(bytes); });
}

StatusOr<std::string> ReadPrivateFile(const std::filesystem::path& path, size_t limit_bytes) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & (S_IWGRP | S_IRWXO)) != 0)
    return ConfigError(absl::StrFormat("%s: holds a secret, but its mode %04o gives it to other users; expected 0600: chmod 600 %s",
                                       path.string(), info.st_mode & 07777, path.string()));
  return ReadFile(path, ErrorKind::kConfig, limit_bytes);
}

SyncTogether::SyncTogether() {
  ++sync_together;
}

SyncTogether::~SyncTogether() {
  --sync_together;
}

Status SyncTogether::Commit(const std::filesystem::path& directory) {
  Descriptor handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.get() < 0 || ::syncfs(handle.get()) != 0)
    return OutputError(absl::StrCat(directory.string(), ": cannot be synced (", Reason(), ")"));
  return absl::OkStatus();
}

Status AppendToFile(const std::filesystem::path& path, std::string_view bytes) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file.get() < 0) return OutputError(absl::StrCat(path.string(), ": cannot be opened for appending (", Reason(), ")"));
  RETURN_IF_ERROR(WriteAll(file.get(), bytes, path));
  if (sync_together == 0 && ::fdatasync(file.get()) != 0)
    return OutputError(absl::StrCat(path.string(), ": cannot be synced (", Reason(), ")"));
  return absl::OkStatus();
}

Status AppendLine(const std::filesystem::path& path, std::string_view line) {
  return AppendToFile(path, absl::StrCat(std::string(line), "\n"));
}

Status MakeDirectories(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error || !std::filesystem::is_directory(path))
    return OutputError(
        absl::StrCat(path.string(), ": directory cannot be made (", error ? error.message() : "a file is in the way", ")"));
  return absl::OkStatus();
}

Status CheckNewOrEmpty(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error)) && (!fs::is_directory(path, error) || !fs::is_empty(path, error) || error))
    return OutputError(absl::StrCat(path.string(), " exists and is not an empty directory; choose another --out"));
  return absl::OkStatus();
}

Status WriteDirectoryAtomic(const std::filesystem::path& path, const std::function<Status(const std::filesystem::path&)>& fill) {
  namespace fs = std::filesystem;
  RETURN_IF_ERROR(CheckNewOrEmpty(path));
  std::error_code error;
  fs::path place = fs::absolute(path, error).lexically_normal();
  if (!place.has_filename()) place = place.parent_path();  // "out/"
  const fs::path temporary = absl::StrCat(place.string(), ".part-", ::getpid());
  fs::remove_all(temporary, error);
  Status status = MakeDirectories(temporary);
  if (status.ok()) {
    SyncTogether together;
    status = fill(temporary);
    if (status.ok()) status = together.Commit(temporary);
  }
  if (status.ok()) {
    fs::rename(temporary, place, error);
    if (error) status = OutputError(absl::StrCat(path.string(), ": cannot be put in place (", error.message(), ")"));
  }
  if (status.ok()) return SyncDirectory(place.parent_path());
  fs::remove_all(temporary, error);
  return status;
}

Status SyncDirectory(const std::filesystem::path& directory) {
  Descriptor handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.get() < 0 || ::fsync(handle.get()) != 0)
    return OutputError(absl::StrCat(directory.string(), ": directory cannot be synced (", Reason(), ")"));
  return absl::OkStatus();
}

StatusOr<std::shared_ptr<MappedFile>> MappedFile::Open(const std::filesystem::path& path, ErrorKind kind) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return MakeError(kind, absl::StrCat(path.string(), ": cannot be opened (", Reason(), ")"));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return MakeError(kind, absl::StrCat(path.string(), ": is not a regular file"));
  std::shared_ptr<MappedFile> mapped(new MappedFile);
  mapped->path_ = path;
  mapped->size_ = static_cast<size_t>(info.st_size);
  if (mapped->size_ > 0) {
    void* address = ::mmap(nullptr, mapped->size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (address == MAP_FAILED) return MakeError(kind, absl::StrCat(path.string(), ": cannot be mapped (", Reason(), ")"));
    mapped->data_ = static_cast<const std::byte*>(address);
  }
  return mapped;
}

void MappedFile::DropPages() const {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);  // of a file: nothing is lost
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace fedalt
