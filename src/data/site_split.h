// One data set made into the data of many sites: by task, by label with a Dirichlet distribution, or at random; and each site's
// examples into training and test. No files: indices in, indices out. docs/data.md explains the rules and where they come from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/dataset.h"

namespace fedalt {

enum class SplitRule {
  kTask,   ///< each tag is a site, or `sites_per_task` sites of equal sizes
  kLabel,  ///< the examples of each label go to the sites by shares from Dir(alpha); the label is the output, trimmed
  kRandom  ///< equal sizes
};

struct SplitOptions {
  SplitRule rule = SplitRule::kRandom;
  int64_t sites = 0;           ///< kLabel and kRandom; with kTask 0, or the number that must come out
  int64_t sites_per_task = 1;  ///< kTask
  double alpha = 0.5;          ///< kLabel: above 0; small: each label at few sites, large: every site alike
  double test_share = 0.2;     ///< in [0, 1): round(share n) of each site, but at least 1, and 1 is left to train on
  uint64_t seed = 0;
  int64_t min_examples = 0;  ///< least number at each site, training and test together; 0: 2, or 1 without test examples
  int64_t limit = 0;         ///< most examples at each site, training and test together; 0: no limit
};

struct SplitSite {
  std::string task;           ///< kTask only
  std::vector<size_t> train;  ///< places in the input, in its order
  std::vector<size_t> test;   ///< the same
};

struct SiteSplit {
  std::vector<SplitSite> sites;
  std::vector<size_t> left_out;  ///< beyond `limit`; in the input's order
  int64_t moved = 0;             ///< kLabel: examples that `min_examples` gave to another site than the draw did
};

/// Every example lands in exactly one of a site's training examples, a site's test examples and left_out. A function of the
/// examples' order, tags and outputs and of the options alone. Test examples are taken in proportion from each tag and, within it,
/// from each label. Preconditions: options in the ranges above. Errors (kUsage): fewer examples than the sites need; `sites` is not
/// what kTask gives.
StatusOr<SiteSplit> SplitIntoSites(const std::vector<Example>& examples, const SplitOptions& options);

/// For a split by task whose test examples come from elsewhere: those of each task are dealt evenly to its sites, and replace
/// SplitSite::test by places in `tests`. Errors (kData): a task without a site, a site without an example.
Status DealTests(const std::vector<Example>& tests, uint64_t seed, SiteSplit& split);

/// `total` in parts proportional to `sizes` (largest remainders; equal remainders in the order `priority`, a permutation of the
/// places of `sizes`). No part is larger than its size. 0 <= total <= sum of sizes.
std::vector<int64_t> Apportion(const std::vector<int64_t>& sizes, int64_t total, const std::vector<int64_t>& priority);

/// `total` in parts as near to shares * total as whole numbers are (largest remainders, the first of equal ones first). The shares
/// add up to 1.
std::vector<int64_t> ApportionShares(const std::vector<double>& shares, int64_t total);

}  // namespace fedalt
