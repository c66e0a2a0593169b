// Products of many rows of activations with a frozen weight, as in training and in reading prompts.
//
// On processors with AVX-512 they are this project's own (model/packed_product.h). Elsewhere libtorch hands each whole to OpenBLAS
// or oneDNN, whose threads wait for each other several times inside it; with a share of the rows per thread they wait once.
#pragma once

#include <ATen/ATen.h>

namespace fedalt {

/// x (T, d_in) W (d_out, d_in)^T + b, in x's dtype; b may be undefined. No gradients. The same bits for the same number of threads.
at::Tensor ManyRowsLinear(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o);

/// d (T, d_out) W (d_out, d_in), likewise: the gradient by the input of that linear.
at::Tensor ManyRowsLinearBackward(const at::Tensor& d_to, const at::Tensor& weight_oi);

/// The same into dx (T, d_in) for far more outputs than rows, as of a head: elsewhere than in our own product the threads share the
/// outputs and not the rows.
void ManyOutputsLinearBackward(const at::Tensor& d_to, const at::Tensor& weight_oi, at::Tensor& dx_ti);

}  // namespace fedalt
