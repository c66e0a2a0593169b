// A finished (or interrupted) run opened for use: its configuration, its model, and one site's adapters or data.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "run/run.h"

namespace fedalt {

/// Reads the run's config.yaml, checks that the small model files are still those of the run, and loads model and tokenizer.
/// `device`: auto, cpu or cuda; empty: as the run.
/// Errors: kUsage (not a run directory), kConfig, kModel, kMemory.
StatusOr<LoadedRun> OpenRun(const std::filesystem::path& directory, const std::string& device);

/// Names of the sites, in order.
std::vector<std::string> SiteNames(const RunConfig& config);

/// The files of a site, before anything else of the run is read. Errors: kUsage (not a run directory, no such site), kConfig.
StatusOr<SiteFiles> FilesOfSite(const std::filesystem::path& directory, const std::string& site);

/// One site's test examples (or those of `file`, if it is not empty), ready for evaluation. Errors: kUsage (no such site), kData.
StatusOr<SiteData> LoadTestData(LoadedRun& run, const std::string& site, const std::filesystem::path& file);

/// One site's training examples as tokens. Errors: kData.
StatusOr<std::vector<TokenizedExample>> LoadTrainTokens(const LoadedRun& run, const std::string& site);

}  // namespace fedalt
