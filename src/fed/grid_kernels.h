// The inner loops of the fixed-point sum, one set per instruction set. All give the same bits.
#pragma once

#include <cstdint>
#include <vector>

namespace fedalt {

struct GridKernel {
  const char* name;
  /// Largest magnitude; NaN or infinity if one is among the values.
  float (*largest)(const float* values, int64_t count);
  /// sums[i] += round(scale * values[i]), ties to even. Precondition: every |scale * values[i]| < 2^62, and no sum overflows.
  void (*add)(const float* values, double scale, int64_t count, int64_t* sums);
};

/// Those that are active (base/cpu_kernels.h), the fastest first.
std::vector<GridKernel> GridKernels();

}  // namespace fedalt
