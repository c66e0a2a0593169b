// The fixed-point sum: exact, in any order, bit for bit what a plain loop gives, by every set of vector instructions that this
// machine has and by any number of threads.
#include "fed/fixed_point_sum.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "fed/fedalt.h"
#include "fed/flat.h"
#include "fed/grid_kernels.h"

namespace fedalt {
namespace {

using Grid = std::vector<int64_t>;
using Floats = std::vector<float>;

constexpr size_t kLength = 257;

Floats Theta(uint64_t key, size_t length = kLength, double scale = 0.1) {
  const RandomStream stream(11, RandomPurpose::kData, {key});
  Floats values(length);
  for (size_t i = 0; i < length; ++i) values[i] = static_cast<float>(scale * (2.0 * stream.Uniform(i) - 1.0));
  return values;
}

/// What Add must do, written as it is defined: the first index that does not fit, or -1 and the sum.
int64_t AddPlainly(const Floats& theta, double weight, Grid& sums) {
  Grid result = sums;
  for (size_t i = 0; i < theta.size(); ++i) {
    const double scaled = std::nearbyint(weight * static_cast<double>(theta[i]) * 0x1p40);
    if (!(std::abs(scaled) < 0x1p62) || __builtin_add_overflow(sums[i], static_cast<int64_t>(scaled), &result[i]))
      return static_cast<int64_t>(i);
  }
  sums = result;
  return -1;
}

/// Values at every edge of a float and of the grid, with both signs.
Floats EdgeValues() {
  Floats values = {0.0f, 1.0f, FLT_MIN, FLT_TRUE_MIN, 3 * FLT_TRUE_MIN, FLT_MIN - FLT_TRUE_MIN, 0.1f, 1.0f / 3.0f};
  for (int exponent = -149; exponent < 22; ++exponent)
    for (const float mantissa : {1.0f, 1.5f, 1.25f, 1.75f, 1.0f + FLT_EPSILON, 2.0f - FLT_EPSILON})
      values.push_back(std::ldexp(mantissa, exponent));
  // Ties: odd multiples of half a step, and their neighbours.
  for (int n = 1; n < 40; n += 2)
    for (const float toward : {0.0f, 1.0f}) {
      const float tie = std::ldexp(static_cast<float>(n), -41);
      values.push_back(tie);
      values.push_back(std::nextafter(tie, toward));
    }
  // Where the two halves of a rounded value meet, and the largest ones.
  for (const float value : {0x1p-8f, 0x1p-9f, 0x1.8p-9f, 0x1p11f, 0x1.fffffep21f, 0x1.fffffcp21f})
    for (const float toward : {0.0f, 0x1p21f}) values.insert(values.end(), {value, std::nextafter(value, toward)});
  const size_t count = values.size();
  for (size_t i = 0; i < count; ++i) values.push_back(-values[i]);
  return values;
}

constexpr double kWeights[] = {1.0, 0.5, 0.3, 1.0 / 3.0, 0x1p-30, 0x1.fffffffffffffp-1, 1e-300, DBL_TRUE_MIN, -0.7};

std::vector<float> AllNonFinite() {
  return {INFINITY, -INFINITY, std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
          std::bit_cast<float>(0x7F800001)};
}

TEST(GridKernels, AddAsThePlainLoopDoesAtEveryEdge) {
  const Floats edges = EdgeValues();
  for (const GridKernel& kernel : GridKernels())
    for (const double weight : kWeights)
      for (size_t shift = 0; shift < 19; ++shift) {  // every lane meets every value, and there is a rest of every length
        const Floats values(edges.begin() + static_cast<std::ptrdiff_t>(shift), edges.end());
        Grid expected(values.size()), sums(values.size());
        for (size_t i = 0; i < sums.size(); ++i) expected[i] = sums[i] = static_cast<int64_t>(i * i) - 1000;
        ASSERT_EQ(AddPlainly(values, weight, expected), -1);
        kernel.add(values.data(), weight * 0x1p40, static_cast<int64_t>(values.size()), sums.data());
        ASSERT_EQ(sums, expected) << kernel.name << ", weight " << weight << ", from " << shift;
      }
}

TEST(GridKernels, AddAsThePlainLoopDoesOnRandomBits) {
  const RandomStream stream(3, RandomPurpose::kData, {1});
  Floats values;
  for (uint64_t i = 0; values.size() < 100'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(stream.Below(i, uint64_t{1} << 32)));
    if (std::abs(value) < 0x1p22f) values.push_back(value);  // false for NaN
  }
  for (const GridKernel& kernel : GridKernels())
    for (const double weight : kWeights) {
      Grid expected(values.size(), 5), sums(values.size(), 5);
      ASSERT_EQ(AddPlainly(values, weight, expected), -1);
      kernel.add(values.data(), weight * 0x1p40, static_cast<int64_t>(values.size()), sums.data());
      ASSERT_EQ(sums, expected) << kernel.name << ", weight " << weight;
    }
}

TEST(GridKernels, FindTheLargestMagnitudeAndWhatIsNotFinite) {
  for (const GridKernel& kernel : GridKernels())
    for (size_t length : {1u, 7u, 16u, 33u, 64u, 100u})
      for (size_t at = 0; at < length; ++at) {
        Floats values = Theta(1, length);
        values[at] = -5.0f;
        EXPECT_EQ(kernel.largest(values.data(), static_cast<int64_t>(length)), 5.0f) << kernel.name;
        for (const float bad : AllNonFinite()) {
          values[at] = bad;
          EXPECT_FALSE(std::isfinite(kernel.largest(values.data(), static_cast<int64_t>(length)))) << kernel.name << " at " << at;
        }
      }
}

/// With one thread and with two, on a length that two threads share.
class FixedPointSumOnThreads : public ::testing::TestWithParam<int> {
 protected:
  static constexpr size_t kLong = 300'001;
  void SetUp() override {
    before_ = at::get_num_threads();
    at::set_num_threads(GetParam());
  }
  void TearDown() override { at::set_num_threads(before_); }
  int before_ = 1;
};

TEST_P(FixedPointSumOnThreads, AddsAndSubtractsAsThePlainLoopDoes) {
  const Floats edges = EdgeValues();
  Floats many(kLong);
  for (size_t i = 0; i < kLong; ++i) many[i] = edges[(i * 7919) % edges.size()];
  FixedPointSum sum(kLong);
  Grid before(kLong, 0);
  ASSERT_EQ(AddPlainly(Theta(1, kLong), 0.3, before), -1);
  ASSERT_TRUE(sum.Add(Theta(1, kLong), 0.3).ok());
  for (const double weight : kWeights) {
    Grid expected = before;
    ASSERT_EQ(AddPlainly(many, weight, expected), -1);
    ASSERT_TRUE(sum.Add(many, weight).ok());
    ASSERT_EQ(sum.grid(), expected) << "weight " << weight;
    ASSERT_TRUE(sum.Subtract(many, weight).ok());
    ASSERT_EQ(sum.grid(), before) << "weight " << weight;
  }
}

TEST_P(FixedPointSumOnThreads, RefusesANonFiniteValueAnywhereAndNamesTheFirst) {
  FixedPointSum sum(kLong);
  const Floats good = Theta(1, kLong);
  ASSERT_TRUE(sum.Add(good, 1.0).ok());
  const Grid before = sum.grid();
  for (const float bad : AllNonFinite())
    for (size_t at : {size_t{0}, size_t{1}, size_t{2047}, size_t{2048}, kLong / 2, kLong - 1}) {
      Floats values = Theta(2, kLong);
      values[at] = bad;
      values[kLong - 1] = bad;
      const Status status = sum.Add(values, 0.3);
      ASSERT_FALSE(status.ok());
      EXPECT_EQ(KindOf(status), ErrorKind::kTraining);
      EXPECT_NE(status.message().find(absl::StrCat("value ", at, " is ")), absl::string_view::npos) << status.message();
      ASSERT_EQ(sum.grid(), before);
    }
  for (const double weight : {static_cast<double>(INFINITY), static_cast<double>(NAN), 1e300}) {
    EXPECT_FALSE(sum.Add(good, weight).ok());
    ASSERT_EQ(sum.grid(), before);
  }
  ASSERT_TRUE(sum.Add(Floats(kLong, 0.0f), 1e300).ok()) << "a weight beyond the grid is none of zero's business";
  EXPECT_EQ(sum.grid(), before);
}

TEST_P(FixedPointSumOnThreads, OverflowsExactlyWhereTheInt64Does) {
  // 2^62 is the first that is refused; two of the largest below it fit, and then not even the rest up to 2^63.
  const float largest = std::nextafter(0x1p22f, 0.0f);
  Floats values = Theta(3, kLong);
  FixedPointSum sum(kLong);
  Grid expected(kLong, 0);
  for (const float value : {0x1p22f, largest, largest, largest, 0x1p-2f, 0x1p-1f, 0x1p-1f, 0x1p-40f, -largest, -0x1p22f, -largest,
                            -largest, -largest, -1.0f, -0x1p-1f, largest})
    for (size_t at : {size_t{5}, kLong - 3}) {
      values[at] = value;
      const int64_t bad = AddPlainly(values, 1.0, expected);
      const Status status = sum.Add(values, 1.0);
      ASSERT_EQ(status.ok(), bad < 0) << value << " at " << at << ": " << status;
      if (bad >= 0) {
        EXPECT_NE(status.message().find(absl::StrCat("value ", bad, " is ")), absl::string_view::npos) << status;
      }
      ASSERT_EQ(sum.grid(), expected) << value << " at " << at;
      values[at] = 0.0f;
    }
}

TEST_P(FixedPointSumOnThreads, GoesOnAfterItsEstimateOfTheSumIsUsedUp) {
  // Each round adds what the last one took out: the sum stays small however often that happens.
  FixedPointSum sum(kLong);
  Grid expected(kLong, 0);
  const Floats values = Theta(4, kLong, 4e6);
  for (int i = 0; i < 20; ++i)
    for (const double weight : {1.0, -1.0}) {
      ASSERT_EQ(AddPlainly(values, weight, expected), -1);
      ASSERT_TRUE(sum.Add(values, weight).ok());
      ASSERT_EQ(sum.grid(), expected);
    }
}

TEST_P(FixedPointSumOnThreads, SeveralAtOnceAreAllAddedOrNone) {
  const std::vector<Floats> thetas = {Theta(1, kLong), Theta(2, kLong, 1e3), Theta(3, kLong, 1e-9), Theta(4, kLong, 5.7e6)};
  FixedPointSum one_by_one(kLong), together(kLong);
  std::vector<Contribution> contributions;
  for (size_t i = 0; i < thetas.size(); ++i) contributions.push_back({thetas[i], kWeights[i]});
  for (int round = 0; round < 3; ++round) {  // the third leaves the range of the quick check
    for (const auto& [theta, weight] : contributions) ASSERT_TRUE(one_by_one.Add(theta, weight).ok());
    ASSERT_TRUE(together.Add(contributions).ok());
    ASSERT_EQ(together.grid(), one_by_one.grid()) << "round " << round;
  }
  for (size_t bad = 0; bad < contributions.size(); ++bad) {
    Floats broken = thetas[bad];
    broken[kLong / 3] = NAN;
    std::vector<Contribution> with_broken = contributions;
    with_broken[bad].theta = broken;
    const Status status = together.Add(with_broken);
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.message().find(absl::StrCat("value ", kLong / 3, " is nan")), absl::string_view::npos) << status.message();
    ASSERT_EQ(together.grid(), one_by_one.grid());
  }
}

TEST_P(FixedPointSumOnThreads, RoundsItsValuesOnce) {
  FixedPointSum sum(kLong);
  for (uint64_t k = 0; k < 9; ++k) ASSERT_TRUE(sum.Add(Theta(k, kLong, k < 3 ? 1e5 : 1e-6), 0.7).ok());
  const Floats values = sum.Values();
  for (size_t i = 0; i < kLong; ++i)  // a long double holds every int64
    ASSERT_EQ(values[i], static_cast<float>(std::ldexp(static_cast<long double>(sum.grid()[i]), -kGridBits)));
}

TEST_P(FixedPointSumOnThreads, TheRestOfWorldIsWhatAPlainLoopGives) {
  const Floats own = Theta(6, kLong), all = Theta(7, kLong, 1.0);
  const Published sum{1, 4.5, 3, testing::Flat(all), std::nullopt};
  const Floats others = testing::Numbers(RestOfWorld(sum, {testing::Flat(own), 0.7})),
               everybody = testing::Numbers(RestOfWorld(sum, {}));
  for (size_t i = 0; i < kLong; ++i) {
    ASSERT_EQ(others[i], static_cast<float>((static_cast<double>(all[i]) - 0.7 * static_cast<double>(own[i])) / (4.5 - 0.7)));
    ASSERT_EQ(everybody[i], static_cast<float>(static_cast<double>(all[i]) / 4.5));
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, FixedPointSumOnThreads, ::testing::Values(1, 2));

TEST(FixedPointSum, HasTheSameBitsInAnyOrderAndDivision) {
  Grid reference;
  for (uint64_t trial = 0; trial < 5; ++trial) {
    FixedPointSum left(kLength), right(kLength);
    const auto permutation = RandomStream(trial, RandomPurpose::kShuffle, {}).Permutation(200);
    for (size_t i = 0; i < permutation.size(); ++i) {
      const auto k = static_cast<uint64_t>(permutation[i]);
      const double weight = static_cast<double>(100 + (k * 7919) % 300);
      ASSERT_TRUE((i % (trial + 2) == 0 ? left : right).Add(Theta(k, kLength, 3.0), weight).ok());
    }
    ASSERT_TRUE(left.Merge(right).ok());
    if (trial == 0) reference = left.grid();
    EXPECT_EQ(left.grid(), reference);
  }
}

TEST(FixedPointSum, AMergedSumStillSeesOverflow) {
  FixedPointSum left(3), right(3);
  ASSERT_TRUE(left.Add(Floats{0, 0, 3e6f}, 1.0).ok());
  ASSERT_TRUE(right.Add(Floats{0, 0, 3e6f}, 1.0).ok());
  ASSERT_TRUE(left.Merge(right).ok());
  const Grid before = left.grid();
  EXPECT_FALSE(left.Add(Floats{1, 1, 3e6f}, 1.0).ok());
  EXPECT_EQ(left.grid(), before);
  EXPECT_FALSE(left.Merge(left).ok());
  EXPECT_EQ(left.grid(), before);
}

TEST(FixedPointSum, RefusesWhatItCannotHoldAndStaysAsItWas) {
  FixedPointSum sum(3);
  ASSERT_TRUE(sum.Add(Floats{1, 2, 3}, 1.0).ok());
  // Each fits, the sum does not.
  Status status = absl::OkStatus();
  int64_t added = 0;
  while (status.ok() && added < 10) {
    status = sum.Add(Floats{0, 0, 3e6f}, 1.0);
    if (status.ok()) ++added;
  }
  EXPECT_FALSE(status.ok());
  EXPECT_GT(added, 0);
  EXPECT_NEAR(sum.Values()[2], 3.0 + 3e6 * static_cast<double>(added), 1.0);
}

}  // namespace
}  // namespace fedalt
