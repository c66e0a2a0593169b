// One whole run on this machine: model and data loaded and checked, the federation run or resumed, everything written to a run directory.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "fed/federation.h"
#include "run/run_config.h"

namespace fedalt {

/// Memory in bytes that a run will need at its peak, and what there is.
struct MemoryPlan {
  int64_t base = 0, activations = 0, adapters = 0, total = 0, available = 0;
};

/// Everything that the commands run, eval, generate and export need of a configuration: loaded and checked.
struct LoadedRun {
  RunConfig config;
  std::shared_ptr<const Transformer> model;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<SiteData> sites;
  std::vector<std::string> notes;  ///< what was cut or is unusual, one sentence each
};

/// Memory needed by the run, from config.json and the configuration alone (nothing is loaded). Errors: kModel.
StatusOr<MemoryPlan> PlanMemory(const RunConfig& config);

/// Model only (LoadedRun::sites stays empty).
StatusOr<LoadedRun> LoadModel(const RunConfig& config);
/// Reads, splits and tokenizes every site's data. Precondition: run.model is loaded.
Status LoadSites(LoadedRun& run);

/// Starts a new run in `directory` (made; must not exist or be empty) and runs it to the end.
/// `resolved_yaml`: the configuration to be written into it. Errors: all kinds; kInterrupted after Ctrl-C at a safe point.
StatusOr<RunSummary> StartRun(const RunConfig& config, const std::string& resolved_yaml, const std::filesystem::path& directory);
/// Goes on with an interrupted run; a finished one returns its summary at once. `config` is what its config.yaml says.
StatusOr<RunSummary> ResumeRun(const RunConfig& config, const std::filesystem::path& directory);

/// Adapters of one site as the finished (or interrupted) run's last kept round has them, ready for a forward.
/// round 0: the round that the run deploys (last, or best if `best`).
StatusOr<std::unique_ptr<SiteAdapters>> LoadSiteAdapters(const LoadedRun& run, const std::filesystem::path& directory,
                                                         const std::string& site, int64_t round);

}  // namespace fedalt
