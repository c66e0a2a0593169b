// Intervals and tests for a comparison of variants that were scored on the same test examples, by resampling.
//
// One replicate draws test examples with replacement within each site, the same for every variant and seed, and seeds with
// replacement, the same for every site: rows and columns of a crossed table drawn apart (Owen, "The pigeonhole bootstrap", Annals
// of Applied Statistics 2007). Sites are fixed: they are whom the comparison is about. Pure functions; every draw is addressed by
// (seed, kBootstrap, ...), so the same scores give the same bits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fedalt {

/// Scores of one run: [site][test example]. Sites have at least one example each.
using RunScores = std::vector<std::vector<double>>;

/// The runs of one variant, by seed; null: that seed has no run. A variant that does not depend on the seed repeats its only run.
/// All runs of a comparison have the same sites and examples. Borrowed.
struct VariantScores {
  std::vector<const RunScores*> seeds;
};

struct Estimate {
  double value = 0.0;
  double low = 0.0, high = 0.0;  ///< percentile interval
};

/// A variant minus the reference, over the seeds that both have.
struct Difference {
  Estimate estimate;
  double p = 1.0;  ///< two-sided
};

/// Empty where there is no run (Difference: none of a seed that the reference has, too; the reference itself).
struct VariantStatistics {
  std::optional<Estimate> mean;  ///< over sites, of the mean over seeds, of the mean over examples
  std::vector<Estimate> per_site;
  std::optional<Difference> versus_reference;
};

struct BootstrapOptions {
  int64_t resamples = 2000;
  double confidence = 0.95;
  uint64_t seed = 0;
  size_t reference = 0;  ///< index of the variant that the others are compared with
  /// Names of the sites, which address their draws and order their sums, so that it does not matter how they are listed; empty:
  /// "0", "1", ...
  std::vector<std::string> sites = {};
};

/// Statistics of every variant, in their order. Preconditions: resamples > 0, equal numbers of seeds.
std::vector<VariantStatistics> CompareVariants(const std::vector<VariantScores>& variants, const BootstrapOptions& options);

/// Linear interpolation between order statistics (Hyndman and Fan 1996, type 7). Precondition: sorted and not empty.
double Quantile(const std::vector<double>& sorted, double probability);

/// min(1, 2 min(P(d <= 0), P(d >= 0))) of the replicates d of a difference: the level at which its percentile interval just touches
/// zero (Efron and Tibshirani 1993, section 15.4), with one added to each count and to their number, so that it is never zero
/// (Davison and Hinkley 1997, section 4.2).
double TwoSidedP(const std::vector<double>& replicates);

/// Holm's step-down correction (Scandinavian Journal of Statistics 1979) of p-values, in their order.
std::vector<double> HolmCorrection(const std::vector<double>& p_values);

}  // namespace fedalt
