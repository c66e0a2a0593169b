// The YAML configuration of a run, and back: file and key=value overrides -> RunConfig -> resolved YAML with hashes -> the same
// RunConfig.
//
// docs/configuration.md explains every key; config_keys.cc is the table of them. All functions are pure apart from looking at the
// files that the configuration names, and may be called from any thread.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "run/run_config.h"

namespace fedalt {

/// Absolute path -> lower-case hex SHA-256 of an input of the run.
using FileHashes = std::map<std::string, std::string>;

struct ParsedConfig {
  RunConfig config;
  FileHashes hashes;  ///< of the section `hashes`; empty in a configuration written by hand
  /// Dotted keys that somebody has written: those of the file unless it is a resolved one, which gives every key, and of overrides.
  std::set<std::string> given;
  std::set<std::string> replaced;  ///< of them those of `data` that each entry of `sites` replaces
};

/// Where a configuration comes from.
struct ConfigSource {
  std::string name = "config.yaml";  ///< in messages
  std::filesystem::path folder;      ///< relative paths are looked up here first, then in the working directory
  bool check_files = true;           ///< false: no file is looked at and relative paths stay as they are
  bool own_overrides = false;        ///< true: the overrides are not the user's, and do not count as given
  bool needs_model = true;           ///< false: a model directory (and initial adapter) that is not there is no error
};

/// Maps YAML and overrides ("train.rounds=5", values are YAML; later ones win) to a RunConfig. Keys given win over the preset.
/// Errors: kConfig (syntax with its line; unknown key with the nearest known one; wrong type or range; contradictions),
/// kModel (no model directory), kData (a data file that does not exist).
StatusOr<ParsedConfig> ParseConfig(std::string_view yaml, const std::vector<std::string>& overrides, const ConfigSource& source);

/// ParseConfig of a file; its folder is the place relative paths start from.
StatusOr<ParsedConfig> LoadConfig(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                                  bool needs_model = true);

/// Every key with its value, absolute paths as the configuration has them, and the hashes. ParseConfig gives the same RunConfig
/// again.
std::string RunConfigToYaml(const RunConfig& config, const FileHashes& hashes);

/// Hashes of config.json, the safetensors and tokenizer files of the model, of every data file and of the initial adapters.
/// Reads all of them once. Errors: kModel, kData.
StatusOr<FileHashes> HashInputs(const RunConfig& config);

/// Recomputes and compares. Errors: kData for a data file that is gone or changed, kConfig for any other; the message names the
/// file.
Status VerifyHashes(const RunConfig& config, const FileHashes& hashes);

}  // namespace fedalt
