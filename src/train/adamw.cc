#include "train/adamw.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/tensor_expressions.h"
#include "train/expressions.h"

namespace fedalt {
namespace {

constexpr int64_t kGrain = 1 << 14;

template <typename T>
void Update(const AdamwStep& o, T* __restrict p, const T* __restrict g, T* __restrict m, T* __restrict v, int64_t n) {
  const T keep = static_cast<T>(1.0 - o.lr * o.weight_decay), factor = static_cast<T>(o.gradient_factor);
  const T one_minus_beta1 = static_cast<T>(1.0 - o.beta1), beta2 = static_cast<T>(o.beta2),
          one_minus_beta2 = static_cast<T>(1.0 - o.beta2);
  const T step_size = static_cast<T>(o.lr / (1.0 - std::pow(o.beta1, static_cast<double>(o.step))));
  const T root = static_cast<T>(std::sqrt(1.0 - std::pow(o.beta2, static_cast<double>(o.step)))), eps = static_cast<T>(o.eps);
  at::parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T gradient = g[i] * factor;
      m[i] += one_minus_beta1 * (gradient - m[i]);
      v[i] = beta2 * v[i] + one_minus_beta2 * gradient * gradient;
      p[i] = p[i] * keep - step_size * (m[i] / (std::sqrt(v[i]) / root + eps));
    }
  });
}

template <typename T>
double SumOfSquares(const T* values, int64_t n) {
  double lanes[8] = {};  // eight sums side by side, always combined alike
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int64_t l = 0; l < 8; ++l) lanes[l] += static_cast<double>(values[i + l]) * static_cast<double>(values[i + l]);
  for (; i < n; ++i) lanes[0] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

}  // namespace

void ApplyAdamw(const AdamwStep& options, at::Tensor& parameter, const at::Tensor& gradient, at::Tensor& first_moment,
                at::Tensor& second_moment) {
  const at::Tensor g = gradient.contiguous();
  for (const at::Tensor* tensor : {&parameter, &first_moment, &second_moment})
    FEDALT_CHECK(tensor->is_contiguous() && tensor->sizes() == g.sizes() && tensor->scalar_type() == g.scalar_type(),
                 "parameter, gradient and moments have one shape and dtype");
  if (ByExpressions(parameter)) return expressions::ApplyAdamw(options, parameter, g, first_moment, second_moment);
  const auto update = [&](auto zero) {
    using T = decltype(zero);
    Update<T>(options, parameter.data_ptr<T>(), g.data_ptr<T>(), first_moment.data_ptr<T>(), second_moment.data_ptr<T>(),
              g.numel());
  };
  if (g.scalar_type() == at::kDouble) {
    update(double{0});
  } else {
    update(float{0});
  }
}

double GlobalNorm(const std::vector<at::Tensor>& gradients) {
  if (!gradients.empty() && ByExpressions(gradients.front())) return expressions::GlobalNorm(gradients);
  double sum = 0.0;
  for (const at::Tensor& gradient : gradients) {
    const at::Tensor g = gradient.contiguous();
    sum += g.scalar_type() == at::kDouble ? SumOfSquares(g.data_ptr<double>(), g.numel())
                                          : SumOfSquares(g.data_ptr<float>(), g.numel());
  }
  return std::sqrt(sum);
}

double ClipFactor(double norm, double max_norm) {
  return max_norm <= 0.0 ? 1.0 : std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace fedalt
