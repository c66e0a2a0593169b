// Several examples laid end to end, without padding, and the positions on which the loss is taken.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "data/dataset.h"

namespace fedalt {

/// Sequences packed end to end; sequence i is tokens[offsets[i] .. offsets[i + 1]). The last token of an example is
/// predicted but never read, so it is not among `tokens`.
struct PackedBatch {
  std::vector<int64_t> tokens;         ///< (T)
  std::vector<int64_t> positions;      ///< (T) position inside its sequence, from 0
  std::vector<int64_t> offsets;        ///< (B + 1)
  std::vector<int64_t> example_ids;    ///< (B)
  std::vector<int64_t> response_rows;  ///< (N) rows of `tokens` whose successor belongs to a response
  std::vector<int64_t> targets;        ///< (N) those successors
};

PackedBatch PackExamples(std::span<const TokenizedExample* const> examples);

/// The batches of one local pass: epoch after epoch, each a fresh permutation by (seed, site, round, epoch), consecutive
/// groups of batch_size, the last of an epoch may be smaller. If `steps` > 0 exactly that many batches are given (going on
/// into further epochs, or ending early) and `epochs` is ignored.
struct BatchPlan {
  uint64_t seed = 0;
  uint64_t site = 0;
  uint64_t round = 0;
  int64_t epochs = 1;
  int64_t steps = 0;
  int64_t batch_size = 8;
};
/// Indices into the site's examples, one vector per batch.
std::vector<std::vector<int64_t>> PlanBatches(int64_t num_examples, const BatchPlan& plan);

}  // namespace fedalt
