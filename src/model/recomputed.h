// A differentiable expression that keeps its inputs only: the backward pass evaluates it once more and asks autograd.
//
// What it computes in between is freed at once, as in the fused kernels. Thread-safe if the expression is.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

namespace fedalt {

/// Of tensors to one tensor; called again later, perhaps from another thread, so it owns what it captures.
using TensorExpression = std::function<at::Tensor(const std::vector<at::Tensor>& inputs)>;

/// expression(inputs), differentiable in them.
at::Tensor Recomputed(TensorExpression expression, const std::vector<at::Tensor>& inputs);

}  // namespace fedalt
