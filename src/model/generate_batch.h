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

/// Feeds one run of tokens per sequence of the cache and returns the logits (B, vocab), kFloat or kBFloat16, after the last token
/// of each. No run may be empty.
at::Tensor NextLogits(const GenerateBatch& batch, const std::vector<std::vector<int32_t>>& runs, KvCache& cache);

/// Longest prompt of the batch plus the new tokens.
int64_t CacheCapacity(const GenerateBatch& batch);

bool IsEos(const GenerateOptions& options, int64_t token);

/// New tokens per prompt of the batch, without EOS.
std::vector<std::vector<int32_t>> SampleBatch(const GenerateBatch& batch);
std::vector<std::vector<int32_t>> BeamSearchBatch(const GenerateBatch& batch);

}  // namespace fedalt
