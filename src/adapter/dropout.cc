#include "adapter/dropout.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "adapter/philox_words.h"
#include "base/check.h"
#include "base/cpu_kernels.h"
#include "base/random.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fedalt {
namespace {

constexpr int64_t kChunk = 512;      // features drawn at once; the draws stay in the first-level cache
constexpr int64_t kGrain = 1 << 14;  // entries per task

/// Bit j of words[i]: whether draw 16 i + j keeps its entry.
void PackBits(const uint32_t* draws, uint32_t threshold, int64_t count, uint16_t* words) {
  for (int64_t i = 0; i < count; ++i, draws += kWordBits) {
    uint32_t word = 0;
    for (uint32_t j = 0; j < kWordBits; ++j) word |= static_cast<uint32_t>(draws[j] >= threshold) << j;
    words[i] = static_cast<uint16_t>(word);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) void PackBitsAvx512(const uint32_t* draws, uint32_t threshold, int64_t count, uint16_t* words) {
  const __m512i least = _mm512_set1_epi32(static_cast<int>(threshold));
  for (int64_t i = 0; i < count; ++i, draws += kWordBits) words[i] = _mm512_cmpge_epu32_mask(_mm512_loadu_si512(draws), least);
}
#else
constexpr auto PackBitsAvx512 = PackBits;
#endif

}  // namespace

DropoutBits DrawDropout(const TokenRows& rows, int64_t features, double p, uint64_t dropout_key, uint64_t module_id) {
  FEDALT_CHECK(p >= 0.0 && p < 1.0, "dropout must lie in [0, 1)");
  FEDALT_CHECK(rows.example_ids.size() == rows.positions.size(), "each row needs an example and a position");
  const auto k = Philox4x32(dropout_key, {static_cast<uint32_t>(module_id), static_cast<uint32_t>(module_id >> 32), 0, 0x6B73616D});
  const uint64_t key = (static_cast<uint64_t>(k[1]) << 32) | k[0];
  const uint32_t threshold = static_cast<uint32_t>(std::min(std::round(p * 0x1.0p32), 0x1.0p32 - 1));
  const int64_t tokens = static_cast<int64_t>(rows.positions.size()), words_per_row = (features + kWordBits - 1) / kWordBits;
  DropoutBits out{at::empty({tokens, words_per_row}, at::kShort), 1.0 / (1.0 - p)};
  uint16_t* const words = reinterpret_cast<uint16_t*>(out.words.data_ptr<int16_t>());
  static const FillPhiloxWords fill_draws = PhiloxKernels().front().fill;
  const auto pack = ActiveCpuKernels() >= CpuKernels::kAvx512 ? PackBitsAvx512 : PackBits;
  at::parallel_for(0, tokens, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, features)), [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t draws[kChunk];
    for (int64_t t = begin; t < end; ++t) {
      const uint64_t example = static_cast<uint64_t>(rows.example_ids[static_cast<size_t>(t)]);
      const PhiloxRow row{key, static_cast<uint32_t>(rows.positions[static_cast<size_t>(t)]), static_cast<uint32_t>(example),
                          static_cast<uint32_t>(example >> 32)};
      for (int64_t first = 0; first < features; first += kChunk) {
        const int64_t count = std::min(kChunk, features - first);
        fill_draws(row, first / kPhiloxGroup, (count + kPhiloxGroup - 1) / kPhiloxGroup, draws);
        pack(draws, threshold, (count + kWordBits - 1) / kWordBits, words + t * words_per_row + first / kWordBits);
      }
    }
  });
  return out;
}

at::Tensor DropoutMask(const TokenRows& rows, int64_t features, double p, uint64_t dropout_key, uint64_t module_id) {
  const DropoutBits bits = DrawDropout(rows, features, p, dropout_key, module_id);
  at::Tensor mask = at::empty({bits.words.size(0), features}, at::kFloat);
  float* out = mask.data_ptr<float>();
  for (int64_t t = 0; t < mask.size(0); ++t) {
    const int16_t* const words = bits.words.data_ptr<int16_t>() + t * bits.words.size(1);
    for (int64_t f = 0; f < features; ++f)
      *out++ = (words[f / kWordBits] >> (f % kWordBits)) & 1 ? static_cast<float>(bits.kept_value) : 0.0f;
  }
  return mask;
}

}  // namespace fedalt
