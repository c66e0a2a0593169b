#include "train/expressions.h"

#include <algorithm>
#include <cmath>

namespace fedalt::expressions {

void CrossEntropy(at::Tensor& logits_nv, const at::Tensor& targets_n, double gradient_factor, double* nll) {
  const at::Tensor logits = logits_nv.to(logits_nv.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const at::Tensor distance = logits - logits.amax(1, /*keepdim=*/true), exps = distance.exp(), sum = exps.sum(1, /*keepdim=*/true),
                   target_n1 = targets_n.unsqueeze(1);
  const at::Tensor losses = (sum.to(at::kDouble).log() - distance.gather(1, target_n1).to(at::kDouble)).to(at::kCPU).contiguous();
  std::copy_n(losses.data_ptr<double>(), losses.numel(), nll);
  if (gradient_factor == 0.0) return;
  const at::Tensor is_target = at::arange(logits.size(1), targets_n.options()).eq(target_n1);
  logits_nv.copy_((exps / sum - is_target.to(logits.scalar_type())) * gradient_factor);
}

void ApplyAdamw(const AdamwStep& o, at::Tensor& parameter, const at::Tensor& gradient, at::Tensor& first_moment,
                at::Tensor& second_moment) {
  const double steps = static_cast<double>(o.step);
  const double root = std::sqrt(1.0 - std::pow(o.beta2, steps));
  const at::Tensor g = gradient * o.gradient_factor;
  first_moment.add_(g - first_moment, 1.0 - o.beta1);
  second_moment.mul_(o.beta2).add_(g * g, 1.0 - o.beta2);
  parameter.mul_(1.0 - o.lr * o.weight_decay)
      .sub_(first_moment / (second_moment.sqrt() / root + o.eps), o.lr / (1.0 - std::pow(o.beta1, steps)));
}

double GlobalNorm(const std::vector<at::Tensor>& gradients) {
  if (gradients.empty()) return 0.0;
  std::vector<at::Tensor> sums;
  sums.reserve(gradients.size());
  for (const at::Tensor& gradient : gradients) sums.push_back(gradient.to(at::kDouble).square().sum());
  return std::sqrt(at::stack(sums).sum().item<double>());  // the device is waited for once
}

}  // namespace fedalt::expressions
