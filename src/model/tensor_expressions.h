// The model's fused CPU kernels once more, as plain tensor expressions: what runs on any other device, and on the CPU where
// FEDALT_CPU_KERNELS=tensor asks for it. Same arguments, same meaning, same results within rounding as the functions without
// `expressions::`, which choose. Thread-safe.
#pragma once

#include <ATen/ATen.h>

#include "base/cpu_kernels.h"
#include "model/attention.h"

namespace fedalt {

/// Whether what is computed with `tensor` runs as tensor expressions instead of the CPU kernels.
inline bool ByExpressions(const at::Tensor& tensor) {
  return !tensor.is_cpu() || ActiveCpuKernels() == CpuKernels::kTensor;
}

namespace expressions {

at::Tensor RmsNorm(const at::Tensor& x_td, const at::Tensor& weight_d, double eps);
at::Tensor SiluProduct(const at::Tensor& gate_up);

/// Softmax in float32 (float64). Scores are computed again in the backward pass, and those of at most 256 Mi entries exist at once.
at::Tensor PackedAttention(const at::Tensor& qkv, const AttentionPlanPtr& plan, int64_t window);
at::Tensor CachedAttention(const at::Tensor& qkv, const AttentionPlan& plan, int64_t window, const CacheView& cache);

}  // namespace expressions
}  // namespace fedalt
