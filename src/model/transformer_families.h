// The families behind Transformer::FromTensors, and what they share. Private to src/model.
#pragma once

#include <memory>
#include <vector>

#include "model/attention.h"
#include "model/transformer.h"

namespace fedalt {

StatusOr<std::shared_ptr<const Transformer>> MakeLlama(const ModelConfig& config, const NamedTensors& tensors,
                                                       const TransformerLoadOptions& options);
StatusOr<std::shared_ptr<const Transformer>> MakeBloom(const ModelConfig& config, const NamedTensors& tensors,
                                                       const TransformerLoadOptions& options);

/// The plan of one forward call; `rope` may be null, `cache` too. Checks that offsets and token ids make sense.
AttentionPlanPtr MakeAttentionPlan(const AttentionShape& shape, const PackedTokens& tokens, int64_t vocab_size, const Rope* rope,
                                   const KvCache* cache);

}  // namespace fedalt
