// AdamW (Loshchilov and Hutter, 2019) as torch.optim.AdamW computes it, and clipping as torch.nn.utils.clip_grad_norm_ does it.
//
// Stateless functions over tensors in a fixed order; every entry is computed by itself, so threads do not change a bit.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace fedalt {

struct AdamwStep {
  double lr = 3e-4;
  double weight_decay = 0.05;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  int64_t step = 1;              ///< counts from 1: the bias correction's exponent
  double gradient_factor = 1.0;  ///< gradients are multiplied by this first (clipping)
};

/// One step on contiguous tensors of one dtype (kFloat or kDouble), in that dtype:
///   p -= lr wd p;  m += (1 - beta1)(g - m);  v = beta2 v + (1 - beta2) g^2;  p -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t))
///   + eps)
void ApplyAdamw(const AdamwStep& options, at::Tensor& parameter, const at::Tensor& gradient, at::Tensor& first_moment,
                at::Tensor& second_moment);

/// The norm of all gradients together, summed in double in a fixed order (threads do not matter).
double GlobalNorm(const std::vector<at::Tensor>& gradients);

/// clip_grad_norm_'s factor: min(1, max_norm / (norm + 1e-6)); 1 if max_norm <= 0 (no clipping).
double ClipFactor(double norm, double max_norm);

}  // namespace fedalt
