// Loss and optimizer as plain tensor expressions, for tensors that are not on the CPU: see model/tensor_expressions.h. They mean
// what the functions of cross_entropy.h and adamw.h mean, which choose.
#pragma once

#include <vector>

#include "train/adamw.h"

namespace fedalt::expressions {

void CrossEntropy(at::Tensor& logits_nv, const at::Tensor& targets_n, double gradient_factor, double* nll);

void ApplyAdamw(const AdamwStep& options, at::Tensor& parameter, const at::Tensor& gradient, at::Tensor& first_moment,
                at::Tensor& second_moment);

double GlobalNorm(const std::vector<at::Tensor>& gradients);

}  // namespace fedalt::expressions
