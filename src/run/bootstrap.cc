#include "run/bootstrap.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/random.h"

namespace fedalt {
namespace {

/// Second word of a stream's path.
enum Draw : uint64_t { kExamples = 0, kSeeds = 1 };

double MeanOfExamples(const std::vector<double>& scores) {
  return std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size());
}

std::vector<size_t> SeedsOf(const VariantScores& variant) {
  std::vector<size_t> seeds;
  for (size_t s = 0; s < variant.seeds.size(); ++s)
    if (variant.seeds[s] != nullptr) seeds.push_back(s);
  return seeds;
}

std::vector<size_t> CommonSeeds(const VariantScores& a, const VariantScores& b) {
  std::vector<size_t> seeds;
  for (size_t s = 0; s < a.seeds.size(); ++s)
    if (a.seeds[s] != nullptr && b.seeds[s] != nullptr) seeds.push_back(s);
  return seeds;
}

Estimate MakeEstimate(double value, std::vector<double> replicates, double confidence) {
  std::sort(replicates.begin(), replicates.end());
  const double tail = (1.0 - confidence) / 2.0;
  return {value, Quantile(replicates, tail), Quantile(replicates, 1.0 - tail)};
}

/// One variant over some of its seeds: its value and its replicates, at a site and summed up over sites.
class Series {
 public:
  Series(const VariantScores& variant, std::vector<size_t> seeds, const BootstrapOptions& options)
      : variant_(variant), seeds_(std::move(seeds)), options_(options), sum_(static_cast<size_t>(options.resamples), 0.0) {}

  const std::vector<size_t>& seeds() const { return seeds_; }

  /// `resampled`: of every run, the mean over the examples that each replicate drew at this site.
  Estimate AddSite(size_t site, const std::map<const RunScores*, std::vector<double>>& resampled) {
    double value = 0.0;
    std::vector<const std::vector<double>*> runs;
    for (size_t s : seeds_) {
      value += MeanOfExamples((*variant_.seeds[s])[site]) / static_cast<double>(seeds_.size());
      runs.push_back(&resampled.at(variant_.seeds[s]));
    }
    std::vector<double> replicates(sum_.size(), 0.0);
    for (size_t b = 0; b < replicates.size(); ++b) {
      // Equal numbers of seeds draw equal positions, so differences are paired by seed.
      const RandomStream draws(options_.seed, RandomPurpose::kBootstrap, {kSeeds, b});
      for (size_t j = 0; j < runs.size(); ++j) replicates[b] += (*runs[draws.Below(j, runs.size())])[b];
      replicates[b] /= static_cast<double>(runs.size());
      sum_[b] += replicates[b];
    }
    value_sum_ += value;
    ++sites_;
    return MakeEstimate(value, std::move(replicates), options_.confidence);
  }

  double value() const { return value_sum_ / static_cast<double>(sites_); }
  std::vector<double> replicates() const {
    std::vector<double> mean = sum_;
    for (double& value : mean) value /= static_cast<double>(sites_);
    return mean;
  }

 private:
  const VariantScores& variant_;
  std::vector<size_t> seeds_;
  const BootstrapOptions& options_;
  std::vector<double> sum_;
  double value_sum_ = 0.0;
  size_t sites_ = 0;
};

/// The mean of each run over the examples of `site` that each replicate draws.
std::map<const RunScores*, std::vector<double>> ResampleSite(const std::vector<const RunScores*>& runs, size_t site,
                                                             uint64_t address, const BootstrapOptions& options) {
  const auto resamples = static_cast<size_t>(options.resamples);
  const size_t examples = (*runs.front())[site].size();
  std::map<const RunScores*, std::vector<double>> means;
  for (const RunScores* run : runs) {
    FEDALT_CHECK((*run)[site].size() == examples && examples > 0, "every run was scored on the same examples");
    means[run].resize(resamples);
  }
  std::vector<size_t> drawn(examples);
  for (size_t b = 0; b < resamples; ++b) {
    ThrowIfInterrupted();
    const RandomStream draws(options.seed, RandomPurpose::kBootstrap, {kExamples, address, b});
    for (size_t i = 0; i < examples; ++i) drawn[i] = draws.Below(i, examples);
    for (auto& [run, mean] : means) {
      const std::vector<double>& scores = (*run)[site];
      double sum = 0.0;
      for (size_t i : drawn) sum += scores[i];
      mean[b] = sum / static_cast<double>(examples);
    }
  }
  return means;
}

/// Name -> place of every site.
std::map<std::string, size_t> SitesByName(const BootstrapOptions& options, size_t sites) {
  FEDALT_CHECK(options.sites.empty() || options.sites.size() == sites, "a name of every site");
  std::map<std::string, size_t> by_name;
  for (size_t site = 0; site < sites; ++site)
    by_name.emplace(options.sites.empty() ? std::to_string(site) : options.sites[site], site);
  return by_name;
}

std::vector<const RunScores*> DistinctRuns(const std::vector<VariantScores>& variants) {
  std::vector<const RunScores*> runs;
  for (const VariantScores& variant : variants)
    for (const RunScores* run : variant.seeds)
      if (run != nullptr && std::find(runs.begin(), runs.end(), run) == runs.end()) runs.push_back(run);
  return runs;
}

Difference MakeDifference(const Series& of, const Series& reference, double confidence) {
  std::vector<double> replicates = of.replicates();
  const std::vector<double> subtracted = reference.replicates();
  for (size_t b = 0; b < replicates.size(); ++b) replicates[b] -= subtracted[b];
  Difference difference;
  difference.p = TwoSidedP(replicates);
  difference.estimate = MakeEstimate(of.value() - reference.value(), std::move(replicates), confidence);
  return difference;
}

}  // namespace

std::vector<VariantStatistics> CompareVariants(const std::vector<VariantScores>& variants, const BootstrapOptions& options) {
  FEDALT_CHECK(options.resamples > 0 && options.reference < variants.size(), "something is drawn and compared");
  std::vector<VariantStatistics> statistics(variants.size());
  const std::vector<const RunScores*> runs = DistinctRuns(variants);
  if (runs.empty()) return statistics;
  const VariantScores& reference = variants[options.reference];
  struct Pair {
    Series variant, reference;
  };
  std::vector<Series> own;
  std::vector<Pair> pairs;
  for (const VariantScores& variant : variants) {
    own.emplace_back(variant, SeedsOf(variant), options);
    const std::vector<size_t> common = CommonSeeds(variant, reference);
    pairs.push_back({Series(variant, common, options), Series(reference, common, options)});
  }
  for (VariantStatistics& of_variant : statistics) of_variant.per_site.resize(runs.front()->size());
  for (const auto& [name, site] : SitesByName(options, runs.front()->size())) {
    const auto resampled = ResampleSite(runs, site, SiteAddress(name), options);
    for (size_t v = 0; v < variants.size(); ++v) {
      if (own[v].seeds().empty()) continue;
      statistics[v].per_site[site] = own[v].AddSite(site, resampled);
      if (v == options.reference || pairs[v].variant.seeds().empty()) continue;
      pairs[v].variant.AddSite(site, resampled);
      pairs[v].reference.AddSite(site, resampled);
    }
  }
  for (size_t v = 0; v < variants.size(); ++v) {
    if (own[v].seeds().empty()) {
      statistics[v].per_site.clear();
      continue;
    }
    statistics[v].mean = MakeEstimate(own[v].value(), own[v].replicates(), options.confidence);
    if (v == options.reference || pairs[v].variant.seeds().empty()) continue;
    statistics[v].versus_reference = MakeDifference(pairs[v].variant, pairs[v].reference, options.confidence);
  }
  return statistics;
}

double Quantile(const std::vector<double>& sorted, double probability) {
  FEDALT_CHECK(!sorted.empty(), "nothing has no quantile");
  const double position = probability * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(std::clamp(position, 0.0, static_cast<double>(sorted.size() - 1)));
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double TwoSidedP(const std::vector<double>& replicates) {
  int64_t not_above = 0, not_below = 0;
  for (double difference : replicates) {
    not_above += difference > 0.0 ? 0 : 1;  // one that is not a number speaks for neither side
    not_below += difference < 0.0 ? 0 : 1;
  }
  const double tail = static_cast<double>(1 + std::min(not_above, not_below)) / static_cast<double>(1 + replicates.size());
  return std::min(1.0, 2.0 * tail);
}

std::vector<double> HolmCorrection(const std::vector<double>& p_values) {
  for (const double p : p_values) FEDALT_CHECK(p >= 0.0 && p <= 1.0, "a p-value is a number from 0 to 1");
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> corrected(p_values.size());
  double largest = 0.0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(order.size() - rank) * p_values[order[rank]]));
    corrected[order[rank]] = largest;
  }
  return corrected;
}

}  // namespace fedalt
