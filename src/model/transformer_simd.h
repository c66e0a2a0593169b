// The few vector operations that the CPU kernels of the transformer share, in the compiler's own vector types.
//
// Every function here is a template on the vector's width in bytes and always inlined, so that one source serves the baseline
// instruction set and, inside a function marked FEDALT_TARGET_AVX2, wider registers. HasAvx2() chooses at run time.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define FEDALT_INLINE inline __attribute__((always_inline))
#if defined(__x86_64__)
#define FEDALT_TARGET_AVX2 __attribute__((target("avx2,fma")))
#else
#define FEDALT_TARGET_AVX2
#endif

// Vectors never cross a function that is not inlined. Not restored: the warning comes at the end of the including file.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fedalt::simd {

inline bool HasAvx2() {
#if defined(__x86_64__)
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
#else
  return false;
#endif
}

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
  static FEDALT_INLINE V Fill(T x) { return V{} + x; }
  static FEDALT_INLINE T Sum(const V& v) {
    T sum = 0;
    for (int64_t i = 0; i < kCount; ++i) sum += v[i];
    return sum;
  }
  static FEDALT_INLINE T Max(const V& v) {
    T max = v[0];
    for (int64_t i = 1; i < kCount; ++i) max = v[i] > max ? v[i] : max;
    return max;
  }
};

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
  constexpr int kRows = kBytes >= 32 ? 6 : 2;  // as many accumulators as there are registers
  for (int64_t j = 0; j < columns; j += kTileColumns<T>) {
    int64_t i = 0;
    for (; i + kRows <= rows; i += kRows)
      MatMulTile<T, kBytes, kRows>({a.data + i * a.row, a.row, a.column}, b + j, b_row, c + i * c_row + j, c_row, depth,
                                   accumulate);
    for (; i + 2 <= rows; i += 2)
      MatMulTile<T, kBytes, 2>({a.data + i * a.row, a.row, a.column}, b + j, b_row, c + i * c_row + j, c_row, depth, accumulate);
    if (i < rows)
      MatMulTile<T, kBytes, 1>({a.data + i * a.row, a.row, a.column}, b + j, b_row, c + i * c_row + j, c_row, depth, accumulate);
  }
}

}  // namespace fedalt::simd
