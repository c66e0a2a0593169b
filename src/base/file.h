// Files: whole reads with a limit, atomic writes, memory maps. Every failure names the path and the reason.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

/// The whole file as bytes. `kind`: how a failure is reported (model file, data file, ...). Refuses more than `limit_bytes`.
StatusOr<std::string> ReadFile(const std::filesystem::path& path, ErrorKind kind, size_t limit_bytes = size_t{1} << 32);

/// Writes to a temporary name beside `path`, syncs, renames: after a crash there is the old file or the new one, never a part.
/// An error is of kind kOutput and leaves no temporary file.
Status WriteFileAtomic(const std::filesystem::path& path, std::string_view bytes);

/// The same for content that is produced in pieces: `produce` is called once with a function that appends bytes.
using AppendBytes = std::function<Status(std::string_view)>;
Status WriteFileAtomic(const std::filesystem::path& path, const std::function<Status(const AppendBytes&)>& produce);

/// While one lives, WriteFileAtomic and AppendToFile on this thread do not wait for the disk; Commit makes everything durable at
/// once. For many small files, such as those of one checkpoint, which is renamed into place as a whole.
class SyncTogether {
 public:
  SyncTogether();
  ~SyncTogether();
  SyncTogether(const SyncTogether&) = delete;
  SyncTogether& operator=(const SyncTogether&) = delete;
  /// Everything written so far below `directory` (and the rest of its file system) is on disk. Errors: kOutput.
  Status Commit(const std::filesystem::path& directory);
};

/// Appends bytes and syncs them to disk. Creates the file if needed. Errors: kOutput; a part may have been written.
Status AppendToFile(const std::filesystem::path& path, std::string_view bytes);
/// The same for one line (journals, metrics); adds its end.
Status AppendLine(const std::filesystem::path& path, std::string_view line);

/// mkdir -p with a clear error of kind kOutput.
Status MakeDirectories(const std::filesystem::path& path);

/// OK if `path` is free or an empty directory; else an error of kind kOutput that asks for another --out.
Status CheckNewOrEmpty(const std::filesystem::path& path);

/// A directory that is there as a whole or not at all: `fill` writes into a temporary one beside it, which is then synced and
/// renamed. `path` must be free or an empty directory. Errors: those of `fill`, kOutput; nothing is left behind.
Status WriteDirectoryAtomic(const std::filesystem::path& path, const std::function<Status(const std::filesystem::path&)>& fill);

/// Makes a rename or a new entry in this directory durable.
Status SyncDirectory(const std::filesystem::path& directory);

/// A read-only, private memory map of a whole file. Shared ownership keeps the map alive while tensors point into it.
class MappedFile {
 public:
  static StatusOr<std::shared_ptr<MappedFile>> Open(const std::filesystem::path& path, ErrorKind kind);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  /// Gives back the memory of what was read so far; it is read again where it is needed.
  void DropPages() const;
  const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace fedalt
