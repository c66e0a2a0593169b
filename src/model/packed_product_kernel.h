// The inside of packed_product.cc: copies into the kernel's order, and the kernel. Included there only.
//
// Depth is counted in words of 32 bits: one float, or a pair of neighbouring bfloat16. The kernel adds one word of each of up to
// 14 rows times one word of each of 32 outputs (a panel) in registers. What fills up words, lines or panels is zero.
#pragma once

#include <algorithm>

#include "model/packed_product.h"
#include "model/transformer_simd.h"

#if defined(__x86_64__)
#define FEDALT_INLINE_AVX512 FEDALT_TARGET_AVX512 FEDALT_INLINE

namespace fedalt::packed {

using Word = uint32_t;
constexpr int64_t kLine = 16;    ///< words of a cache line, and of a vector
constexpr int kTileRows = 14;    ///< with two vectors of outputs each, as many sums as registers allow
constexpr int64_t kPanel = 32;   ///< outputs
constexpr int64_t kStep = 64;    ///< words of the depth between two looks ahead
constexpr int64_t kAhead = 512;  ///< words of a panel fetched ahead: 16 of the depth

template <typename Storage>
constexpr int64_t kPerWord = static_cast<int64_t>(sizeof(Word) / sizeof(Storage));
template <typename Storage>
constexpr int64_t WordsOf(int64_t elements) {
  return (elements + kPerWord<Storage> - 1) / kPerWord<Storage>;
}

// The two instructions of AVX512-BF16 are written out, so that the rest is compiled once for all of AVX-512.
template <typename Storage>
FEDALT_INLINE_AVX512 __m512 MultiplyAdd(__m512 sum, __m512i a, __m512i b) {
  if constexpr (kPerWord<Storage> == 2) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  } else {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
}
FEDALT_INLINE_AVX512 __m512i NarrowTwo(__m512 first, __m512 second) {
  __m512i halves;
  __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(halves) : "v"(first), "v"(second));
  return halves;
}

FEDALT_INLINE_AVX512 __mmask16 FirstWords(int64_t count) {
  return static_cast<__mmask16>(count >= kLine ? 0xFFFF : (1u << std::max<int64_t>(count, 0)) - 1);
}
FEDALT_INLINE_AVX512 __mmask32 FirstHalves(int64_t count) {
  return static_cast<__mmask32>(count >= 2 * kLine ? 0xFFFFFFFF : (1u << std::max<int64_t>(count, 0)) - 1);
}
/// A line of words from the first `count` elements, or fewer.
template <typename Storage>
FEDALT_INLINE_AVX512 __m512i LoadLine(const Storage* from, int64_t count) {
  if constexpr (kPerWord<Storage> == 2) {
    return _mm512_maskz_loadu_epi16(FirstHalves(count), from);
  } else {
    return _mm512_maskz_loadu_epi32(FirstWords(count), from);
  }
}

/// A part of a matrix that is needed soon. It is fetched a few lines at a time: all at once would hold up the products.
class LookAhead {
 public:
  LookAhead() = default;
  /// `rows` rows of `count` elements, within `steps` calls of Fetch.
  template <typename Storage>
  LookAhead(const MatrixRows<const Storage>& from, int64_t rows, int64_t count, int64_t steps)
      : row_(reinterpret_cast<const char*>(from.data)),
        row_bytes_(from.row * static_cast<int64_t>(sizeof(Storage))),
        rows_(rows),
        lines_((WordsOf<Storage>(count) + kLine - 1) / kLine),
        lines_at_once_((rows * lines_ + steps - 1) / steps) {}

  FEDALT_INLINE void Fetch() {
    for (int64_t n = 0; n < lines_at_once_ && rows_ > 0; ++n) {
      __builtin_prefetch(row_ + line_ * kLine * static_cast<int64_t>(sizeof(Word)), 0, 2);
      if (++line_ < lines_) continue;
      line_ = 0;
      row_ += row_bytes_;
      --rows_;
    }
  }

 private:
  const char* row_ = nullptr;
  int64_t row_bytes_ = 0, rows_ = 0, lines_ = 0, lines_at_once_ = 0, line_ = 0;
};

/// What a tile fetches for others while it runs.
struct LookAheads {
  LookAhead rows, weight;
};

/// What is added to the sums of a part of the depth: nothing (null), those of the parts before, or (row 0) a bias. It is added at
/// their end: sums that begin at zero lose less to rounding.
using Base = MatrixRows<const float>;

/// y (R, outputs) = base + x (R, words) panel (words, 32). outputs: 32, or fewer at the edge.
template <typename Storage, typename Result, int R>
FEDALT_TARGET_AVX512 __attribute__((noinline)) void Tile(const Word* x, int64_t x_row, const Word* panel, int64_t words,
                                                         const Base& base, Result* y, int64_t y_row, int64_t outputs,
                                                         LookAheads& ahead) {
  __m512 sums[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
  for (int64_t begin = 0; begin < words; begin += kStep) {
    ahead.rows.Fetch();
    ahead.weight.Fetch();
    const int64_t end = std::min(begin + kStep, words);
    for (int64_t k = begin; k < end; ++k) {
      const Word* const line = panel + k * kPanel;
      const __m512i first = _mm512_load_si512(line), second = _mm512_load_si512(line + kLine);
      __builtin_prefetch(line + kAhead);
      __builtin_prefetch(line + kAhead + kLine);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const __m512i word = _mm512_set1_epi32(static_cast<int>(x[r * x_row + k]));
        sums[r][0] = MultiplyAdd<Storage>(sums[r][0], word, first);
        sums[r][1] = MultiplyAdd<Storage>(sums[r][1], word, second);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    if (base.data != nullptr)
      for (int v = 0; v < 2; ++v)
        sums[r][v] = sums[r][v] + _mm512_maskz_loadu_ps(FirstWords(outputs - v * kLine), base.data + r * base.row + v * kLine);
    if constexpr (sizeof(Result) == sizeof(float)) {
      _mm512_mask_storeu_ps(y + r * y_row, FirstWords(outputs), sums[r][0]);
      _mm512_mask_storeu_ps(y + r * y_row + kLine, FirstWords(outputs - kLine), sums[r][1]);
    } else {
      _mm512_mask_storeu_epi16(y + r * y_row, FirstHalves(outputs), NarrowTwo(sums[r][0], sums[r][1]));
    }
  }
}

/// Rows -> words (rows, to_row).
template <typename Storage>
FEDALT_TARGET_AVX512 void PackRows(const MatrixRows<const Storage>& from, int64_t rows, int64_t depth, Word* to, int64_t to_row) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < depth; i += kLine * kPerWord<Storage>)
      _mm512_store_si512(to + r * to_row + i / kPerWord<Storage>, LoadLine(from.data + r * from.row + i, depth - i));
}

/// A weight's rows of outputs -> panels, `panel_words` apart: squares of 16 words, transposed.
template <typename Storage>
FEDALT_TARGET_AVX512 void PackOutputs(const MatrixRows<const Storage>& from, int64_t outputs, int64_t depth, Word* to,
                                      int64_t panel_words) {
  using L = simd::Lanes<float, 64>;  // moves the bits of words as well
  const int64_t words = WordsOf<Storage>(depth);
  for (int64_t o = 0; o < (outputs + kPanel - 1) / kPanel * kPanel; o += kLine)
    for (int64_t k = 0; k < words; k += kLine) {
      L::V lines[kLine];
      for (int64_t r = 0; r < kLine; ++r) {
        const int64_t i = k * kPerWord<Storage>;
        lines[r] = o + r < outputs ? (L::V)LoadLine(from.data + (o + r) * from.row + i, depth - i) : L::V{};
      }
      L::Transpose(lines);
      Word* const square = to + o / kPanel * panel_words + o % kPanel + k * kPanel;
      for (int64_t r = 0; r < std::min(kLine, words - k); ++r) _mm512_store_ps(square + r * kPanel, (__m512)lines[r]);
    }
}

/// A weight's rows of depth -> panels: lines of 32, those of bfloat16 two and two interleaved.
template <typename Storage>
FEDALT_TARGET_AVX512 void PackDepth(const MatrixRows<const Storage>& from, int64_t outputs, int64_t depth, Word* to,
                                    int64_t panel_words) {
  constexpr int64_t kRowsAhead = 4 * kPerWord<Storage>;
  for (int64_t i = 0; i < depth; i += kPerWord<Storage>) {
    const Storage* const row = from.data + i * from.row;
    for (int64_t next = i + kRowsAhead; next < std::min(i + kRowsAhead + kPerWord<Storage>, depth); ++next)
      for (int64_t o = 0; o < outputs; o += kLine * kPerWord<Storage>) __builtin_prefetch(from.data + next * from.row + o);
    for (int64_t o = 0; o < outputs; o += kPanel) {
      Word* const line = to + o / kPanel * panel_words + i / kPerWord<Storage> * kPanel;
      if constexpr (kPerWord<Storage> == 1) {
        _mm512_store_si512(line, LoadLine(row + o, outputs - o));
        _mm512_store_si512(line + kLine, LoadLine(row + o + kLine, outputs - o - kLine));
      } else {
        const __m512i lower = LoadLine(row + o, outputs - o);
        const __m512i upper = i + 1 < depth ? LoadLine(row + from.row + o, outputs - o) : _mm512_setzero_si512();
        const auto braid = [](__m256i low, __m256i high) FEDALT_TARGET_AVX512 {
          return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
        };
        _mm512_store_si512(line, braid(_mm512_castsi512_si256(lower), _mm512_castsi512_si256(upper)));
        _mm512_store_si512(line + kLine, braid(_mm512_extracti64x4_epi64(lower, 1), _mm512_extracti64x4_epi64(upper, 1)));
      }
    }
  }
}

}  // namespace fedalt::packed
#endif
