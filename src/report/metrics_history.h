// metrics.jsonl in memory: the numbers that curves are drawn from for every site and round, and everything of the last evaluated
// round.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fedalt {

/// What has a curve, as a path into a line of metrics.jsonl.
inline constexpr std::array kCurveFields = std::to_array<std::string_view>(
    {"train_loss", "loss", "rouge1", "rouge2", "rougeL", "exact_match", "validation_loss", "mean_individual_weight",
     "before_swap.loss", "before_swap.rouge1", "before_swap.rouge2", "before_swap.rougeL", "before_swap.exact_match",
     "after_swap.loss", "after_swap.rouge1", "after_swap.rouge2", "after_swap.rougeL", "after_swap.exact_match"});

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

/// One site (or the mean of all) in one round.
struct MetricsLine {
  MetricsLine() { curves.fill(kNotMeasured); }
  std::array<double, kCurveFields.size()> curves;  ///< in the order of kCurveFields; NaN where nothing was measured
  double bytes_up = 0.0, bytes_down = 0.0;
  double train_seconds = 0.0;
  bool participated = false;
  std::optional<int64_t> counted_round;  ///< of the contribution that the server counts after this round; empty: no server
  std::vector<double> mixer;             ///< mean p_I in the order of MetricsHistory::layers; empty where there is none
};

struct MetricsRound {
  int64_t round = 0;
  bool evaluated = false;
  std::vector<MetricsLine> sites;  ///< in the order of MetricsHistory::sites
  MetricsLine mean;
};

struct MetricsHistory {
  std::vector<std::string> sites;   ///< in the order in which they appear
  std::vector<std::string> layers;  ///< adapted linears, in the order in which a token meets them
  std::vector<MetricsRound> rounds;
  int64_t evaluated_round = 0;                      ///< the last one that was evaluated; the last one if none was
  std::vector<nlohmann::ordered_json> final_lines;  ///< of that round, in the order of `sites`; null where a site has none
  nlohmann::ordered_json final_mean;                ///< null if there is none
};

/// Reads it. A last line without an end, which a crash leaves, does not count. Errors: kUsage (no file, or no round in it), kOutput
/// (damaged).
StatusOr<MetricsHistory> ReadMetrics(const std::filesystem::path& path);

}  // namespace fedalt
