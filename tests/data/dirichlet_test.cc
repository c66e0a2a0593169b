// Gamma and Dirichlet draws against their moments, which mathematics gives (digamma and trigamma function; Johnson, Kotz and
// Balakrishnan, "Continuous Multivariate Distributions", chapter 49). Tolerances: five standard errors of the mean of n draws.
#include "data/dirichlet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace fedalt {
namespace {

RandomStream Stream(uint64_t a, uint64_t b) {
  return RandomStream(11, RandomPurpose::kData, {a, b});
}

TEST(LogGammaDraw, HasTheMomentsOfTheLogarithm) {
  constexpr int kDraws = 20000;
  struct Case {
    double shape, digamma, trigamma;
  };
  for (const Case& c : {Case{0.1, -10.423754940411076, 101.43329915079276}, Case{0.5, -1.9635100260214235, 4.934802200544679},
                        Case{1.0, -0.5772156649015329, 1.6449340668482264}, Case{5.0, 1.5061176684318005, 0.22132295573711533}}) {
    double sum = 0.0, squares = 0.0;
    for (uint64_t i = 0; i < kDraws; ++i) {
      const double draw = LogGammaDraw(Stream(1, i), c.shape);
      sum += draw;
      squares += draw * draw;
    }
    const double mean = sum / kDraws, variance = squares / kDraws - mean * mean;
    EXPECT_NEAR(mean, c.digamma, 5.0 * std::sqrt(c.trigamma / kDraws)) << c.shape;
    EXPECT_NEAR(variance, c.trigamma, 0.1 * c.trigamma) << c.shape;  // its kurtosis is at most 9: 5 standard errors are 0.1
  }
}

TEST(DirichletShares, HasMeanAndVarianceOfTheDistribution) {
  constexpr int kDraws = 5000, kParts = 5;
  for (const double alpha : {0.1, 1.0, 10.0}) {
    double sum = 0.0, squares = 0.0;
    for (uint64_t i = 0; i < kDraws; ++i) {
      std::vector<RandomStream> streams;
      for (uint64_t k = 0; k < kParts; ++k) streams.push_back(Stream(i, k));
      const std::vector<double> shares = DirichletShares(streams, alpha);
      ASSERT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 1.0, 1e-12);
      sum += shares[2];
      squares += shares[2] * shares[2];
    }
    const double mean = 1.0 / kParts, variance = mean * (1.0 - mean) / (kParts * alpha + 1.0);
    EXPECT_NEAR(sum / kDraws, mean, 5.0 * std::sqrt(variance / kDraws)) << alpha;
    EXPECT_NEAR(squares / kDraws - sum / kDraws * sum / kDraws, variance, 0.15 * variance) << alpha;
  }
}

TEST(DirichletShares, TakesAnyAlpha) {
  const std::vector<RandomStream> streams = {Stream(0, 0), Stream(0, 1), Stream(0, 2)};
  const std::vector<double> tiny = DirichletShares(streams, 1e-6), huge = DirichletShares(streams, 1e12);
  for (const double share : tiny) EXPECT_TRUE(std::isfinite(share) && (share < 1e-9 || share > 1.0 - 1e-9)) << share;
  EXPECT_NEAR(std::accumulate(tiny.begin(), tiny.end(), 0.0), 1.0, 1e-12);
  for (const double share : huge) EXPECT_NEAR(share, 1.0 / 3.0, 1e-5);
  EXPECT_EQ(DirichletShares({Stream(0, 0)}, 0.5), std::vector<double>{1.0});
  EXPECT_EQ(DirichletShares(streams, 0.5), DirichletShares(streams, 0.5));
}

}  // namespace
}  // namespace fedalt
