#include "app/open_run.h"

#include <absl/strings/str_join.h>

#include <algorithm>
#include <system_error>

#include "app/config.h"
#include "app/config_started.h"
#include "base/log.h"
#include "data/remarks.h"
#include "run/run_directory.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

StatusOr<SiteFiles> FindSite(const RunConfig& config, const std::string& name) {
  for (const SiteFiles& site : config.sites) {
    if (site.name == name) return site;
  }
  return UsageError(absl::StrCat("site \"", name, "\" is not in this run; its sites are ", absl::StrJoin(SiteNames(config), ", ")));
}

// Hashing large weights would take longer than most uses of them; their shapes are checked when they are loaded.
FileHashes SmallModelFiles(const RunConfig& config, const FileHashes& hashes) {
  constexpr uintmax_t kSmall = uintmax_t{64} << 20;
  FileHashes small;
  for (const auto& [file, hash] : hashes) {
    std::error_code error;
    const uintmax_t size = fs::file_size(file, error);
    if (fs::path(file).parent_path() == config.model && (error || size <= kSmall)) small.emplace(file, hash);
  }
  return small;
}

}  // namespace

std::vector<std::string> SiteNames(const RunConfig& config) {
  std::vector<std::string> names;
  for (const SiteFiles& site : config.sites) names.push_back(site.name);
  return names;
}

StatusOr<LoadedRun> OpenRun(const fs::path& directory, const std::string& device) {
  ASSIGN_OR_RETURN(const RunDirectory opened, RunDirectory::Open(directory));
  ASSIGN_OR_RETURN(ParsedConfig parsed, LoadConfig(opened.config(), {}));
  RETURN_IF_ERROR(CheckAsStarted(directory, parsed));
  if (!device.empty()) parsed.config.device = device;
  RETURN_IF_ERROR(CheckMemoryBefore(parsed.config));
  RETURN_IF_ERROR(VerifyHashes(parsed.config, SmallModelFiles(parsed.config, parsed.hashes)));
  ASSIGN_OR_RETURN(LoadedRun run, LoadModel(parsed.config));
  run.config.federation.eval.options.max_length = run.config.max_length;
  run.config.federation.eval.options.too_long = run.config.too_long;
  return run;
}

StatusOr<SiteFiles> FilesOfSite(const fs::path& directory, const std::string& site) {
  ASSIGN_OR_RETURN(const RunDirectory opened, RunDirectory::Open(directory));
  ASSIGN_OR_RETURN(const ParsedConfig parsed, LoadConfig(opened.config(), {}));
  return FindSite(parsed.config, site);
}

StatusOr<SiteData> LoadTestData(LoadedRun& run, const std::string& site, const fs::path& file) {
  ASSIGN_OR_RETURN(const SiteFiles files, FindSite(run.config, site));
  const fs::path path = file.empty() ? files.test : file;
  ASSIGN_OR_RETURN(const PromptTemplate prompt_template, PromptTemplate::Named(run.config.prompt_template));
  SiteData data;
  data.name = site;
  ASSIGN_OR_RETURN(std::vector<Example> examples, ReadExamples(path, {.fields = files.fields}));
  TokenizeReport report;
  StatusOr<EvalSet> set =
      MakeEvalSet(std::move(examples), *run.tokenizer, prompt_template, run.config.federation.eval.options, &report);
  if (!set.ok()) return Annotate(set.status(), path.string());
  data.test = std::move(set).value();
  for (const std::string& remark : TokenRemarks("test", report, {run.config.max_length, run.config.too_long}))
    LogWarning(absl::StrCat(path.string(), ": ", remark));
  return data;
}

StatusOr<std::vector<TokenizedExample>> LoadTrainTokens(const LoadedRun& run, const std::string& site) {
  ASSIGN_OR_RETURN(const SiteFiles files, FindSite(run.config, site));
  ASSIGN_OR_RETURN(const PromptTemplate prompt_template, PromptTemplate::Named(run.config.prompt_template));
  ASSIGN_OR_RETURN(const std::vector<Example> examples, ReadExamples(files.train, {.fields = files.fields}));
  StatusOr<std::vector<TokenizedExample>> tokens =
      TokenizeForTraining(examples, *run.tokenizer, prompt_template, {run.config.max_length, run.config.too_long}, nullptr);
  if (!tokens.ok()) return Annotate(tokens.status(), files.train.string());
  return tokens;
}

}  // namespace fedalt
