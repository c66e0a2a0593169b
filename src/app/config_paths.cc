#include "app/config_paths.h"

#include <absl/strings/str_replace.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>
#include <vector>

#include "adapter/peft_directory.h"
#include "model/model_directory.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// Where a user's files are ("": of this process's user); empty if that is not known.
std::string HomeOf(const std::string& user) {
  if (const char* home = std::getenv("HOME"); user.empty() && home != nullptr && *home != '\0') return home;
  constexpr size_t kRoom = 1 << 14;
  std::string room(kRoom, '\0');
  passwd entry{}, *found = nullptr;
  const int error = user.empty() ? ::getpwuid_r(::getuid(), &entry, room.data(), room.size(), &found)
                                 : ::getpwnam_r(user.c_str(), &entry, room.data(), room.size(), &found);
  return error == 0 && found != nullptr ? found->pw_dir : "";
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

/// "org/name", as the Hugging Face hub calls a model.
bool IsHubName(const std::string& text) {
  return std::count(text.begin(), text.end(), '/') == 1 && text.front() != '.' && text.front() != '~' && text.front() != '/' &&
         text.back() != '/';
}

}  // namespace

std::string ExpandHome(const std::string& text) {
  if (!text.starts_with('~')) return text;
  const size_t end = std::min(text.find('/'), text.size());
  const std::string home = HomeOf(text.substr(1, end - 1));
  return home.empty() ? text : home + text.substr(end);
}

std::string FillSite(const std::string& pattern, int64_t site) {
  return absl::StrReplaceAll(pattern, {{"{site}", absl::StrCat(site)}});
}

StatusOr<fs::path> FindInput(const fs::path& folder, const std::string& text, InputKind kind, const std::string& what,
                             ErrorKind error_kind) {
  const std::vector<fs::path> candidates = Candidates(folder, text);
  for (const fs::path& candidate : candidates) {
    if (Exists(candidate, kind)) return candidate;
  }
  if (kind == InputKind::kDirectory && error_kind == ErrorKind::kModel)
    for (const fs::path& candidate : candidates) {
      std::error_code error;
      if (fs::is_regular_file(candidate, error)) return Annotate(CheckModelDirectory(candidate), absl::StrCat("the ", what));
    }
  std::string looked = candidates.front().string();
  for (size_t i = 1; i < candidates.size(); ++i) absl::StrAppend(&looked, " and ", candidates[i].string());
  return MakeError(error_kind, absl::StrCat("the ", what, " was not found: \"", text, "\" (looked at ", looked, "; a ",
                                            kind == InputKind::kFile ? "file" : "directory", " was expected there)",
                                            IsHubName(text) && error_kind == ErrorKind::kModel
                                                ? "; if it is a name on a hub: nothing is downloaded, fetch it first"
                                                : ""));
}

StatusOr<fs::path> FindPattern(const fs::path& folder, const std::string& pattern, size_t sites) {
  const std::string what = "initial adapter (adapter.init_from)";
  for (const fs::path& candidate : Candidates(folder, pattern)) {
    bool all = true;
    for (size_t i = 0; i < sites && all; ++i)
      all = Exists(FillSite(candidate.string(), static_cast<int64_t>(i)), InputKind::kDirectory);
    if (!all) continue;
    for (size_t i = 0; i < sites; ++i)
      RETURN_IF_ERROR(
          Annotate(CheckPeftDirectory(FillSite(candidate.string(), static_cast<int64_t>(i))), absl::StrCat("the ", what)));
    return candidate;
  }
  for (const fs::path& candidate : Candidates(folder, pattern)) {
    std::error_code error;
    if (fs::is_regular_file(candidate, error)) return Annotate(CheckPeftDirectory(candidate), absl::StrCat("the ", what));
  }
  for (size_t i = 0; i < sites; ++i) {  // name the first one that is missing
    ASSIGN_OR_RETURN(const fs::path found,
                     FindInput(folder, FillSite(pattern, static_cast<int64_t>(i)), InputKind::kDirectory, what, ErrorKind::kModel));
  }
  return ModelError(
      absl::StrCat("the ", what, " was not found as a whole: the directories of \"", pattern, "\" lie in different places"));
}

}  // namespace fedalt
