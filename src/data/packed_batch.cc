#include "data/packed_batch.h"

#include <algorithm>

#include "base/check.h"

namespace fedalt {

PackedBatch PackExamples(std::span<const TokenizedExample* const> examples) {
  PackedBatch batch;
  batch.offsets.push_back(0);
  for (const TokenizedExample* example : examples) {
    const int64_t size = static_cast<int64_t>(example->tokens.size());
    FEDALT_CHECK(example->response_begin >= 1 && example->response_begin < size,
                 "a response needs a token before it and one of its own");
    const int64_t first_row = batch.offsets.back();
    for (int64_t i = 0; i + 1 < size; ++i) {
      batch.tokens.push_back(example->tokens[static_cast<size_t>(i)]);
      batch.positions.push_back(i);
      if (i + 1 < example->response_begin) continue;
      batch.response_rows.push_back(first_row + i);
      batch.targets.push_back(example->tokens[static_cast<size_t>(i) + 1]);
    }
    batch.offsets.push_back(first_row + size - 1);
    batch.example_ids.push_back(example->id);
  }
  return batch;
}

std::vector<std::vector<int64_t>> PlanBatches(int64_t num_examples, const BatchPlan& plan) {
  FEDALT_CHECK(num_examples > 0 && plan.batch_size > 0 && plan.epochs >= 0 && plan.steps >= 0, "a batch plan needs examples");
  std::vector<std::vector<int64_t>> batches;
  const auto is_done = [&](int64_t epoch) {
    return plan.steps > 0 ? static_cast<int64_t>(batches.size()) >= plan.steps : epoch >= plan.epochs;
  };
  for (int64_t epoch = 0; !is_done(epoch); ++epoch) {
    const RandomStream stream(plan.seed, RandomPurpose::kShuffle, {plan.site, plan.round, static_cast<uint64_t>(epoch)});
    const std::vector<int64_t> order = stream.Permutation(num_examples);
    for (int64_t begin = 0; begin < num_examples && !(plan.steps > 0 && is_done(epoch)); begin += plan.batch_size) {
      const int64_t end = std::min(num_examples, begin + plan.batch_size);
      batches.emplace_back(order.begin() + begin, order.begin() + end);
    }
  }
  return batches;
}

}  // namespace fedalt
