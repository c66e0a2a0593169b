#include "app/config_paths.h"

#include <absl/strings/str_replace.h>

#include <cstdlib>
#include <system_error>
#include <vector>

namespace fedalt {
namespace {

namespace fs = std::filesystem;

fs::path ExpandHome(const std::string& text) {
  if (const char* home = std::getenv("HOME"); home != nullptr && text.starts_with("~/")) return fs::path(home) / text.substr(2);
  return text;
}

// Places where `text` may lie, best first.
std::vector<fs::path> Candidates(const fs::path& folder, const std::string& text) {
  const fs::path path = ExpandHome(text);
  if (path.is_absolute()) return {path.lexically_normal()};
  std::error_code error;
  const fs::path in_folder = (fs::absolute(folder, error) / path).lexically_normal();
  const fs::path in_working_directory = fs::absolute(path, error).lexically_normal();
  if (in_folder == in_working_directory) return {in_folder};
  return {in_folder, in_working_directory};
}

bool Exists(const fs::path& path, InputKind kind) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error || !fs::exists(status)) return false;
  return fs::is_directory(status) == (kind == InputKind::kDirectory);
}

}  // namespace

std::string FillSite(const std::string& pattern, int64_t site) {
  return absl::StrReplaceAll(pattern, {{"{site}", absl::StrCat(site)}});
}

StatusOr<fs::path> FindInput(const fs::path& folder, const std::string& text, InputKind kind, const std::string& what,
                             ErrorKind error_kind) {
  const std::vector<fs::path> candidates = Candidates(folder, text);
  for (const fs::path& candidate : candidates) {
    if (Exists(candidate, kind)) return candidate;
  }
  std::string looked = candidates.front().string();
  for (size_t i = 1; i < candidates.size(); ++i) absl::StrAppend(&looked, " and ", candidates[i].string());
  return MakeError(error_kind, absl::StrCat("the ", what, " was not found: \"", text, "\" (looked at ", looked, "; a ",
                                            kind == InputKind::kFile ? "file" : "directory", " was expected there)"));
}

StatusOr<fs::path> FindPattern(const fs::path& folder, const std::string& pattern, size_t sites) {
  const std::string what = "initial adapter (adapter.init_from)";
  for (const fs::path& candidate : Candidates(folder, pattern)) {
    bool all = true;
    for (size_t i = 0; i < sites && all; ++i)
      all = Exists(FillSite(candidate.string(), static_cast<int64_t>(i)), InputKind::kDirectory);
    if (all) return candidate;
  }
  for (size_t i = 0; i < sites; ++i) {  // name the first one that is missing
    ASSIGN_OR_RETURN(const fs::path found,
                     FindInput(folder, FillSite(pattern, static_cast<int64_t>(i)), InputKind::kDirectory, what, ErrorKind::kModel));
  }
  return ModelError(
      absl::StrCat("the ", what, " was not found as a whole: the directories of \"", pattern, "\" lie in different places"));
}

}  // namespace fedalt
