#include "adapter/low_rank_expressions.h"

namespace fedalt::expressions {
namespace {

at::Tensor Work(const at::Tensor& tall) {
  return tall.to(tall.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

/// mask(values); `values` itself without dropout.
at::Tensor Masked(const at::Tensor& values_tf, const DropoutBits* mask) {
  if (mask == nullptr) return values_tf;
  const at::Tensor bit = at::arange(kWordBits, mask->words.options());
  const at::Tensor kept = at::bitwise_and(at::bitwise_right_shift(mask->words.unsqueeze(2), bit), at::Scalar(1));
  return values_tf * (kept.flatten(1).narrow(1, 0, values_tf.size(1)).to(values_tf.scalar_type()) * mask->kept_value);
}

}  // namespace

Projection ProjectRows(const at::Tensor& x_tf, const at::Tensor& a_cf, const DropoutBits* mask, const at::Tensor& g_1f) {
  const at::Tensor x = Work(x_tf);
  Projection out;
  out.u_tc = at::mm(Masked(x, mask), a_cf.t());
  if (g_1f.defined()) out.z_t1 = at::mm(x, g_1f.t());
  return out;
}

void AddRankUpdate(at::Tensor& y_tf, const at::Tensor& h_tc, const at::Tensor& b_cf, const DropoutBits* mask,
                   const PlainColumn& plain) {
  at::Tensor update = Masked(at::mm(h_tc, b_cf), mask);
  if (plain.of_tokens_t1.defined()) update = update + at::mm(plain.of_tokens_t1, plain.of_features_1f);
  y_tf.copy_(Work(y_tf) + update);
}

ColumnSums SumOverTokens(const at::Tensor& x_tf, const at::Tensor& h_tc, const DropoutBits* mask, const at::Tensor& of_tokens_t1) {
  const at::Tensor x = Work(x_tf);
  ColumnSums out;
  out.sums_fc = at::mm(Masked(x, mask).t(), h_tc);
  if (of_tokens_t1.defined()) out.plain_1f = at::mm(of_tokens_t1.t(), x);
  return out;
}

}  // namespace fedalt::expressions
