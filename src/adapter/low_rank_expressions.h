// The products of adapter/low_rank_products.h as plain tensor expressions: see model/tensor_expressions.h.
#pragma once

#include "adapter/low_rank_products.h"

namespace fedalt::expressions {

Projection ProjectRows(const at::Tensor& x_tf, const at::Tensor& a_cf, const DropoutBits* mask, const at::Tensor& g_1f);
void AddRankUpdate(at::Tensor& y_tf, const at::Tensor& h_tc, const at::Tensor& b_cf, const DropoutBits* mask,
                   const PlainColumn& plain);
ColumnSums SumOverTokens(const at::Tensor& x_tf, const at::Tensor& h_tc, const DropoutBits* mask, const at::Tensor& of_tokens_t1);

}  // namespace fedalt::expressions
