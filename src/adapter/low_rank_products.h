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

#include <functional>

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

/// The factors of a term y += gate(x A^T, x g^T) B, laid out once for many calls with a few rows.
struct FewRowsFactors {
  int64_t columns = 0;  ///< C
  at::Tensor a_fc;      ///< A^T (d_in, C padded to whole vectors) kFloat
  at::Tensor b_cf;      ///< B (C, d_out padded by up to two vectors) kFloat
  at::Tensor g_1f;      ///< (1, d_in) kFloat; undefined: no g
};
/// a (C, d_in) and b (C, d_out) kFloat, g (1, d_in) or undefined.
FewRowsFactors LayOut(const at::Tensor& a_cf, const at::Tensor& b_cf, const at::Tensor& g_1f);

/// gate(u, row, z, h): h (T, C), contiguous, from u = x A^T, whose rows lie `row` apart, and z = x g^T (null without g).
using GateFunction = std::function<void(const float* u, int64_t row, const float* z, float* h)>;
/// y += gate(x A^T, x g^T) B for features `first` and the following of B, one for each of y's. On the CPU, on the calling thread
/// and without an operation of libtorch, which for a few rows cost more than the products (docs/performance.md).
void AddFewRows(const at::Tensor& x_tf, const FewRowsFactors& factors, int64_t first, const GateFunction& gate, at::Tensor& y_tf);

struct ColumnSums {
  at::Tensor sums_fc;   ///< mask(x)^T h
  at::Tensor plain_1f;  ///< of_tokens^T x; undefined without of_tokens
};
/// x (T, d), h (T, C), of_tokens (T, 1).
ColumnSums SumOverTokens(const at::Tensor& x_tf, const at::Tensor& h_tc, const DropoutBits* mask,
                         const at::Tensor& of_tokens_t1 = {});

}  // namespace fedalt
