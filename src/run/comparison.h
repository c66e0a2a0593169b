// What a comparison runs, and where: variants x seeds, each an ordinary run directory below the comparison's.
//
//   comparison-spec.json              what is compared; written before the first run, so that nothing else ever lands there
//   runs/VARIANT/seed-S/              run directories (run_directory.h)
//   runs/VARIANT/seed-S.failed.json   {"reason"}: that run ended because its numbers went wrong
//   comparison.json, comparison.csv   the results (comparison_results.h), once no run is left
//
// Everything that is done is visible in these files, so a comparison can be killed at any moment and goes on where it was.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "run/run_config.h"

namespace fedalt {

/// Keys of the configuration and values, as given.
using Settings = std::vector<std::pair<std::string, std::string>>;

/// What an earlier comparison, a search, found best for a variant (comparison_search.h).
struct SearchChoice {
  std::string row;  ///< its name there
  Settings settings;
  double validation_loss = 0.0;  ///< that it had there
};

/// Which search the choices of a comparison are from.
struct SearchSource {
  std::string directory;    ///< as the command line named it
  std::string spec_sha256;  ///< of its comparison-spec.json
};

/// One line of the comparison: a method with its settings.
struct Variant {
  std::string name;    ///< "fedalt train.lr=1e-3": what tables call it; unique
  std::string folder;  ///< of its runs; unique
  std::string method;
  std::string preset;
  Settings overrides;
  bool depends_on_seed = true;  ///< false: one run stands for all seeds (base)
  bool freeze_a = false;        ///< only B of the adapters is trained
  bool trains_mixer = true;     ///< in the last round, if there is a mixer
  int64_t examples_per_step = 0;
  std::string config;  ///< resolved YAML, without hashes, with the first seed
  std::string word;    ///< of --methods, with its own settings: "fedalt preset=paper"; empty in specs of older versions
  bool named = true;   ///< false: a control that nobody asked for
  Settings searched;   ///< the overrides that --set gave
  std::optional<SearchChoice> choice;  ///< its settings are among the overrides
};

/// Whether a metric is one number per site and run, the lower the better, and no score of single answers.
inline bool IsLoss(std::string_view metric) {
  return metric == "loss" || metric == "validation_loss";
}

struct ComparisonSpec {
  std::string config;  ///< file, as the command line named it
  std::string metric;  ///< the first of eval.metrics, or "validation_loss"
  std::vector<std::string> sites;
  std::vector<uint64_t> seeds;
  std::map<std::string, std::string> inputs;  ///< SHA-256 of every input file
  std::vector<Variant> variants;
  std::string reference;     ///< name of the variant that the others are compared with
  int64_t resamples = 2000;  ///< of the bootstrap
  std::optional<SearchSource> chosen_by;
};

/// The spec of the comparison in `directory`. Errors: kUsage (there is none), kOutput (damaged).
StatusOr<ComparisonSpec> ReadComparisonSpec(const std::filesystem::path& directory);
/// Errors: kOutput.
Status WriteComparisonSpec(const std::filesystem::path& directory, const ComparisonSpec& spec);

/// What would be run differently, for a message ("its seeds are 0, 1, given are 0, 1, 2"); empty if nothing is. Inputs, reference
/// and resamples do not count: the first are verified by their content, the others change no run.
std::string DifferenceOf(const ComparisonSpec& existing, const ComparisonSpec& given);

/// One run of a comparison.
struct ComparisonRun {
  size_t variant = 0;
  uint64_t seed = 0;
};
/// All of them, seed by seed, so that after each seed all variants can be compared.
std::vector<ComparisonRun> RunsOf(const ComparisonSpec& spec);

enum class RunState { kAbsent, kBegun, kFinished, kFailed };

/// Where a run lies, relative to the comparison's directory.
std::filesystem::path RunPath(const ComparisonSpec& spec, const ComparisonRun& run);
/// Where the reason of its failure is written.
std::filesystem::path FailurePath(const ComparisonSpec& spec, const ComparisonRun& run);
RunState StateOf(const std::filesystem::path& directory, const ComparisonSpec& spec, const ComparisonRun& run);

/// A run as its directory's config.yaml has it.
struct PreparedRun {
  RunConfig config;
  std::string resolved;
};
using PrepareRun = std::function<StatusOr<PreparedRun>(const Variant& variant, uint64_t seed)>;

/// Starts or goes on with every run that is not done, one after the other. A run that fails because of its numbers (kTraining) is
/// recorded, and the others go on. Errors: all others of StartRun and ResumeRun, with the run's name; kInterrupted (says how to go
/// on); kOutput for a run directory that holds another run.
Status ExecuteComparison(const std::filesystem::path& directory, const ComparisonSpec& spec, const PrepareRun& prepare);

}  // namespace fedalt
