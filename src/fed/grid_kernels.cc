// Plain loops that the compiler turns into vector instructions, once for each instruction set.
#include "fed/grid_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/cpu_kernels.h"

#define FEDALT_INLINE inline __attribute__((always_inline))

namespace fedalt {
namespace {

FEDALT_INLINE float Largest(const float* values, int64_t count) {
  // Without their sign, floats are ordered as their bits are; infinity and NaN come last.
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::bit_cast<int32_t>(values[i]) & 0x7FFFFFFF);
  return std::bit_cast<float>(largest);
}

/// To the nearest integer, ties to even, without an instruction for it. Precondition: |x| < 2^62.
FEDALT_INLINE int64_t Rounded(double x) {
  // Adding 1.5 * 2^52 leaves the nearest integer in the lowest bits of the mantissa, if that integer is below 2^51. So x is cut in
  // two: a multiple of 2^32, and a rest of at most 2^31 (exact). The multiple is even, so a tie of the rest is a tie of x.
  constexpr double kMagic = 0x1.8p52;
  constexpr int64_t kMagicBits = std::bit_cast<int64_t>(kMagic);
  const double upper = x * 0x1.0p-32 + kMagic;
  const double rest = x - (upper - kMagic) * 0x1.0p32;
  const uint64_t multiple = static_cast<uint64_t>(std::bit_cast<int64_t>(upper) - kMagicBits) << 32;
  return static_cast<int64_t>(multiple) + (std::bit_cast<int64_t>(rest + kMagic) - kMagicBits);
}

FEDALT_INLINE void Add(const float* __restrict values, double scale, int64_t count, int64_t* __restrict sums) {
  for (int64_t i = 0; i < count; ++i) sums[i] += Rounded(scale * static_cast<double>(values[i]));
}

float LargestPortable(const float* values, int64_t count) {
  return Largest(values, count);
}
void AddPortable(const float* values, double scale, int64_t count, int64_t* sums) {
  Add(values, scale, count, sums);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) float LargestAvx2(const float* values, int64_t count) {
  return Largest(values, count);
}
__attribute__((target("avx2"))) void AddAvx2(const float* values, double scale, int64_t count, int64_t* sums) {
  Add(values, scale, count, sums);
}

#if defined(__clang__)
#define FEDALT_TARGET_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl")))
#else
#define FEDALT_TARGET_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")))
#endif
FEDALT_TARGET_AVX512 float LargestAvx512(const float* values, int64_t count) {
  return Largest(values, count);
}
/// AVX-512 rounds and converts to 64-bit integers in one instruction each.
FEDALT_TARGET_AVX512 void AddAvx512(const float* __restrict values, double scale, int64_t count, int64_t* __restrict sums) {
  for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<int64_t>(std::rint(scale * static_cast<double>(values[i])));
}
#endif

}  // namespace

std::vector<GridKernel> GridKernels() {
  std::vector<GridKernel> kernels;
#if defined(__x86_64__)
  if (ActiveCpuKernels() >= CpuKernels::kAvx512) kernels.push_back({"avx512", LargestAvx512, AddAvx512});
  if (ActiveCpuKernels() >= CpuKernels::kAvx2) kernels.push_back({"avx2", LargestAvx2, AddAvx2});
#endif
  kernels.push_back({"portable", LargestPortable, AddPortable});
  return kernels;
}

}  // namespace fedalt
