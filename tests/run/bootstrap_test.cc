// Intervals, p-values and corrections against NumPy, SciPy and statsmodels (tests/golden/statistics.py).
#include "run/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>

#include <fstream>
#include <nlohmann/json.hpp>

namespace fedalt {
namespace {

using nlohmann::json;

constexpr int64_t kResamples = 20'000;
// The quantile of a bootstrap distribution has a standard error of sqrt(q (1 - q) / B) over its density: at 2.5 % of a normal one,
// 2.7 sigma / sqrt(B), which is 0.5 % of the interval's width for our 20,000 and 0.2 % for SciPy's 100,000 resamples. Five of them:
constexpr double kOfWidth = 0.03;

const json& Golden() {
  static const json& golden = *new json([] {
    std::ifstream file(FEDALT_TEST_DATA "/statistics/statistics.json");
    EXPECT_TRUE(file.good());
    return json::parse(file);
  }());
  return golden;
}

void ExpectInterval(const Estimate& estimate, const json& interval) {
  const double low = interval[0].get<double>(), high = interval[1].get<double>(), tolerance = kOfWidth * (high - low);
  EXPECT_NEAR(estimate.low, low, tolerance);
  EXPECT_NEAR(estimate.high, high, tolerance);
}

double MeanOfMeans(const RunScores& run) {
  double mean = 0.0;
  for (const std::vector<double>& site : run)
    for (double score : site) mean += score / static_cast<double>(site.size() * run.size());
  return mean;
}

TEST(Bootstrap, ExamplesWithinSitesAgreeWithScipy) {
  const json& golden = Golden()["sites"];
  const auto a = golden["a"].get<RunScores>(), b = golden["b"].get<RunScores>();
  const BootstrapOptions options{kResamples, golden["confidence"].get<double>(), 1, 1};
  const auto statistics = CompareVariants({{{&a}}, {{&b}}}, options);
  ASSERT_EQ(statistics.size(), 2u);
  ExpectInterval(*statistics[0].mean, golden["a_mean"]);
  EXPECT_NEAR(statistics[0].mean->value, MeanOfMeans(a), 1e-12);
  ASSERT_EQ(statistics[0].per_site.size(), 3u);
  for (size_t k = 0; k < 3; ++k) ExpectInterval(statistics[0].per_site[k], golden["a_sites"][k]);
  ExpectInterval(statistics[0].versus_reference->estimate, golden["difference"]);
  EXPECT_NEAR(statistics[0].versus_reference->estimate.value, MeanOfMeans(a) - MeanOfMeans(b), 1e-12);
  EXPECT_FALSE(statistics[1].versus_reference) << "the reference is not compared with itself";
}

TEST(Bootstrap, SeedsAsBlocksAgreeWithScipy) {
  const json& golden = Golden()["seeds"];
  std::vector<RunScores> runs;
  for (const json& seed : golden["values"]) {
    runs.emplace_back();
    for (const json& site : seed) runs.back().push_back({site.get<double>()});
  }
  VariantScores variant;
  for (const RunScores& run : runs) variant.seeds.push_back(&run);
  const auto statistics = CompareVariants({variant}, {kResamples, golden["confidence"].get<double>(), 2, 0});
  ExpectInterval(*statistics[0].mean, golden["mean"]);
  ExpectInterval(statistics[0].per_site[0], golden["site_0"]);
}

TEST(Bootstrap, ExamplesAndSeedsAgreeWithNumpy) {
  const json& golden = Golden()["crossed"];
  const auto a = golden["a"].get<std::vector<RunScores>>(), b = golden["b"].get<std::vector<RunScores>>();
  std::vector<VariantScores> variants(2);
  for (const RunScores& run : a) variants[0].seeds.push_back(&run);
  for (const RunScores& run : b) variants[1].seeds.push_back(&run);
  const auto statistics = CompareVariants(variants, {kResamples, golden["confidence"].get<double>(), 3, 1});
  ExpectInterval(*statistics[0].mean, golden["mean"]);
  ExpectInterval(statistics[0].versus_reference->estimate, golden["difference"]);
  // A tail of 0.2 % of 20,000 has a standard error of 0.03 %; p is twice the tail.
  EXPECT_NEAR(statistics[0].versus_reference->p, golden["p"].get<double>(), 0.0035);
}

TEST(Bootstrap, EqualScoresDifferByNothing) {
  const RunScores run = {{0.1, 0.7, 0.3}, {0.2, 0.9}}, same = run;
  const auto statistics = CompareVariants({{{&run}}, {{&same}}}, {500, 0.95, 4, 0});
  const Difference& difference = *statistics[1].versus_reference;
  EXPECT_EQ(difference.estimate.low, 0.0);
  EXPECT_EQ(difference.estimate.high, 0.0);
  EXPECT_EQ(difference.p, 1.0);
}

TEST(Bootstrap, PairingMakesAConstantDifferenceCertain) {
  const RunScores run = {{0.125, 0.75, 0.25}, {0.5, 0.0}}, better = {{0.375, 1.0, 0.5}, {0.75, 0.25}};
  const auto statistics = CompareVariants({{{&run}}, {{&better}}}, {999, 0.95, 5, 0});
  const Difference& difference = *statistics[1].versus_reference;
  EXPECT_NEAR(difference.estimate.low, 0.25, 1e-12);
  EXPECT_NEAR(difference.estimate.high, 0.25, 1e-12);
  EXPECT_DOUBLE_EQ(difference.p, 2.0 / 1000.0) << "never zero: the least that so many resamples can say";
}

TEST(Bootstrap, MissingSeedsAreLeftOutAndDifferencesUseWhatBothHave) {
  const RunScores zero = {{0.0, 0.0}}, half = {{0.5, 0.5}}, one = {{1.0, 1.0}};
  const std::vector<VariantScores> variants = {{{&zero, &one}}, {{nullptr, &half}}, {{nullptr, nullptr}}, {{&half, &half}}};
  const auto statistics = CompareVariants(variants, {2000, 0.95, 6, 0});
  EXPECT_DOUBLE_EQ(statistics[1].mean->value, 0.5);
  EXPECT_DOUBLE_EQ(statistics[1].versus_reference->estimate.value, -0.5) << "over the second seed alone";
  EXPECT_FALSE(statistics[2].mean);
  EXPECT_FALSE(statistics[2].versus_reference);
  EXPECT_TRUE(statistics[2].per_site.empty());
  EXPECT_DOUBLE_EQ(statistics[3].versus_reference->estimate.value, 0.0);
  EXPECT_DOUBLE_EQ(statistics[3].versus_reference->estimate.high, 0.5) << "the reference's two seeds are far apart";
}

TEST(Bootstrap, DoesNotDependOnHowTheSitesAreListed) {
  const RunScores run = {{0.1, 0.7, 0.3}, {0.2, 0.9, 0.4, 0.6}, {0.15, 0.25}},
                  other = {{0.3, 0.2, 0.9}, {0.1, 0.1, 0.7, 0.2}, {0.5, 0.1}};
  const RunScores run_otherwise = {run[2], run[0], run[1]}, other_otherwise = {other[2], other[0], other[1]};
  const auto a = CompareVariants({{{&run}}, {{&other}}}, {300, 0.95, 7, 0, {"x", "y", "z"}});
  const auto b = CompareVariants({{{&run_otherwise}}, {{&other_otherwise}}}, {300, 0.95, 7, 0, {"z", "x", "y"}});
  const auto expect_equal = [](const Estimate& left, const Estimate& right) {
    EXPECT_EQ(left.value, right.value);
    EXPECT_EQ(left.low, right.low);
    EXPECT_EQ(left.high, right.high);
  };
  for (const size_t v : {0, 1}) {
    expect_equal(*a[v].mean, *b[v].mean);
    for (const auto& [left, right] : {std::pair{0, 1}, {1, 2}, {2, 0}})
      expect_equal(a[v].per_site[static_cast<size_t>(left)], b[v].per_site[static_cast<size_t>(right)]);
  }
  EXPECT_EQ(a[1].versus_reference->p, b[1].versus_reference->p);
}

TEST(TwoSidedP, OfReplicatesThatAreNoNumbersIsOne) {
  EXPECT_EQ(TwoSidedP(std::vector<double>(100, std::nan(""))), 1.0);
}

TEST(Bootstrap, IsAFunctionOfItsSeed) {
  const RunScores run = {{0.1, 0.7, 0.3, 0.9, 0.2}};
  const auto high = [&run](uint64_t seed) { return CompareVariants({{{&run}}}, {50, 0.9, seed, 0})[0].mean->high; };
  EXPECT_EQ(high(1), high(1));
  EXPECT_NE(high(1), high(2));
}

TEST(Quantile, AgreesWithNumpy) {
  for (const json& test : Golden()["quantiles"]) {
    const auto values = test["values"].get<std::vector<double>>();
    for (size_t i = 0; i < test["q"].size(); ++i)
      EXPECT_NEAR(Quantile(values, test["q"][i].get<double>()), test["quantiles"][i].get<double>(), 1e-12) << test;
  }
}

TEST(TwoSidedP, CountsBothTailsAndAddsOne) {
  EXPECT_DOUBLE_EQ(TwoSidedP({1, 2, 3, -1, 4, 5, 6, 7, 8}), 2.0 * 2 / 10);
  EXPECT_DOUBLE_EQ(TwoSidedP({-1, -2, -3}), 2.0 * 1 / 4);
  EXPECT_DOUBLE_EQ(TwoSidedP({0, 0, 1, 0}), 1.0);
}

TEST(HolmCorrection, AgreesWithStatsmodels) {
  for (const json& test : Golden()["holm"]) {
    const std::vector<double> corrected = HolmCorrection(test["p"].get<std::vector<double>>());
    ASSERT_EQ(corrected.size(), test["holm"].size());
    for (size_t i = 0; i < corrected.size(); ++i) EXPECT_NEAR(corrected[i], test["holm"][i].get<double>(), 1e-12) << test;
  }
  EXPECT_TRUE(HolmCorrection({}).empty());
}

}  // namespace
}  // namespace fedalt
