#include "adapter/mixed_precision.h"

#include <ATen/Parallel.h>

#include <cstdint>

#include "base/check.h"

namespace fedalt {
namespace {

constexpr int64_t kGrain = 1 << 15;

// bfloat16 is the upper half of a float. Written on integers, because c10's conversions keep these loops from becoming vector code.
void WidenInto(const uint16_t* __restrict in, float* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = __builtin_bit_cast(float, static_cast<uint32_t>(in[i]) << 16);
}

void AddRounded(uint16_t* __restrict y, const float* __restrict delta, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float sum = __builtin_bit_cast(float, static_cast<uint32_t>(y[i]) << 16) + delta[i];
    const uint32_t bits = __builtin_bit_cast(uint32_t, sum);
    const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    y[i] = static_cast<uint16_t>(sum != sum ? 0x7FC0u : rounded);
  }
}

uint16_t* Bits(const at::Tensor& tensor) {
  return reinterpret_cast<uint16_t*>(tensor.data_ptr<at::BFloat16>());
}

}  // namespace

at::Tensor ToWork(const at::Tensor& tensor, at::ScalarType dtype) {
  if (tensor.scalar_type() != at::kBFloat16 || dtype != at::kFloat) return tensor.to(dtype);
  const at::Tensor in = tensor.contiguous();
  at::Tensor out = at::empty(in.sizes(), in.options().dtype(at::kFloat));
  const uint16_t* from = Bits(in);
  float* to = out.data_ptr<float>();
  at::parallel_for(0, in.numel(), kGrain, [&](int64_t begin, int64_t end) { WidenInto(from + begin, to + begin, end - begin); });
  return out;
}

void AddTo(at::Tensor& y, const at::Tensor& delta) {
  if (y.scalar_type() != at::kBFloat16 || delta.scalar_type() != at::kFloat) {
    y.add_(delta);
    return;
  }
  FEDALT_CHECK(y.is_contiguous() && y.sizes() == delta.sizes(), "both are results of products, of one shape");
  const at::Tensor summand = delta.contiguous();
  uint16_t* to = Bits(y);
  const float* from = summand.data_ptr<float>();
  at::parallel_for(0, y.numel(), kGrain, [&](int64_t begin, int64_t end) { AddRounded(to + begin, from + begin, end - begin); });
}

}  // namespace fedalt
