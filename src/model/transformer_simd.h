// The few vector operations that the CPU kernels of the transformer share, in the compiler's own vector types.
//
// Every function here is a template on the vector's width in bytes and always inlined, so that one source serves the baseline
// instruction set and, inside functions compiled for newer processors, wider registers. Dispatch() chooses at run time.
#pragma once

#include <c10/core/ScalarType.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/cpu_kernels.h"

#define FEDALT_INLINE inline __attribute__((always_inline))
#define FEDALT_INLINE_LAMBDA __attribute__((always_inline))
#if defined(__x86_64__)
#define FEDALT_TARGET_AVX2 __attribute__((target("avx2,fma")))
#define FEDALT_TARGET_AVX512 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#define FEDALT_TARGET_AVX512_BF16 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns about its own intrinsics (gcc.gnu.org/PR105593)
#endif
#include <immintrin.h>
#else
#define FEDALT_TARGET_AVX2
#define FEDALT_TARGET_AVX512
#endif

// Vectors never cross a function that is not inlined. Not restored: the warning comes at the end of the including file.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fedalt::simd {

template <typename Kernel, typename... Arguments>
FEDALT_TARGET_AVX512 void RunAvx512(Arguments... arguments) {
  Kernel::template Run<64>(arguments...);
}
template <typename Kernel, typename... Arguments>
FEDALT_TARGET_AVX2 void RunAvx2(Arguments... arguments) {
  Kernel::template Run<32>(arguments...);
}
/// Kernel::Run<kBytes>(arguments...), always inlined, with the widest vectors that are active.
template <typename Kernel, typename... Arguments>
void Dispatch(Arguments... arguments) {
  switch (ActiveCpuKernels()) {
    case CpuKernels::kAvx512Bf16:
    case CpuKernels::kAvx512:
      return RunAvx512<Kernel>(arguments...);
    case CpuKernels::kAvx2:
      return RunAvx2<Kernel>(arguments...);
    case CpuKernels::kPortable:
    case CpuKernels::kTensor:
      return Kernel::template Run<16>(arguments...);
  }
}

/// function(Storage{}, T{}) for tensors of `type`: how an element is stored, and the type that is computed in. float64 tensors are
/// computed in float64, everything else in float32.
template <typename Function>
void WithTypes(c10::ScalarType type, const Function& function) {
  if (type == c10::ScalarType::Float) return function(float{}, float{});
  if (type == c10::ScalarType::Double) return function(double{}, double{});
  FEDALT_CHECK(type == c10::ScalarType::BFloat16, "kernels take float32, float64 and bfloat16");
  function(c10::BFloat16{}, float{});
}

/// One number, for loops that the compiler makes vectors of (it does not with c10's own conversions).
template <typename T>
FEDALT_INLINE T Widen(T x) {
  return x;
}
FEDALT_INLINE float Widen(c10::BFloat16 x) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(x.x) << 16);
}
template <typename T>
FEDALT_INLINE void Narrow(T x, T* to) {
  *to = x;
}
FEDALT_INLINE void Narrow(float x, c10::BFloat16* to) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  to->x = static_cast<uint16_t>(x != x ? 0x7FC0u : (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

template <typename T, int kBytes>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kBytes)));
};

template <typename T, int kBytes>
struct Lanes {
  typedef T V __attribute__((vector_size(kBytes)));
  static constexpr int64_t kCount = kBytes / static_cast<int>(sizeof(T));

  static FEDALT_INLINE V Load(const T* from) {
    V v;
    std::memcpy(&v, from, sizeof(V));
    return v;
  }
  static FEDALT_INLINE void Store(T* to, const V& v) { std::memcpy(to, &v, sizeof(V)); }

  // bfloat16 is the upper half of a float; stored rounded to nearest even.
  using Words = typename VectorOf<uint32_t, kBytes>::Type;
  using Halves = typename VectorOf<uint16_t, kBytes / 2>::Type;
  static FEDALT_INLINE V Load(const c10::BFloat16* from) {
    static_assert(sizeof(T) == sizeof(float));
    Halves halves;
    std::memcpy(&halves, from, sizeof(Halves));
    V v;
    if constexpr (kBytes == 64) {  // GCC 12 makes four instructions and more of the conversion
      Interleave(Halves{}, halves, v);
    } else {
      const Words words = __builtin_convertvector(halves, Words) << 16;
      std::memcpy(&v, &words, sizeof(V));
    }
    return v;
  }
  static FEDALT_INLINE void Store(c10::BFloat16* to, const V& v) {
    static_assert(sizeof(T) == sizeof(float));
    Words words;
    std::memcpy(&words, &v, sizeof(V));
    const Words rounded = (words + 0x7FFF + ((words >> 16) & 1)) >> 16;
    const Words not_a_number = Words{} + 0x7FC0;
    const Halves halves = __builtin_convertvector(v != v ? not_a_number : rounded, Halves);
    std::memcpy(to, &halves, sizeof(Halves));
  }
  static FEDALT_INLINE V Fill(T x) { return V{} + x; }
  static FEDALT_INLINE T Sum(const V& v) {
    if constexpr (kBytes == 16) {
      T sum = 0;
      for (int64_t i = 0; i < kCount; ++i) sum += v[i];
      return sum;
    } else {
      using Half = Lanes<T, kBytes / 2>;
      typename Half::V halves[2];
      std::memcpy(halves, &v, sizeof(V));
      return Half::Sum(halves[0] + halves[1]);
    }
  }
  static FEDALT_INLINE T Max(const V& v) {
    if constexpr (kBytes == 16) {
      T max = v[0];
      for (int64_t i = 1; i < kCount; ++i) max = v[i] > max ? v[i] : max;
      return max;
    } else {
      using Half = Lanes<T, kBytes / 2>;
      typename Half::V halves[2];
      std::memcpy(halves, &v, sizeof(V));
      return Half::Max(halves[0] > halves[1] ? halves[0] : halves[1]);
    }
  }
  /// Lane i of the result is the sum of vectors[i], which are overwritten.
  static FEDALT_INLINE V SumOfEach(V (&vectors)[kCount]) {
    SumPairs<kCount / 2>(vectors);
    return vectors[0];
  }
  /// Lane i of line j becomes lane j of line i.
  static FEDALT_INLINE void Transpose(V (&lines)[kCount]) {
    for (int64_t done = 1; done < kCount; done *= 2) {  // each turn moves the highest bit of the line's number into the lane's
      V next[kCount];
      for (int64_t i = 0; i < kCount / 2; ++i) Interleave(lines[i], lines[i + kCount / 2], next[2 * i], next[2 * i + 1]);
      std::memcpy(lines, next, sizeof next);
    }
  }

 private:
  /// a0, b0, a1, b1, ... as the bits of `all`.
  static FEDALT_INLINE void Interleave(const Halves& a, const Halves& b, V& all) {
    [&]<int... i>(std::integer_sequence<int, i...>) FEDALT_INLINE_LAMBDA {
      constexpr int kHalves = static_cast<int>(kCount);
      const auto words = __builtin_shufflevector(a, b, (i / 2 + i % 2 * kHalves)...);
      std::memcpy(&all, &words, sizeof(V));
    }
    (std::make_integer_sequence<int, 2 * static_cast<int>(kCount)>());
  }
  /// a0, b0, a1, b1, ...
  static FEDALT_INLINE void Interleave(const V& a, const V& b, V& first, V& second) {
    [&]<int... i>(std::integer_sequence<int, i...>) FEDALT_INLINE_LAMBDA {
      constexpr int kLanes = static_cast<int>(kCount);
      first = __builtin_shufflevector(a, b, (i / 2 + i % 2 * kLanes)...);
      second = __builtin_shufflevector(a, b, (kLanes / 2 + i / 2 + i % 2 * kLanes)...);
    }
    (std::make_integer_sequence<int, static_cast<int>(kCount)>());
  }

  /// Vector i becomes the sums of neighbours of 2 i and 2 i + 1, until one is left. Unrolled, so that all stay in registers.
  template <int64_t left>
  static FEDALT_INLINE void SumPairs(V (&vectors)[kCount]) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < left; ++i) vectors[i] = SumOfNeighbours(vectors[2 * i], vectors[2 * i + 1]);
    if constexpr (left > 1) SumPairs<left / 2>(vectors);
  }

  /// a0 + a1, a2 + a3, ..., b0 + b1, ...
  static FEDALT_INLINE V SumOfNeighbours(const V& a, const V& b) {
    return [&]<int... i>(std::integer_sequence<int, i...>) FEDALT_INLINE_LAMBDA {
      return __builtin_shufflevector(a, b, (2 * i)...) + __builtin_shufflevector(a, b, (2 * i + 1)...);
    }
    (std::make_integer_sequence<int, static_cast<int>(kCount)>());
  }
};

template <typename T, int kBytes, typename Storage>
FEDALT_INLINE T Dot(const T* a, const Storage* b, int64_t n) {
  using L = Lanes<T, kBytes>;
  typename L::V total{};
  int64_t i = 0;
  for (; i + L::kCount <= n; i += L::kCount) total += L::Load(a + i) * L::Load(b + i);
  T sum = L::Sum(total);
  for (; i < n; ++i) sum += a[i] * Widen(b[i]);
  return sum;
}

/// exp within 2 units in the last place for float (arguments clamped to [-87, 88]); std::exp for double.
template <int kBytes>
FEDALT_INLINE typename Lanes<float, kBytes>::V Exp(const typename Lanes<float, kBytes>::V& argument) {
  using V = typename Lanes<float, kBytes>::V;
  typedef uint32_t I __attribute__((vector_size(kBytes)));
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low mantissa bits
  const V low = V{} - 87.0f, high = V{} + 88.0f;
  V x = argument < low ? low : argument;
  x = x > high ? high : x;
  V t = x * 1.44269504088896341f + kMagic;
  I exponent;
  std::memcpy(&exponent, &t, sizeof(I));
  exponent = (exponent << 23) + (127 << 23);  // the magic number's own bits leave by the shift
  t -= kMagic;
  const V r = (x - t * 0.693359375f) + t * 2.12194440e-4f;
  V p = V{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  V power;
  std::memcpy(&power, &exponent, sizeof(V));
  return p * power;
}
template <int kBytes>
FEDALT_INLINE typename Lanes<double, kBytes>::V Exp(const typename Lanes<double, kBytes>::V& argument) {
  typename Lanes<double, kBytes>::V x = argument;
  for (int64_t i = 0; i < Lanes<double, kBytes>::kCount; ++i) x[i] = std::exp(x[i]);
  return x;
}

/// Columns of one tile of MatMul, and what scratch rows are padded to: one cache line.
template <typename T>
constexpr int64_t kTileColumns = 64 / static_cast<int64_t>(sizeof(T));
template <typename T>
constexpr int64_t PadColumns(int64_t n) {
  return (n + kTileColumns<T> - 1) / kTileColumns<T> * kTileColumns<T>;
}

/// A matrix read as a[i * row + k * column].
template <typename T>
struct Strided {
  const T* data;
  int64_t row;
  int64_t column;
};

template <typename T, int kBytes, int kRows>
FEDALT_INLINE void MatMulTile(Strided<T> a, const T* b, int64_t b_row, T* c, int64_t c_row, int64_t depth, bool accumulate) {
  using L = Lanes<T, kBytes>;
  constexpr int kVectors = 64 / kBytes;
  typename L::V sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = accumulate ? L::Load(c + r * c_row + v * L::kCount) : typename L::V{};
  for (int64_t k = 0; k < depth; ++k) {
    typename L::V line[kVectors];
    for (int v = 0; v < kVectors; ++v) line[v] = L::Load(b + k * b_row + v * L::kCount);
    for (int r = 0; r < kRows; ++r) {
      const T x = a.data[r * a.row + k * a.column];
      for (int v = 0; v < kVectors; ++v) sum[r][v] += line[v] * x;
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) L::Store(c + r * c_row + v * L::kCount, sum[r][v]);
}

/// C (rows, columns) = or += A (rows, depth) B (depth, columns). `columns` is a multiple of kTileColumns; B and C have unit column
/// stride.
template <typename T, int kBytes>
FEDALT_INLINE void MatMul(Strided<T> a, const T* b, int64_t b_row, T* c, int64_t c_row, int64_t rows, int64_t columns,
                          int64_t depth, bool accumulate) {
  constexpr int kRows = kBytes == 64 ? 12 : kBytes == 32 ? 6 : 2;  // as many accumulators as there are registers
  constexpr int kFewer = kBytes == 16 ? 2 : 4;
  for (int64_t j = 0; j < columns; j += kTileColumns<T>) {
    int64_t i = 0;
    for (; i + kRows <= rows; i += kRows)
      MatMulTile<T, kBytes, kRows>({a.data + i * a.row, a.row, a.column}, b + j, b_row, c + i * c_row + j, c_row, depth,
                                   accumulate);
    for (; i + kFewer <= rows; i += kFewer)
      MatMulTile<T, kBytes, kFewer>({a.data + i * a.row, a.row, a.column}, b + j, b_row, c + i * c_row + j, c_row, depth,
                                    accumulate);
    for (; i + 2 <= rows; i += 2)
      MatMulTile<T, kBytes, 2>({a.data + i * a.row, a.row, a.column}, b + j, b_row, c + i * c_row + j, c_row, depth, accumulate);
    if (i < rows)
      MatMulTile<T, kBytes, 1>({a.data + i * a.row, a.row, a.column}, b + j, b_row, c + i * c_row + j, c_row, depth, accumulate);
  }
}

}  // namespace fedalt::simd
