#include "adapter/philox_words.h"

#include "base/cpu_kernels.h"
#include "base/random.h"

#if defined(__x86_64__)
#define FEDALT_X86_KERNELS
#include <immintrin.h>
#endif

namespace fedalt {
namespace {

void FillWordsPortable(const PhiloxRow& row, int64_t first_group, int64_t groups, uint32_t* words) {
  for (int64_t g = 0; g < groups; ++g, words += kPhiloxGroup) {
    for (uint32_t l = 0; l < 16; ++l) {
      const auto block =
          Philox4x32(row.key, {static_cast<uint32_t>(16 * (first_group + g)) + l, row.position, row.example_lo, row.example_hi});
      for (size_t w = 0; w < 4; ++w) words[16 * w + l] = block[w];
    }
  }
}

#ifdef FEDALT_X86_KERNELS
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns about its own intrinsics (gcc.gnu.org/PR105593)
#endif

// Eight blocks to a register: each 64-bit lane holds one 32-bit counter word in its lower half (what lies above is never read),
// because the vector product takes exactly those halves. Two registers are in flight to hide its latency.
__attribute__((target("avx512f"))) void FillWordsAvx512(const PhiloxRow& row, int64_t first_group, int64_t groups,
                                                        uint32_t* words) {
  const __m512i mul0 = _mm512_set1_epi64(0xD2511F53), mul1 = _mm512_set1_epi64(0xCD9E8D57);
  const __m512i lane = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
  for (int64_t g = 0; g < groups; ++g, words += kPhiloxGroup) {
    __m512i c0[2], c1[2], c2[2], c3[2];
    for (int h = 0; h < 2; ++h) {
      c0[h] = _mm512_add_epi64(lane, _mm512_set1_epi64(16 * (first_group + g) + 8 * h));
      c1[h] = _mm512_set1_epi64(row.position);
      c2[h] = _mm512_set1_epi64(row.example_lo);
      c3[h] = _mm512_set1_epi64(row.example_hi);
    }
    uint32_t k0 = static_cast<uint32_t>(row.key), k1 = static_cast<uint32_t>(row.key >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
      const __m512i key0 = _mm512_set1_epi64(k0), key1 = _mm512_set1_epi64(k1);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m512i p0 = _mm512_mul_epu32(c0[h], mul0), p1 = _mm512_mul_epu32(c2[h], mul1);
        c0[h] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1[h], key0, 0x96);  // 0x96: exclusive or of the three
        c2[h] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3[h], key1, 0x96);
        c1[h] = p1;
        c3[h] = p0;
      }
    }
    for (int h = 0; h < 2; ++h) {
      _mm512_mask_cvtepi64_storeu_epi32(words + 8 * h, 0xFF, c0[h]);
      _mm512_mask_cvtepi64_storeu_epi32(words + 16 + 8 * h, 0xFF, c1[h]);
      _mm512_mask_cvtepi64_storeu_epi32(words + 32 + 8 * h, 0xFF, c2[h]);
      _mm512_mask_cvtepi64_storeu_epi32(words + 48 + 8 * h, 0xFF, c3[h]);
    }
  }
}

/// The lower halves of two registers of four lanes, in order.
__attribute__((target("avx2"))) inline __m256i LowerHalves(__m256i first, __m256i second) {
  const __m256 packed = _mm256_shuffle_ps(_mm256_castsi256_ps(first), _mm256_castsi256_ps(second), 0x88);
  return _mm256_permute4x64_epi64(_mm256_castps_si256(packed), 0xD8);
}

__attribute__((target("avx2"))) void FillWordsAvx2(const PhiloxRow& row, int64_t first_group, int64_t groups, uint32_t* words) {
  const __m256i mul0 = _mm256_set1_epi64x(0xD2511F53), mul1 = _mm256_set1_epi64x(0xCD9E8D57);
  const __m256i lane = _mm256_set_epi64x(3, 2, 1, 0);
  for (int64_t g = 0; g < 2 * groups; ++g) {  // half a group at a time: eight blocks, in two registers
    __m256i c0[2], c1[2], c2[2], c3[2];
    for (int h = 0; h < 2; ++h) {
      c0[h] = _mm256_add_epi64(lane, _mm256_set1_epi64x(16 * first_group + 8 * g + 4 * h));
      c1[h] = _mm256_set1_epi64x(row.position);
      c2[h] = _mm256_set1_epi64x(row.example_lo);
      c3[h] = _mm256_set1_epi64x(row.example_hi);
    }
    uint32_t k0 = static_cast<uint32_t>(row.key), k1 = static_cast<uint32_t>(row.key >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
      const __m256i key0 = _mm256_set1_epi64x(k0), key1 = _mm256_set1_epi64x(k1);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256i p0 = _mm256_mul_epu32(c0[h], mul0), p1 = _mm256_mul_epu32(c2[h], mul1);
        c0[h] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1[h]), key0);
        c2[h] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3[h]), key1);
        c1[h] = p1;
        c3[h] = p0;
      }
    }
    uint32_t* out = words + kPhiloxGroup * (g / 2) + 8 * (g % 2);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), LowerHalves(c0[0], c0[1]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 16), LowerHalves(c1[0], c1[1]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32), LowerHalves(c2[0], c2[1]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 48), LowerHalves(c3[0], c3[1]));
  }
}
#endif

}  // namespace

std::vector<PhiloxKernel> PhiloxKernels() {
  std::vector<PhiloxKernel> kernels;
#ifdef FEDALT_X86_KERNELS
  if (ActiveCpuKernels() >= CpuKernels::kAvx512) kernels.push_back({"avx512", FillWordsAvx512});
  if (ActiveCpuKernels() >= CpuKernels::kAvx2) kernels.push_back({"avx2", FillWordsAvx2});
#endif
  kernels.push_back({"portable", FillWordsPortable});
  return kernels;
}

}  // namespace fedalt
