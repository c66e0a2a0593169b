#include "adamw.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fedalt::demo {

AdamW::AdamW(std::vector<at::Tensor> parameters, const AdamWOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  for (at::Tensor& parameter : parameters_) {
    parameter.requires_grad_(true);
    first_moments_.push_back(at::zeros_like(parameter.detach()));
    second_moments_.push_back(at::zeros_like(parameter.detach()));
  }
}

double AdamW::LearningRate() const {
  const double warmup = std::min(1.0, static_cast<double>(step_) / static_cast<double>(options_.warmup_steps));
  const double done = static_cast<double>(step_ - 1) / static_cast<double>(options_.steps);
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  return options_.lr * warmup * (options_.final_share + (1.0 - options_.final_share) * cosine);
}

double AdamW::Step() {
  ++step_;
  double square_norm = 0.0;
  for (const at::Tensor& parameter : parameters_) {
    const double norm = parameter.grad().norm().item<double>();
    square_norm += norm * norm;
  }
  const double norm = std::sqrt(square_norm);
  const double clip = std::min(1.0, options_.max_grad_norm / (norm + 1e-6));
  const double lr = LearningRate();
  const double correction1 = 1.0 - std::pow(options_.beta1, static_cast<double>(step_));
  const double correction2 = 1.0 - std::pow(options_.beta2, static_cast<double>(step_));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor parameter = parameters_[i].detach();
    const at::Tensor gradient = parameters_[i].grad().mul(clip);
    first_moments_[i].mul_(options_.beta1).add_(gradient, 1.0 - options_.beta1);
    second_moments_[i].mul_(options_.beta2).addcmul_(gradient, gradient, 1.0 - options_.beta2);
    const at::Tensor denominator = second_moments_[i].sqrt().div_(std::sqrt(correction2)).add_(options_.eps);
    parameter.mul_(1.0 - lr * options_.weight_decay);
    parameter.addcdiv_(first_moments_[i], denominator, -lr / correction1);
    parameters_[i].mutable_grad() = at::Tensor();
  }
  return norm;
}

}  // namespace fedalt::demo
