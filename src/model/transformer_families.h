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

/// What a forward goes on with behind the last attention: PackedTokens::wanted_rows.
class WantedRows {
 public:
  WantedRows(const PackedTokens& tokens, const ForwardContext& context, at::Device device);
  WantedRows(const WantedRows&) = delete;
  WantedRows& operator=(const WantedRows&) = delete;

  at::Tensor Of(const at::Tensor& x_td) const { return index_n_.defined() ? x_td.index_select(0, index_n_) : x_td; }
  /// The call's context for those rows.
  const ForwardContext& context() const { return context_; }

 private:
  at::Tensor index_n_;  // undefined: all
  TokenRows rows_;
  ForwardContext context_;
};

/// The plan of one forward call, for a team member's share of the heads if there is a team; `rope`, `cache` and `member` may be
/// null. Checks that offsets and token ids make sense.
AttentionPlanPtr MakeAttentionPlan(const AttentionShape& shape, const PackedTokens& tokens, int64_t vocab_size, const Rope* rope,
                                   const KvCache* cache, const TeamMember* member);

}  // namespace fedalt
