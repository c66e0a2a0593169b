#include "run/run_directory.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "base/hash.h"

namespace fedalt {

namespace {

/// Whether `entry` is what a start that ended before config.yaml stood leaves behind: there is no run in such a directory.
bool LeftByFailedStart(const std::filesystem::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  return name.starts_with("environment.json") || name.starts_with("started.yaml") || name.starts_with("config.yaml.part-");
}

}  // namespace

Status RunDirectory::CheckUnused(const std::filesystem::path& root) {
  std::error_code error;
  if (!std::filesystem::exists(root, error)) return absl::OkStatus();
  if (!std::filesystem::is_directory(root, error))
    return OutputError(absl::StrCat(root.string(), ": is a file, but a run needs a directory; choose another --out"));
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    if (!LeftByFailedStart(entry))
      return OutputError(absl::StrCat(
          root.string(), ": is not empty; choose another --out, or go on with the run in it by --resume ", root.string()));
  }
  return absl::OkStatus();
}

StatusOr<RunDirectory> RunDirectory::Create(const std::filesystem::path& root) {
  RETURN_IF_ERROR(CheckUnused(root));
  RETURN_IF_ERROR(MakeDirectories(root));
  if (::access(root.c_str(), W_OK) != 0)
    return OutputError(
        absl::StrCat(root.string(), ": cannot be written (", std::string(std::strerror(errno)), "); choose another --out"));
  return RunDirectory(std::filesystem::absolute(root));
}

StatusOr<RunDirectory> RunDirectory::Open(const std::filesystem::path& root) {
  RunDirectory directory(std::filesystem::absolute(root));
  std::error_code error;
  if (!std::filesystem::is_regular_file(directory.config(), error))
    return UsageError(
        absl::StrCat(root.string(), ": is not a run directory (it has no config.yaml); give the directory that --out named"));
  return directory;
}

Status RunDirectory::Lock() {
  ASSIGN_OR_RETURN(DirectoryLock lock, DirectoryLock::Take(root_, "run"));
  lock_.emplace(std::move(lock));
  return absl::OkStatus();
}

std::string RunDirectory::StartedText(const std::string& config) {
  return absl::StrCat("# What this run was started with; do not change it. SHA-256 of all below: ", HexOf(Sha256(config)), "\n",
                      config);
}

bool RunDirectory::IsStarted(const std::string& text) {
  const size_t line = text.find('\n');
  return line != text.npos && text == StartedText(text.substr(line + 1));
}

std::filesystem::path RunDirectory::round(int64_t round) const {
  return rounds() / absl::StrFormat("%03d", round);
}

std::filesystem::path RunDirectory::predictions(int64_t round, const std::string& site) const {
  return root_ / "predictions" / absl::StrFormat("%03d", round) / (site + ".jsonl");
}

}  // namespace fedalt
