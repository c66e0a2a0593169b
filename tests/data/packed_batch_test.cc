#include "data/packed_batch.h"

#include <gtest/gtest.h>

#include <set>

namespace fedalt {
namespace {

TEST(PackExamples, LaysSequencesEndToEndWithTheirTargets) {
  const TokenizedExample a{.id = 5, .tokens = {10, 11, 12, 13, 2}, .response_begin = 3};
  const TokenizedExample b{.id = 9, .tokens = {20, 2}, .response_begin = 1};
  const TokenizedExample c{.id = 1, .tokens = {30, 31, 32, 2}, .response_begin = 1};
  const TokenizedExample* examples[] = {&a, &b, &c};
  const PackedBatch batch = PackExamples(examples);
  EXPECT_EQ(batch.tokens, (std::vector<int64_t>{10, 11, 12, 13, 20, 30, 31, 32}));
  EXPECT_EQ(batch.positions, (std::vector<int64_t>{0, 1, 2, 3, 0, 0, 1, 2}));
  EXPECT_EQ(batch.offsets, (std::vector<int64_t>{0, 4, 5, 8}));
  EXPECT_EQ(batch.example_ids, (std::vector<int64_t>{5, 9, 1}));
  EXPECT_EQ(batch.response_rows, (std::vector<int64_t>{2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(batch.targets, (std::vector<int64_t>{13, 2, 2, 31, 32, 2}));
}

TEST(PackExamples, NothingGivesAnEmptyBatch) {
  const PackedBatch batch = PackExamples({});
  EXPECT_EQ(batch.offsets, (std::vector<int64_t>{0}));
  EXPECT_TRUE(batch.tokens.empty());
}

TEST(PackExamplesDeathTest, AResponseNeedsATokenBeforeIt) {
  const TokenizedExample bad{.id = 0, .tokens = {10, 2}, .response_begin = 0};
  const TokenizedExample* examples[] = {&bad};
  EXPECT_DEATH(PackExamples(examples), "a response needs a token before it");
}

TEST(PlanBatches, EveryEpochTakesEachExampleOnce) {
  const auto batches = PlanBatches(10, {.seed = 1, .site = 2, .round = 3, .epochs = 3, .batch_size = 4});
  ASSERT_EQ(batches.size(), 9u);
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::multiset<int64_t> seen;
    for (int i = 0; i < 3; ++i) {
      const auto& batch = batches[static_cast<size_t>(3 * epoch + i)];
      EXPECT_EQ(batch.size(), i < 2 ? 4u : 2u);
      seen.insert(batch.begin(), batch.end());
    }
    EXPECT_EQ(seen.size(), 10u);
    EXPECT_EQ(std::set<int64_t>(seen.begin(), seen.end()).size(), 10u);
  }
  EXPECT_NE(batches[0], batches[3]);  // a fresh order
}

TEST(PlanBatches, AnswersToItsWholeKeyAndToNothingElse) {
  const BatchPlan plan{.seed = 1, .site = 2, .round = 3, .epochs = 1, .batch_size = 100};
  const auto batches = PlanBatches(100, plan);
  EXPECT_EQ(batches, PlanBatches(100, plan));
  for (const auto change : {&BatchPlan::seed, &BatchPlan::site, &BatchPlan::round}) {
    BatchPlan other = plan;
    other.*change += 1;
    EXPECT_NE(batches, PlanBatches(100, other));
  }
}

TEST(PlanBatches, StepsOverrideEpochs) {
  const BatchPlan plan{.seed = 1, .site = 2, .round = 3, .epochs = 4, .batch_size = 4};
  const auto whole = PlanBatches(10, plan);
  for (const int64_t steps : {1, 3, 7, 12}) {
    BatchPlan by_steps = plan;
    by_steps.epochs = 1;
    by_steps.steps = steps;
    const auto batches = PlanBatches(10, by_steps);
    EXPECT_EQ(batches, (std::vector<std::vector<int64_t>>(whole.begin(), whole.begin() + steps)));
  }
  EXPECT_TRUE(PlanBatches(10, {.epochs = 0}).empty());
}

}  // namespace
}  // namespace fedalt
