// One whole run on this machine: model and data loaded and checked, the federation run or resumed, everything written to a run
// directory.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "fed/federation.h"
#include "run/memory_plan.h"
#include "run/results_json.h"
#include "run/run_config.h"

namespace fedalt {

/// Everything that the commands run, eval, generate and export need of a configuration: loaded and checked.
struct LoadedRun {
  RunConfig config;  ///< dtype and device are decided; sites_at_once by LoadAll
  std::shared_ptr<const Transformer> model;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const SiteSource> sites;
  WorkSizes work;                  ///< of the sites' data
  MemoryPlan plan;                 ///< by LoadAll
  std::vector<std::string> notes;  ///< what was cut or is unusual, one sentence each
};

/// Of the device that the run computes on; on others than the CPU an estimate. The most that the run may need, from the model's
/// files and the configuration alone: nothing is loaded, and every example counts as long as max_length allows. Errors: kModel,
/// kConfig (its device).
StatusOr<MemoryPlan> PlanMemoryBefore(const RunConfig& config);
/// What the run will need, from the lengths of its data: tokenizer and sites are loaded, the weights not yet. Decides how many
/// sites work at once where the configuration leaves it open. Errors: kModel, kConfig (its device).
StatusOr<MemoryPlan> PlanMemoryOf(const LoadedRun& run);
/// kMemory if PlanMemoryBefore certainly does not fit: for the first moment, before files are hashed.
Status CheckMemoryBefore(const RunConfig& config);

/// What can be said without weights and data: device, dtype and the tokenizer; refuses what will certainly not fit into memory.
StatusOr<LoadedRun> PrepareLoading(const RunConfig& config);
/// The weights of a prepared run.
Status LoadWeights(LoadedRun& run);
/// Both (LoadedRun::sites stays null).
StatusOr<LoadedRun> LoadModel(const RunConfig& config);
/// Of a prepared run the data, the plan of memory, and then the weights. Errors: kData, kMemory, kModel.
Status LoadAll(LoadedRun& run);
/// Reads, splits and tokenizes every site's data, and keeps in memory what is small. Precondition: run.tokenizer is loaded. Errors:
/// kData.
Status LoadSites(LoadedRun& run);

/// What a run whose other sites are elsewhere has of them.
struct Elsewhere {
  std::unique_ptr<Transport> transport;  ///< null: all sites are here
  std::optional<int64_t> pinned_round;   ///< FederationInputs::pinned_round
};
/// Connects such a run; called when model and data are loaded and before a new run writes anything. Empty: all sites are here.
using ConnectTransport = std::function<StatusOr<Elsewhere>(const LoadedRun& run)>;

struct RunOutcome {
  OrderedJson summary;        ///< what --format json prints (without the directory)
  bool was_finished = false;  ///< resumed a run that had nothing left to do
};

/// Starts a new run in `directory` (made; must be empty or absent) and runs it to the end. Nothing is written before model and
/// data are loaded and found good. `resolved_yaml`: the configuration to be written into it. Errors: all kinds; kInterrupted after
/// Ctrl-C.
StatusOr<RunOutcome> StartRun(const RunConfig& config, const std::string& resolved_yaml, const std::filesystem::path& directory,
                              const ConnectTransport& connect = {});
/// Goes on with an interrupted run; a finished one returns its summary at once. `config` is what its config.yaml says.
StatusOr<RunOutcome> ResumeRun(const RunConfig& config, const std::filesystem::path& directory,
                               const ConnectTransport& connect = {});

/// One site's model as a run left it, ready for a forward.
struct SiteModel {
  std::unique_ptr<Method> method;
  std::unique_ptr<Site> site;  ///< site->adapters is the model
  int64_t round = 0;
  bool swapped = false;  ///< whether it is the model after that round's swap
};
/// `round` 0: the last closed one. Errors: kUsage (no such site or round; names those there are), kModel (damaged checkpoint).
StatusOr<SiteModel> LoadSiteModel(const LoadedRun& run, const std::filesystem::path& directory, const std::string& site,
                                  int64_t round);

}  // namespace fedalt
