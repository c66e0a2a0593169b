// Whether tensors hold only finite numbers: what comes from files and what a model computes is looked at before it decides
// anything.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/status.h"

namespace fedalt {

/// Place of the first NaN or infinity, counted in row-major order; nothing: all are finite. Any floating type, any device. Parallel
/// inside for large tensors; reads each value once, so it costs about what reading the tensor does. Thread-safe.
std::optional<int64_t> FirstNonFinite(const at::Tensor& values);

/// OK if all values are finite. Errors (kModel): names the tensor and the place, as "[row, column]".
Status CheckFinite(std::string_view name, const at::Tensor& values);

}  // namespace fedalt
