// Small fused operations of the transformer, differentiable: on the CPU (elsewhere see model/tensor_expressions.h) one pass over
// memory where a chain of tensor operations would take several. They compute in float32 (float64 for float64 tensors) and do not
// depend on the number of threads. Thread-safe.
#pragma once

#include <ATen/ATen.h>

namespace fedalt {

/// weight * x / sqrt(mean(x^2) + eps) for each row of x (T, d), as Hugging Face's LlamaRMSNorm.
at::Tensor RmsNorm(const at::Tensor& x_td, const at::Tensor& weight_d, double eps);

/// silu(gate) * up: (T, 2 d), gate beside up, -> (T, d).
at::Tensor SiluProduct(const at::Tensor& gate_up);

}  // namespace fedalt
