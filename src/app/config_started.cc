#include "app/config_started.h"

#include <absl/strings/str_split.h>

#include <algorithm>
#include <map>
#include <system_error>
#include <vector>

#include "app/config_fields.h"
#include "app/config_keys.h"
#include "base/file.h"
#include "base/log.h"
#include "run/run_directory.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

bool IsMachineSetting(const std::string& key) {
  return key == "threads" || key == "sites_at_once" || key == "device" || key == "keep.rounds";
}

std::string HashOf(const fs::path& file, const FileHashes& hashes) {
  const auto found = hashes.find(file.string());
  return found == hashes.end() ? "-" : found->second;
}

/// Everything that decides about the numbers of a run, one "key: value" a line. Of files their content counts, by its hash.
std::string Settled(const ParsedConfig& parsed) {
  const RunConfig& config = parsed.config;
  std::string lines;
  for (const ConfigKey& key : ConfigKeys()) {
    const std::string value = key.name == "adapter.init_from" ? (config.initial_adapter.empty() ? "" : "given") : key.write(config);
    if (!IsMachineSetting(key.name)) absl::StrAppend(&lines, key.name, ": ", value.empty() ? "-" : value, "\n");
  }
  for (size_t i = 0; i < config.sites.size(); ++i) {
    const SiteFiles& site = config.sites[i];
    const std::string place = absl::StrCat("sites[", i, "].");
    absl::StrAppend(&lines, place, "name: ", site.name, "\n", place, "r: ", site.r, "\n", place,
                    "fields: ", WriteFieldNames(site.fields), "\n");
    for (const auto& [what, file] : {std::pair{"train", site.train}, {"test", site.test}, {"validation", site.validation}})
      absl::StrAppend(&lines, place, what, ": ", file.empty() ? "-" : HashOf(file, parsed.hashes), "\n");
  }
  std::multimap<std::string, std::string> others;  // of the model and of adapters
  for (const auto& [file, hash] : parsed.hashes) {
    const bool is_data = std::any_of(config.sites.begin(), config.sites.end(), [&found = file](const SiteFiles& site) {
      return site.train == found || site.test == found || site.validation == found;
    });
    if (!is_data) others.emplace(fs::path(file).filename().string(), hash);
  }
  for (const auto& [name, hash] : others) absl::StrAppend(&lines, "hashes: ", name, " ", hash, "\n");
  return lines;
}

}  // namespace

std::string FirstDifference(const std::string& now, const std::string& then) {
  const std::vector<std::string> a = absl::StrSplit(now, '\n'), b = absl::StrSplit(then, '\n');
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string &in_a = i < a.size() ? a[i] : "", &in_b = i < b.size() ? b[i] : "";
    if (in_a == in_b) continue;
    const std::pair<std::string, std::string> is = absl::StrSplit(in_a, absl::MaxSplits(": ", 1));
    const std::pair<std::string, std::string> was = absl::StrSplit(in_b, absl::MaxSplits(": ", 1));
    if (is.first == was.first) return absl::StrCat(is.first, " is ", is.second, " and was ", was.second);
    return absl::StrCat(in_a.empty() ? "nothing" : "\"" + in_a + "\"", " stands where ",
                        in_b.empty() ? "nothing" : "\"" + in_b + "\"", " was");
  }
  return {};
}

Status CheckAsStarted(const fs::path& root, const ParsedConfig& now) {
  ASSIGN_OR_RETURN(const RunDirectory directory, RunDirectory::Open(root));
  const fs::path path = directory.started();
  std::error_code error;
  if (!fs::exists(path, error)) {
    LogWarning(absl::StrCat(path.string(), " is missing, so nobody can tell whether ", directory.config().filename().string(),
                            " is what this run was started with"));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kOutput));
  if (!RunDirectory::IsStarted(text))
    return OutputError(
        absl::StrCat(path.string(), ": was changed since the run started; put the old file back, or start a new run"));
  ASSIGN_OR_RETURN(const ParsedConfig then, ParseConfig(text, {}, {.name = path.string(), .folder = {}, .check_files = false}));
  const std::string difference = FirstDifference(Settled(now), Settled(then));
  if (difference.empty()) return absl::OkStatus();
  return ConfigError(
      absl::StrCat(directory.config().string(), ": ", difference,
                   " when the run started; put the old value back, or start a new run (fedalt run CONFIG.yaml --out DIR)"));
}

void TakeMachineSettings(const RunConfig& given, RunConfig& config) {
  config.threads = given.threads;
  config.device = given.device;
  config.sites_at_once_auto = given.sites_at_once_auto;
  config.federation.sites_at_once = given.federation.sites_at_once;
  config.keep = given.keep;
}

}  // namespace fedalt
