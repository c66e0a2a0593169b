// Products between a tall matrix (T tokens, d features) and a few columns: what a LoRA branch adds to a linear, forward and
// backward.
//
// A general matrix product copies both operands into its own layout first; with a handful of columns the copies cost more than the
// product. On the CPU (elsewhere see adapter/low_rank_expressions.h) each tall matrix is read (or written) once, widened from
// bfloat16 on the way, and dropout's mask is applied to what is in cache. Sums run in the adapters' dtype (float32, or float64 for
// a float64 base) and in an order that does not depend on the number of threads. Rows of tall matrices may lie apart (columns of
// a stack, model/linear.h). Stateless, any thread; parallel inside. Shapes: t token, f feature, c column.
#pragma once

#include <ATen/ATen.h>

#include "adapter/dropout.h"

namespace fedalt {

/// One more column, which dropout leaves alone (the mixer's); undefined tensors: none.
struct PlainColumn {
  at::Tensor of_tokens_t1;    ///< (T, 1)
  at::Tensor of_features_1f;  ///< (1, d)
};

struct Projection {
  at::Tensor u_tc;  ///< mask(x) A^T
  at::Tensor z_t1;  ///< x g^T; undefined without g
};
/// x (T, d) kFloat, kBFloat16 or kDouble; a (C, d) and g (1, d) kFloat (kDouble for kDouble). `mask` null: no dropout.
Projection ProjectRows(const at::Tensor& x_tf, const at::Tensor& a_cf, const DropoutBits* mask, const at::Tensor& g_1f = {});

/// y += mask(h b) + of_tokens of_features, rounded to y's dtype once. y (T, d), h (T, C), b (C, d).
void AddRankUpdate(at::Tensor& y_tf, const at::Tensor& h_tc, const at::Tensor& b_cf, const DropoutBits* mask,
                   const PlainColumn& plain = {});

struct ColumnSums {
  at::Tensor sums_fc;   ///< mask(x)^T h
  at::Tensor plain_1f;  ///< of_tokens^T x; undefined without of_tokens
};
/// x (T, d), h (T, C), of_tokens (T, 1).
ColumnSums SumOverTokens(const at::Tensor& x_tf, const at::Tensor& h_tc, const DropoutBits* mask,
                         const at::Tensor& of_tokens_t1 = {});

}  // namespace fedalt
