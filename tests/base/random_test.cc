#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace fedalt {
namespace {

// Known answers of Philox4x32-10 from the authors' distribution (Random123, tests/kat_vectors).
TEST(Philox, KnownAnswers) {
  using Block = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox4x32(0, {0, 0, 0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32(~uint64_t{0}, {~0u, ~0u, ~0u, ~0u}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, PathsAndPurposesAreIndependent) {
  std::set<uint64_t> keys;
  for (uint64_t site = 0; site < 10; ++site)
    for (uint64_t round = 0; round < 10; ++round)
      for (auto purpose : {RandomPurpose::kInit, RandomPurpose::kDropout, RandomPurpose::kShuffle})
        keys.insert(RandomStream(7, purpose, {site, round}).key());
  EXPECT_EQ(keys.size(), 300u);
}

TEST(RandomStream, PermutationHoldsEveryElementOnce) {
  auto order = RandomStream(1, RandomPurpose::kShuffle, {0}).Permutation(1000);
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(sorted[static_cast<size_t>(i)], i);
  EXPECT_NE(order, sorted);
}

TEST(RandomStream, BelowCoversTheRangeEvenly) {
  const RandomStream stream(3, RandomPurpose::kSampling, {});
  std::array<int, 5> count{};
  for (uint64_t i = 0; i < 50000; ++i) ++count[stream.Below(i, 5)];
  for (int c : count) EXPECT_NEAR(c, 10000, 500);  // 5 sigma is 447
}

}  // namespace
}  // namespace fedalt
