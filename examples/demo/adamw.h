// AdamW with warm-up, cosine decay and gradient clipping over all parameters of a model (Loshchilov and Hutter 2019).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace fedalt::demo {

struct AdamWOptions {
  double lr = 3e-3;           ///< at the end of the warm-up
  double final_share = 0.05;  ///< of lr, at the last step
  int64_t warmup_steps = 100;
  int64_t steps = 1000;
  double beta1 = 0.9, beta2 = 0.98, eps = 1e-8;
  double weight_decay = 0.01;  ///< decoupled
  double max_grad_norm = 1.0;
};

class AdamW {
 public:
  /// Sets requires_grad on `parameters` and updates them in place.
  AdamW(std::vector<at::Tensor> parameters, const AdamWOptions& options);

  /// One update from the gradients at hand, which are cleared. Returns the gradients' norm before clipping.
  double Step();

 private:
  double LearningRate() const;

  std::vector<at::Tensor> parameters_, first_moments_, second_moments_;
  AdamWOptions options_;
  int64_t step_ = 0;
};

}  // namespace fedalt::demo
