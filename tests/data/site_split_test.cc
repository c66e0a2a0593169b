// Properties of splits: everything lands in one place, the same arguments give the same split, sizes and shares are what the rule
// says.
#include "data/site_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "data/data_statistics.h"

namespace fedalt {
namespace {

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

/// `labels` outputs, `tasks` tags, in turn.
std::vector<Example> World(int64_t n, int64_t labels, int64_t tasks = 3) {
  std::vector<Example> examples;
  for (int64_t i = 0; i < n; ++i)
    examples.push_back({i, "question " + std::to_string(i), "",
                        (i % 2 ? "" : " ") + std::string("label ") + std::to_string(i % labels),
                        "task " + std::to_string(i / labels % tasks)});
  return examples;
}

SiteSplit Good(const std::vector<Example>& examples, const SplitOptions& options) {
  auto split = SplitIntoSites(examples, options);
  EXPECT_TRUE(split.ok()) << split.status();
  return std::move(split).value_or(SiteSplit{});
}

std::vector<size_t> Everything(const SiteSplit& split) {
  std::vector<size_t> all = split.left_out;
  for (const SplitSite& site : split.sites) {
    EXPECT_TRUE(std::is_sorted(site.train.begin(), site.train.end()));
    EXPECT_TRUE(std::is_sorted(site.test.begin(), site.test.end()));
    all.insert(all.end(), site.train.begin(), site.train.end());
    all.insert(all.end(), site.test.begin(), site.test.end());
  }
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<SplitOptions> Rules() {
  return {{.rule = SplitRule::kTask, .sites_per_task = 2, .seed = 5},
          {.rule = SplitRule::kLabel, .sites = 6, .alpha = 0.1, .seed = 5},
          {.rule = SplitRule::kLabel, .sites = 6, .alpha = 0.1, .test_share = 0.0, .seed = 5, .min_examples = 8, .limit = 30},
          {.rule = SplitRule::kRandom, .sites = 6, .test_share = 0.3, .seed = 5},
          {.rule = SplitRule::kRandom, .sites = 6, .test_share = 0.3, .seed = 5, .limit = 10}};
}

TEST(SplitIntoSites, EveryExampleLandsInOnePlace) {
  const std::vector<Example> examples = World(200, 7);
  std::vector<size_t> places(examples.size());
  std::iota(places.begin(), places.end(), size_t{0});
  for (const SplitOptions& options : Rules()) {
    const SiteSplit split = Good(examples, options);
    EXPECT_EQ(split.sites.size(), 6u);
    EXPECT_EQ(Everything(split), places);
    EXPECT_EQ(split.left_out.empty(), options.limit == 0);
    for (const SplitSite& site : split.sites) {
      const auto n = static_cast<int64_t>(site.train.size() + site.test.size());
      EXPECT_GE(n, options.min_examples);
      EXPECT_FALSE(site.train.empty());
      EXPECT_EQ(site.test.empty(), options.test_share == 0.0);
      EXPECT_TRUE(options.limit == 0 || n <= options.limit) << n;
    }
  }
}

TEST(SplitIntoSites, IsAFunctionOfItsArguments) {
  const std::vector<Example> examples = World(200, 7);
  for (SplitOptions options : Rules()) {
    const auto trains = [&] {
      std::vector<std::vector<size_t>> all;
      for (const SplitSite& site : Good(examples, options).sites) all.push_back(site.train);
      return all;
    };
    const auto first = trains();
    EXPECT_EQ(first, trains());
    options.seed = 6;
    EXPECT_NE(first, trains());
  }
}

TEST(SplitIntoSites, ByTaskKeepsTasksApartAndSizesEqual) {
  const std::vector<Example> examples = World(210, 7);
  const SiteSplit split = Good(examples, {.rule = SplitRule::kTask, .sites_per_task = 4});
  ASSERT_EQ(split.sites.size(), 12u);
  std::map<std::string, std::vector<size_t>> sizes;
  for (const SplitSite& site : split.sites) {
    for (const size_t place : site.train) EXPECT_EQ(examples[place].tag, site.task);
    for (const size_t place : site.test) EXPECT_EQ(examples[place].tag, site.task);
    sizes[site.task].push_back(site.train.size() + site.test.size());
  }
  EXPECT_EQ(split.sites[0].task, "task 0") << "in the order in which tasks appear";
  EXPECT_EQ(split.sites[4].task, "task 1");
  for (const auto& [task, of_task] : sizes)
    EXPECT_LE(*std::max_element(of_task.begin(), of_task.end()) - *std::min_element(of_task.begin(), of_task.end()), 1u) << task;
}

TEST(SplitIntoSites, AtRandomSizesAreEqual) {
  for (const SplitSite& site : Good(World(100, 3), {.rule = SplitRule::kRandom, .sites = 7}).sites) {
    const size_t n = site.train.size() + site.test.size();
    EXPECT_TRUE(n == 14 || n == 15) << n;
  }
}

Counts LabelsAt(const std::vector<Example>& examples, const SplitSite& site) {
  Counts counts;
  for (const auto* places : {&site.train, &site.test})
    for (const size_t place : *places) ++counts[LabelOf(examples[place])];
  return counts;
}

/// Mean entropy of the sites' label distributions, in nats.
double MeanEntropy(const std::vector<Example>& examples, const SiteSplit& split) {
  double sum = 0.0;
  for (const SplitSite& site : split.sites) {
    const auto n = static_cast<double>(site.train.size() + site.test.size());
    for (const auto& [label, count] : LabelsAt(examples, site))
      sum -= static_cast<double>(count) / n * std::log(static_cast<double>(count) / n);
  }
  return sum / static_cast<double>(split.sites.size());
}

TEST(SplitIntoSites, SmallAlphaIsUnevenAndLargeAlphaIsTheWhole) {
  const std::vector<Example> examples = World(4000, 10);
  double last = 0.0;
  for (const double alpha : {0.02, 0.2, 2.0, 20.0}) {
    double entropy = 0.0;
    for (uint64_t seed = 0; seed < 5; ++seed)
      entropy += MeanEntropy(examples, Good(examples, {.rule = SplitRule::kLabel, .sites = 8, .alpha = alpha, .seed = seed})) / 5;
    EXPECT_GT(entropy, last + 0.05) << alpha;
    last = entropy;
  }
  const Counts whole = CountLabels(examples);
  for (const SplitSite& site : Good(examples, {.rule = SplitRule::kLabel, .sites = 8, .alpha = 1e9}).sites) {
    EXPECT_LT(TotalVariation(LabelsAt(examples, site), whole), 0.01);
    EXPECT_EQ(site.train.size() + site.test.size(), 500u);
  }
}

// Each label's shares are Dir(alpha): over many labels of one size the share of a site has the variance of the distribution.
TEST(SplitIntoSites, SharesOfALabelHaveTheVarianceOfTheDistribution) {
  constexpr int64_t kLabels = 2000, kEach = 100, kSites = 4;
  const std::vector<Example> examples = World(kLabels * kEach, kLabels);
  const SiteSplit split = Good(examples, {.rule = SplitRule::kLabel, .sites = kSites, .alpha = 1.0});
  const Counts counts = LabelsAt(examples, split.sites[1]);
  double sum = 0.0, squares = 0.0;
  for (int64_t label = 0; label < kLabels; ++label) {
    const auto it = counts.find("label " + std::to_string(label));
    const double share = it == counts.end() ? 0.0 : static_cast<double>(it->second) / kEach;
    sum += share;
    squares += share * share;
  }
  const double mean = sum / kLabels, variance = squares / kLabels - mean * mean;
  const double expected = 0.25 * 0.75 / (kSites * 1.0 + 1.0);
  EXPECT_NEAR(mean, 0.25, 5.0 * std::sqrt(expected / kLabels));
  EXPECT_NEAR(variance, expected, 0.15 * expected);  // the standard error is about 3 %
}

TEST(SplitIntoSites, WhatSitesLackIsMovedOnceAndCounted) {
  const std::vector<Example> examples = World(300, 3);
  SplitOptions options = {.rule = SplitRule::kLabel, .sites = 20, .alpha = 0.01, .test_share = 0.0, .min_examples = 1};
  const SiteSplit few = Good(examples, options);
  EXPECT_GE(few.moved, 11) << "three labels at alpha 0.01 fill few of 20 sites";
  options.min_examples = 15;
  const SiteSplit equal = Good(examples, options);
  for (const SplitSite& site : equal.sites) EXPECT_EQ(site.train.size(), 15u);
  EXPECT_GT(equal.moved, few.moved);
  options.alpha = 1000.0;
  options.min_examples = 5;
  EXPECT_EQ(Good(examples, options).moved, 0);
}

TEST(SplitIntoSites, TestExamplesAreInProportion) {
  std::vector<Example> examples;
  for (int64_t i = 0; i < 100; ++i)
    examples.push_back({i, "q", "", i < 80 ? "common" : i < 90 ? "rare" : "once " + std::to_string(i), "t"});
  const SiteSplit split = Good(examples, {.rule = SplitRule::kRandom, .sites = 1, .test_share = 0.2});
  ASSERT_EQ(split.sites[0].test.size(), 20u);
  int64_t common = 0, rare = 0;
  for (const size_t place : split.sites[0].test) {
    common += place < 80 ? 1 : 0;
    rare += place >= 80 && place < 90 ? 1 : 0;
  }
  EXPECT_EQ(common, 16);
  EXPECT_EQ(rare, 2);
  const SiteSplit small = Good(World(4, 4), {.rule = SplitRule::kRandom, .sites = 2, .test_share = 0.01});
  EXPECT_EQ(small.sites[0].test.size(), 1u) << "at least one";
  EXPECT_EQ(Good(World(4, 4), {.rule = SplitRule::kRandom, .sites = 2, .test_share = 0.99}).sites[0].train.size(), 1u);
}

TEST(SplitIntoSites, RefusesWhatCannotBe) {
  const auto refusal = [](const SplitOptions& options) {
    const auto split = SplitIntoSites(World(21, 7), options);
    EXPECT_EQ(split.ok() ? ErrorKind::kInternal : KindOf(split.status()), ErrorKind::kUsage);
    return std::string(split.status().message());
  };
  EXPECT_SAYS(refusal({.rule = SplitRule::kRandom, .sites = 11}), "there are 21 examples for 11 sites of at least 2; give more");
  EXPECT_SAYS(refusal({.rule = SplitRule::kLabel, .sites = 22, .test_share = 0.0}), "21 examples for 22 sites of at least 1");
  EXPECT_SAYS(refusal({.rule = SplitRule::kTask, .sites_per_task = 4}), "task \"task 0\" has 7 examples for 4 sites of at least 2");
  EXPECT_SAYS(refusal({.rule = SplitRule::kTask, .sites = 4}), "--sites is 4, but 3 tasks of 1 site each make 3");
  EXPECT_SAYS(refusal({.rule = SplitRule::kRandom, .sites = 2, .min_examples = 5, .limit = 4}), "--limit is 4");
}

TEST(DealTests, GivesEachTasksTestsToItsSites) {
  const std::vector<Example> examples = World(60, 5), tests = World(45, 5);
  SiteSplit split = Good(examples, {.rule = SplitRule::kTask, .sites_per_task = 2, .test_share = 0.0});
  ASSERT_TRUE(DealTests(tests, 0, split).ok());
  std::set<size_t> dealt;
  for (const SplitSite& site : split.sites) {
    EXPECT_TRUE(site.test.size() == 7 || site.test.size() == 8) << site.test.size();
    for (const size_t place : site.test) {
      EXPECT_EQ(tests[place].tag, site.task);
      EXPECT_TRUE(dealt.insert(place).second);
    }
  }
  EXPECT_EQ(dealt.size(), tests.size());
  std::vector<Example> strange = tests;
  strange[7].tag = "none";
  EXPECT_SAYS(DealTests(strange, 0, split).message(), "task \"none\" has 1 test examples, but no training example");
  EXPECT_SAYS(DealTests(World(5, 5), 0, split).message(), "task \"task 1\" has fewer test examples than its 2 sites");
}

TEST(Apportion, LargestRemainders) {
  EXPECT_EQ(Apportion({50, 30, 20}, 10, {0, 1, 2}), (std::vector<int64_t>{5, 3, 2}));
  EXPECT_EQ(Apportion({1, 1, 1, 1}, 2, {3, 1, 0, 2}), (std::vector<int64_t>{0, 1, 0, 1}));
  EXPECT_EQ(Apportion({6, 3, 1}, 10, {0, 1, 2}), (std::vector<int64_t>{6, 3, 1}));
  EXPECT_EQ(Apportion({6, 3, 1}, 1, {2, 1, 0}), (std::vector<int64_t>{1, 0, 0}));
  EXPECT_EQ(ApportionShares({0.5, 0.25, 0.25}, 5), (std::vector<int64_t>{3, 1, 1}));
  EXPECT_EQ(ApportionShares({0.1, 0.2, 0.7}, 10), (std::vector<int64_t>{1, 2, 7}));
}

}  // namespace
}  // namespace fedalt
