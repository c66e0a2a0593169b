// Text generation with a KV cache: greedy, sampling, and beam search that follows Hugging Face transformers.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "model/generate_options.h"
#include "model/transformer.h"

namespace fedalt {

/// New tokens per prompt, without the prompt and without EOS, in the order of `prompts`. Prompts must not be empty. May go beyond
/// max_position_embeddings. Errors: kConfig (options), kData (an empty prompt), kModel (an id outside the vocabulary), kMemory,
/// kTraining (what the model computes is not finite).
StatusOr<std::vector<std::vector<int32_t>>> Generate(const Transformer& model, const std::vector<std::vector<int32_t>>& prompts,
                                                     const GenerateOptions& options, const ForwardContext& context);

}  // namespace fedalt
