// Flat contributions as numbers, and back.
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace fedalt::testing {

inline at::Tensor Flat(const std::vector<float>& values) {
  return at::tensor(values, at::kFloat);
}

inline std::vector<float> Numbers(const at::Tensor& flat) {
  const at::Tensor values = flat.to(at::kFloat).contiguous();
  return {values.data_ptr<float>(), values.data_ptr<float>() + values.numel()};
}

}  // namespace fedalt::testing
