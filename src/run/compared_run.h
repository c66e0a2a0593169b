// One run of a comparison, read back from its run directory: what the table of all runs is made of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "run/bootstrap.h"
#include "run/comparison.h"
#include "run/results_json.h"

namespace fedalt {

struct ComparedRun {
  uint64_t seed = 0;
  std::string path;     ///< of its directory, relative to the comparison's
  std::string failure;  ///< why it failed; empty if it finished, and only then the rest is known

  RunScores scores;                   ///< the metric of the deployed models of the last round; for loss, one value per site
  std::vector<std::string> examples;  ///< per site: a hash of its test examples; empty where nothing was generated
  std::vector<OrderedJson> sites;     ///< lines of metrics.jsonl of the last round
  OrderedJson mean;                   ///< the line of their mean
  std::vector<int64_t> steps;         ///< per site, over all rounds
  std::vector<int64_t> bytes_up, bytes_down;
  std::vector<OrderedJson> curve;             ///< mean lines of metrics.jsonl, round by round
  int64_t trained_parameters = 0;             ///< of one site in the last round
  double seconds = 0.0, train_seconds = 0.0;  ///< of the process that finished it
};

/// Reads a run that is done. Scores of answers are computed again from the predictions, example by example, and must have the means
/// that the run recorded. Errors: kOutput (files are missing, damaged or changed).
StatusOr<ComparedRun> ReadComparedRun(const std::filesystem::path& directory, const ComparisonSpec& spec, const ComparisonRun& run);

/// The score of one answer. `metric`: rouge1, rouge2, rougeL or exact_match.
double ScoreOf(const std::string& metric, const std::string& reference, const std::string& prediction);

}  // namespace fedalt
