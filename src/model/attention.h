// Causal self-attention over packed sequences, with rotary or ALiBi positions, grouped key-value heads and an optional sliding
// window.
//
// On the CPU one hand-written kernel (elsewhere model/tensor_expressions.h): work is divided by (sequence, key-value head),
// probabilities never leave a thread's scratch memory and are computed again in the backward pass. Softmax runs in float32 (float64
// for float64 tensors). The result does not depend on the number of threads. Thread-safe: no state outside the arguments.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "model/rope.h"

namespace fedalt {

namespace expressions {
struct Geometry;
}

/// How q, k and v lie in one row of their projection.
enum class QkvOrder {
  kStacked,  ///< all heads of q, then those of k, then those of v
  kByHead,   ///< per head q, k and v (Bloom; as many key-value heads as heads)
};

struct AttentionShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  double scale = 1.0;                ///< applied to q k^T
  std::vector<double> alibi_slopes;  ///< per head; empty: no ALiBi
  QkvOrder order = QkvOrder::kStacked;

  int64_t qkv_features() const { return (heads + 2 * kv_heads) * head_dim; }
};

/// What all layers of one forward call share.
struct AttentionPlan : public torch::CustomClassHolder {
  AttentionShape shape;
  int64_t first_kv_head = 0;                            ///< of a cache's, which of them is the shape's first
  std::vector<int64_t> offsets;                         ///< (B + 1) rows of the packed tokens
  std::vector<std::shared_ptr<const RopeTable>> ropes;  ///< per sequence; empty: q and k are not rotated
  std::vector<int64_t> first_wanted;                    ///< per sequence: its first row that is wanted; empty: all are
  /// Of model/attention_expressions.cc, which fills it in the first layer of a call.
  mutable std::shared_ptr<const expressions::Geometry> geometry;
};
using AttentionPlanPtr = c10::intrusive_ptr<AttentionPlan>;

/// Which rows of the output are computed.
enum class Queries {
  kAll,
  kFromFirstWanted,  ///< per sequence from the plan's first_wanted on; rows before it are unspecified and get no gradient
};

/// qkv (T, qkv_features) -> (T, heads * head_dim). Differentiable. `window`: tokens that a token may see, itself included; 0: all
/// before it.
at::Tensor PackedAttention(const at::Tensor& qkv, const AttentionPlanPtr& plan, int64_t window, Queries queries = Queries::kAll);

/// Where the keys and values of a batch of sequences lie: position p of sequence b is row p of slot slots[b * capacity + p].
struct CacheView {
  at::Tensor keys, values;         ///< (slots, kv_heads, capacity, head_dim); keys rotated
  const int32_t* slots = nullptr;  ///< (B, capacity)
  int64_t capacity = 0;
  const int64_t* lengths = nullptr;  ///< (B) tokens stored before this call
};

/// Writes this call's keys (rotated) and values behind the stored ones, then attends to all of them. Shapes as PackedAttention. No
/// gradients.
at::Tensor CachedAttention(const at::Tensor& qkv, const AttentionPlan& plan, int64_t window, const CacheView& cache,
                           Queries queries = Queries::kAll);

}  // namespace fedalt
