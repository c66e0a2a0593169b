// The configuration of one run, as the YAML file and the overrides give it, in plain C++. src/app/config.h maps YAML to it and
// back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "fed/options.h"

namespace fedalt {

/// Runs of another format are not gone on with, and parties of one federation have the same: 2: a site's draws are addressed by its
/// name; 1 (no run says it): by its place.
inline constexpr int64_t kRunFormat = 2;

/// One site's files. Relative paths in the YAML are relative to the YAML file's folder, falling back to the working directory.
struct SiteFiles {
  std::string name;  ///< "site-0" ... unless named
  std::filesystem::path train;
  std::filesystem::path test;
  std::filesystem::path validation;  ///< empty: split off `train` by RunConfig::validation
  int64_t r = 0;                     ///< rank of this site's adapter; 0: adapter.r
  FieldNames fields;                 ///< what its files call the parts of an example
};

/// What stays on disk.
struct KeepOptions {
  int64_t last = 2;
  bool best = true;
};

struct RunConfig {
  std::filesystem::path model;
  std::vector<SiteFiles> sites;
  std::vector<std::string> all_sites;  ///< names of all sites of the federation, where some are elsewhere; empty: all are here
  std::string prompt_template = "alpaca_short";  ///< a name or a text, as PromptTemplate::Named takes it
  FieldNames fields;                             ///< of sites that do not give their own; SiteFiles::fields is what counts
  double validation = 0.0;                       ///< share of train held out per site
  std::filesystem::path
      initial_adapter;  ///< PEFT directory that every site's individual adapter starts from; may hold "{site}"; empty: none
  int32_t max_length = 512;
  TooLong too_long = TooLong::kCut;
  std::string dtype = "auto";   ///< auto | float32 | bfloat16
  std::string device = "auto";  ///< auto | cpu | cuda
  int64_t threads = 0;          ///< 0: all cores
  bool sites_at_once_auto = true;
  FederationOptions federation;
  std::vector<std::string> metrics = {"rouge1",
                                      "exact_match"};  ///< columns of the tables; everything measured is recorded in any case
  KeepOptions keep;
};

}  // namespace fedalt
