// RunConfig -> resolved YAML, and the hashes of its inputs.
#include <algorithm>
#include <system_error>

#include "app/config.h"
#include "app/config_fields.h"
#include "app/config_keys.h"
#include "app/config_paths.h"
#include "app/yaml_tree.h"
#include "base/hash.h"
#include "base/progress.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

void AppendSite(const SiteFiles& site, const FieldNames& fields_of_all, std::string& yaml) {
  absl::StrAppend(&yaml, "  - {name: ", YamlQuote(site.name), ", train: ", YamlQuote(site.train.string()),
                  ", test: ", YamlQuote(site.test.string()));
  if (!site.validation.empty()) absl::StrAppend(&yaml, ", validation: ", YamlQuote(site.validation.string()));
  if (site.r > 0) absl::StrAppend(&yaml, ", r: ", site.r);
  if (!(site.fields == fields_of_all)) absl::StrAppend(&yaml, ", fields: ", WriteFieldNames(site.fields));
  yaml += "}\n";
}

bool IsModelInput(const fs::path& file) {
  static const std::vector<std::string> kNames = {"config.json",    "generation_config.json", "model.safetensors.index.json",
                                                  "tokenizer.json", "tokenizer.model",        "vocab.json",
                                                  "merges.txt",     "tokenizer_config.json",  "special_tokens_map.json"};
  return file.extension() == ".safetensors" || std::find(kNames.begin(), kNames.end(), file.filename().string()) != kNames.end();
}

/// Weights take minutes where they are large, so it says how far it is.
StatusOr<std::string> HashOf(const fs::path& file) {
  std::error_code error;
  const uintmax_t size = fs::file_size(file, error);
  constexpr int64_t kMegabyte = 1'000'000;
  Progress progress(error ? 0 : static_cast<int64_t>(size) / kMegabyte,
                    absl::StrCat("hashing ", file.filename().string(), " (MB)"));
  return Sha256OfFile(file, [&progress](int64_t bytes) { progress.Update(bytes / kMegabyte); });
}

/// Of the kind that is asked for, unless it was stopped.
Status HashError(const Status& status, ErrorKind kind, const std::string& more = "") {
  if (KindOf(status) == ErrorKind::kInterrupted) return status;
  return MakeError(kind, absl::StrCat(status.message(), more));
}

Status AddHash(const fs::path& file, ErrorKind kind, FileHashes& hashes) {
  if (hashes.count(file.string()) > 0) return absl::OkStatus();
  const StatusOr<std::string> hash = HashOf(file);
  if (!hash.ok()) return HashError(hash.status(), kind);
  hashes[file.string()] = *hash;
  return absl::OkStatus();
}

Status AddDirectory(const fs::path& directory, FileHashes& hashes) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (IsModelInput(it->path()) && !it->is_directory(ignored)) files.push_back(it->path());
  }
  if (error) return ModelError(absl::StrCat(directory.string(), ": cannot be listed (", error.message(), ")"));
  for (const fs::path& file : files) RETURN_IF_ERROR(AddHash(file, ErrorKind::kModel, hashes));
  return absl::OkStatus();
}

bool IsData(const RunConfig& config, const std::string& file) {
  return std::any_of(config.sites.begin(), config.sites.end(),
                     [&](const SiteFiles& site) { return site.train == file || site.test == file || site.validation == file; });
}

}  // namespace

std::string RunConfigToYaml(const RunConfig& config, const FileHashes& hashes) {
  std::string yaml = "# Resolved configuration of a run: every key, absolute paths, hashes of the inputs.\n";
  absl::StrAppend(&yaml, "model: ", YamlQuote(config.model.string()), "\nsites:\n");
  for (const SiteFiles& site : config.sites) AppendSite(site, config.fields, yaml);
  std::string open_group;
  for (const ConfigKey& key : ConfigKeys()) {
    const std::string value = key.write(config);
    if (value.empty()) continue;
    const size_t dot = key.name.find('.');
    const std::string group = dot == std::string::npos ? "" : key.name.substr(0, dot);
    if (group != open_group && !group.empty()) absl::StrAppend(&yaml, group, ":\n");
    open_group = group;
    absl::StrAppend(&yaml, group.empty() ? "" : "  ", group.empty() ? key.name : key.name.substr(dot + 1), ": ", value, "\n");
  }
  if (!hashes.empty()) yaml += "hashes:\n";
  for (const auto& [file, hash] : hashes) absl::StrAppend(&yaml, "  ", YamlQuote(file), ": ", hash, "\n");
  return yaml;
}

StatusOr<FileHashes> HashInputs(const RunConfig& config) {
  FileHashes hashes;
  RETURN_IF_ERROR(AddDirectory(config.model, hashes));
  for (size_t i = 0; i < config.sites.size(); ++i) {
    const SiteFiles& site = config.sites[i];
    for (const fs::path& file : {site.train, site.test, site.validation}) {
      if (!file.empty()) RETURN_IF_ERROR(AddHash(file, ErrorKind::kData, hashes));
    }
    if (!config.initial_adapter.empty()) {
      const fs::path adapter = FillSite(config.initial_adapter.string(), static_cast<int64_t>(i));
      RETURN_IF_ERROR(AddHash(adapter / "adapter_config.json", ErrorKind::kModel, hashes));
      RETURN_IF_ERROR(AddHash(adapter / "adapter_model.safetensors", ErrorKind::kModel, hashes));
    }
  }
  return hashes;
}

Status VerifyHashes(const RunConfig& config, const FileHashes& hashes) {
  for (const auto& [file, expected] : hashes) {
    const ErrorKind kind = IsData(config, file) ? ErrorKind::kData : ErrorKind::kConfig;
    const StatusOr<std::string> found = HashOf(file);
    if (!found.ok()) return HashError(found.status(), kind, "; the run was made with this file and needs it");
    if (*found != expected) {
      return MakeError(kind,
                       absl::StrCat(file, " has changed since the run started (SHA-256 ", found->substr(0, 12), "..., expected ",
                                    expected.substr(0, 12), "...); put the old file back, or start a new run"));
    }
  }
  return absl::OkStatus();
}

}  // namespace fedalt
