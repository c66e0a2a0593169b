// What greedy search, sampling and beam search share. Private to src/model.
#pragma once

#include <cstdint>
#include <vector>

#include "model/generate.h"

namespace fedalt {

/// Prompts that are decoded together: indices into the caller's list.
struct GenerateBatch {
  const Transformer& model;
  const std::vector<std::vector<int32_t>>& prompts;
  std::vector<size_t> indices;
  const GenerateOptions& options;
  const ForwardContext& context;
};

/// What the model says after the last token of each sequence.
struct NextTokens {
  at::Tensor logits_nv;  ///< (B, vocab), kFloat or kBFloat16
  at::Tensor hidden_nd;  ///< (B, d), from which the head made them
};
/// Feeds one run of tokens per sequence of the cache. No run may be empty. Errors (kTraining): what the model computes is not
/// finite.
StatusOr<NextTokens> ScoreNext(const GenerateBatch& batch, const std::vector<std::vector<int32_t>>& runs, KvCache& cache);

/// Longest prompt of the batch plus the new tokens.
int64_t CacheCapacity(const GenerateBatch& batch);

bool IsEos(const GenerateOptions& options, int64_t token);

/// New tokens per prompt of the batch, without EOS. Errors: those of ScoreNext.
StatusOr<std::vector<std::vector<int32_t>>> SampleBatch(const GenerateBatch& batch);
StatusOr<std::vector<std::vector<int32_t>>> BeamSearchBatch(const GenerateBatch& batch);

}  // namespace fedalt
