// The arithmetic of attention_kernel.h for bfloat16 tensors on processors that multiply pairs of bfloat16 (AVX512-BF16). Included
// by attention.cc only.
//
// A product's two factors are rounded to bfloat16 (queries and keys after the rotation, probabilities, gradients of scores); sums,
// the softmax and everything between products stay in float32, as in the reference's bfloat16 path. The instruction sums pairs
// along the depth of a product, so a factor lies either as rows of pairs of neighbours ("Pairs"), or as two rows interleaved
// ("Braided"): word [k][j] holds rows 2k and 2k + 1 of column j.
#pragma once

#include "model/attention_kernel.h"

#if defined(__x86_64__)
#define FEDALT_INLINE_BF16 FEDALT_TARGET_AVX512_BF16 FEDALT_INLINE

namespace fedalt::attention::bf16 {

using Word = uint32_t;  // two bfloat16, the lower half first
constexpr int64_t kLine = 16;

/// n floats (a multiple of 16) -> n / 2 words of neighbours.
FEDALT_INLINE_BF16 void ToPairs(const float* from, Word* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kLine) {
    const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + i));
    std::memcpy(to + i / 2, &narrow, sizeof narrow);
  }
}

/// Two rows of n floats (a multiple of 16) -> n words; `second` null: a row of zeros.
FEDALT_INLINE_BF16 void Braid(const float* first, const float* second, Word* to, int64_t n) {
  const auto widened = [](const float* from) FEDALT_TARGET_AVX512_BF16 {
    const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_loadu_ps(from));
    __m256i bits;
    std::memcpy(&bits, &narrow, sizeof bits);
    return _mm512_cvtepu16_epi32(bits);
  };
  for (int64_t i = 0; i < n; i += kLine) {
    __m512i word = widened(first + i);
    if (second != nullptr) word = _mm512_or_si512(word, _mm512_slli_epi32(widened(second + i), 16));
    _mm512_storeu_si512(to + i, word);
  }
}

/// Words read as a[i * row + k * column].
struct StridedWords {
  const Word* data;
  int64_t row;
  int64_t column;
};

template <int kRows, int kVectors>
FEDALT_INLINE_BF16 void Tile(StridedWords a, const Word* b, int64_t b_row, float* c, int64_t c_row, int64_t depth,
                             bool accumulate) {
  __m512 sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = accumulate ? _mm512_loadu_ps(c + r * c_row + v * kLine) : _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; ++k) {
    __m512bh line[kVectors];
    for (int v = 0; v < kVectors; ++v) line[v] = (__m512bh)_mm512_loadu_si512(b + k * b_row + v * kLine);
    for (int r = 0; r < kRows; ++r) {
      const __m512bh x = (__m512bh)_mm512_set1_epi32(static_cast<int>(a.data[r * a.row + k * a.column]));
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], x, line[v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(c + r * c_row + v * kLine, sum[r][v]);
}

/// C (rows, columns) = or += A B over 2 * depth. `columns` is a multiple of 16; B (depth, columns) words and C have unit column
/// stride.
FEDALT_INLINE_BF16 void MatMul(StridedWords a, const Word* b, int64_t b_row, float* c, int64_t c_row, int64_t rows, int64_t columns,
                               int64_t depth, bool accumulate) {
  for (int64_t j = 0; j < columns;) {
    const bool two = j + 2 * kLine <= columns;
    int64_t i = 0;
    for (; i + 12 <= rows; i += 12) {
      const StridedWords from = {a.data + i * a.row, a.row, a.column};
      float* const to = c + i * c_row + j;
      two ? Tile<12, 2>(from, b + j, b_row, to, c_row, depth, accumulate)
          : Tile<12, 1>(from, b + j, b_row, to, c_row, depth, accumulate);
    }
    for (; i + 4 <= rows; i += 4) {
      const StridedWords from = {a.data + i * a.row, a.row, a.column};
      float* const to = c + i * c_row + j;
      two ? Tile<4, 2>(from, b + j, b_row, to, c_row, depth, accumulate)
          : Tile<4, 1>(from, b + j, b_row, to, c_row, depth, accumulate);
    }
    for (; i < rows; ++i) {
      const StridedWords from = {a.data + i * a.row, a.row, a.column};
      float* const to = c + i * c_row + j;
      two ? Tile<1, 2>(from, b + j, b_row, to, c_row, depth, accumulate)
          : Tile<1, 1>(from, b + j, b_row, to, c_row, depth, accumulate);
    }
    j += two ? 2 * kLine : kLine;
  }
}

/// Scratch memory of words out of that of floats.
FEDALT_INLINE Word* TakeWords(Scratch<float>& scratch, int64_t words) {
  return reinterpret_cast<Word*>(scratch.Take((words + kLine - 1) / kLine * kLine));
}

using Head = Rows<const c10::BFloat16>;

/// Rows [begin, end) as pairs (end - begin, d_pad / 2), the rotation applied; `line` holds d_pad floats, whose padding is zero.
FEDALT_INLINE_BF16 void PackPairs(const Head& rows, int64_t begin, int64_t end, int64_t first, RopeRows<float> rope, int64_t d,
                                  int64_t d_pad, float* line, Word* to) {
  for (int64_t i = begin; i < end; ++i, to += d_pad / 2) {
    LoadRow<float>(rows.at(i), line, d, rope, first + i);
    ToPairs(line, to, d_pad);
  }
}

/// The same rows braided two by two: (ceil((end - begin) / 2), d_pad); `lines` holds twice d_pad floats with zero padding.
FEDALT_INLINE_BF16 void PackBraided(const Head& rows, int64_t begin, int64_t end, int64_t first, RopeRows<float> rope, int64_t d,
                                    int64_t d_pad, float* lines, Word* to) {
  for (int64_t i = begin; i < end; i += 2, to += d_pad) {
    LoadRow<float>(rows.at(i), lines, d, rope, first + i);
    if (i + 1 < end) LoadRow<float>(rows.at(i + 1), lines + d_pad, d, rope, first + i + 1);
    Braid(lines, i + 1 < end ? lines + d_pad : nullptr, to, d_pad);
  }
}

/// Pairs (s, d_pad / 2) -> (d_pad / 2, s_pad), columns behind s zeroed.
FEDALT_INLINE_BF16 void Transpose(const Word* from, int64_t s, int64_t d_pad, int64_t s_pad, Word* to) {
  for (int64_t j = 0; j < s_pad; j += kLine) {
    const int64_t count = std::min(kLine, s - j);
    for (int64_t k = 0; k < d_pad / 2; ++k) {
      Word* const line = to + k * s_pad + j;
      for (int64_t c = 0; c < count; ++c) line[c] = from[(j + c) * (d_pad / 2) + k];
      for (int64_t c = count; c < kLine; ++c) line[c] = 0;
    }
  }
}

using HeadTask = Task<c10::BFloat16, float>;

FEDALT_INLINE_BF16 void Probabilities(const HeadTask& task, const Block& b, int64_t head, const Word* q, const Word* k_transposed,
                                      int64_t d_pad, int64_t s_pad, float* p) {
  MatMul({q, d_pad / 2, 1}, k_transposed + b.begin, s_pad, p + b.begin, s_pad, b.i1 - b.i0, b.end - b.begin, d_pad / 2, false);
  for (int64_t i = b.i0; i < b.i1; ++i) {
    const int64_t high = b.first + i, low = task.window > 0 ? std::max<int64_t>(0, high - task.window + 1) : 0;
    SoftmaxRow<float, 64>(p + (i - b.i0) * s_pad, b.begin, b.end, low, high, task.scale,
                          task.slopes ? static_cast<float>(task.slopes[head]) : 0.0f);
  }
}

FEDALT_TARGET_AVX512_BF16 inline void Forward(const HeadTask& task, Scratch<float>& scratch) {
  const int64_t s = task.keys, d = task.head_dim, d_pad = simd::PadColumns<float>(d), s_pad = simd::PadColumns<float>(s);
  const int64_t braids = (s + 1) / 2;
  scratch.Reserve(2 * d_pad + s * d_pad / 2 + d_pad / 2 * s_pad + braids * d_pad +
                  kBlockRows * (d_pad / 2 + d_pad + s_pad + s_pad / 2) + 8 * kLine);
  float* lines = scratch.Take(2 * d_pad);
  std::fill(lines, lines + 2 * d_pad, 0.0f);
  Word *k = TakeWords(scratch, s * d_pad / 2), *k_transposed = TakeWords(scratch, d_pad / 2 * s_pad);
  Word* v = TakeWords(scratch, braids * d_pad);
  Word* q = TakeWords(scratch, kBlockRows * d_pad / 2);
  float *out = scratch.Take(kBlockRows * d_pad), *p = scratch.Take(kBlockRows * s_pad);
  Word* p_pairs = TakeWords(scratch, kBlockRows * s_pad / 2);
  PackPairs(task.k, 0, s, 0, task.rotate_keys ? task.rope : RopeRows<float>{}, d, d_pad, lines, k);
  Transpose(k, s, d_pad, s_pad, k_transposed);
  PackBraided(task.v, 0, s, 0, RopeRows<float>{}, d, d_pad, lines, v);
  for (int64_t head = 0; head < task.group; ++head) {
    Head q_rows = task.q;
    q_rows.data += head * task.q_head;
    for (int64_t i0 = 0; i0 < task.queries; i0 += kBlockRows) {
      const Block b = MakeBlock(task, i0);
      const int64_t rows = b.i1 - b.i0;
      PackPairs(q_rows, b.i0, b.i1, b.first, task.rope, d, d_pad, lines, q);
      Probabilities(task, b, head, q, k_transposed, d_pad, s_pad, p);
      for (int64_t i = 0; i < rows; ++i) ToPairs(p + i * s_pad + b.begin, p_pairs + (i * s_pad + b.begin) / 2, b.end - b.begin);
      MatMul({p_pairs + b.begin / 2, s_pad / 2, 1}, v + b.begin / 2 * d_pad, d_pad, out, d_pad, rows, d_pad,
             (b.used - b.begin + 1) / 2, false);
      for (int64_t i = b.i0; i < b.i1; ++i)
        StoreGradientRow<float>(out + (i - b.i0) * d_pad, task.out.at(i) + head * task.out_head, d, RopeRows<float>{}, 0);
    }
  }
}

FEDALT_TARGET_AVX512_BF16 inline void Backward(const HeadTask& task, Scratch<float>& scratch) {
  const int64_t s = task.keys, d = task.head_dim, d_pad = simd::PadColumns<float>(d), s_pad = simd::PadColumns<float>(s);
  const int64_t braids = (s + 1) / 2, block_braids = (kBlockRows + 1) / 2;
  scratch.Reserve(2 * d_pad + s * d_pad / 2 + 2 * (d_pad / 2 * s_pad) + braids * d_pad + 2 * s * d_pad +
                  kBlockRows * (2 * (d_pad / 2) + d_pad + 2 * s_pad + s_pad / 2) + block_braids * (2 * d_pad + 2 * s_pad) +
                  16 * kLine);
  float* lines = scratch.Take(2 * d_pad);
  std::fill(lines, lines + 2 * d_pad, 0.0f);
  Word* rows_pairs = TakeWords(scratch, s * d_pad / 2);
  Word *k_transposed = TakeWords(scratch, d_pad / 2 * s_pad), *v_transposed = TakeWords(scratch, d_pad / 2 * s_pad);
  Word* k = TakeWords(scratch, braids * d_pad);
  float *dk = scratch.Take(s * d_pad), *dv = scratch.Take(s * d_pad);
  Word *q = TakeWords(scratch, kBlockRows * d_pad / 2), *d_out = TakeWords(scratch, kBlockRows * d_pad / 2);
  float *dq = scratch.Take(kBlockRows * d_pad), *p = scratch.Take(kBlockRows * s_pad), *dp = scratch.Take(kBlockRows * s_pad);
  Word* ds_pairs = TakeWords(scratch, kBlockRows * s_pad / 2);
  Word *q_braided = TakeWords(scratch, block_braids * d_pad), *d_out_braided = TakeWords(scratch, block_braids * d_pad);
  Word *p_braided = TakeWords(scratch, block_braids * s_pad), *ds_braided = TakeWords(scratch, block_braids * s_pad);
  PackPairs(task.v, 0, s, 0, RopeRows<float>{}, d, d_pad, lines, rows_pairs);
  Transpose(rows_pairs, s, d_pad, s_pad, v_transposed);
  PackPairs(task.k, 0, s, 0, task.rope, d, d_pad, lines, rows_pairs);
  Transpose(rows_pairs, s, d_pad, s_pad, k_transposed);
  PackBraided(task.k, 0, s, 0, task.rope, d, d_pad, lines, k);
  std::fill(dk, dk + s * d_pad, 0.0f);
  std::fill(dv, dv + s * d_pad, 0.0f);
  for (int64_t head = 0; head < task.group; ++head) {
    Head q_rows = task.q, d_out_rows = task.d_out;
    q_rows.data += head * task.q_head;
    d_out_rows.data += head * task.out_head;
    for (int64_t i0 = 0; i0 < task.queries; i0 += kBlockRows) {
      const Block b = MakeBlock(task, i0);
      const int64_t rows = b.i1 - b.i0, depth = b.used - b.begin, columns = b.end - b.begin, pairs = (rows + 1) / 2;
      PackPairs(q_rows, b.i0, b.i1, b.first, task.rope, d, d_pad, lines, q);
      PackBraided(q_rows, b.i0, b.i1, b.first, task.rope, d, d_pad, lines, q_braided);
      PackPairs(d_out_rows, b.i0, b.i1, b.first, RopeRows<float>{}, d, d_pad, lines, d_out);
      PackBraided(d_out_rows, b.i0, b.i1, b.first, RopeRows<float>{}, d, d_pad, lines, d_out_braided);
      Probabilities(task, b, head, q, k_transposed, d_pad, s_pad, p);
      MatMul({d_out, d_pad / 2, 1}, v_transposed + b.begin, s_pad, dp + b.begin, s_pad, rows, columns, d_pad / 2, false);
      const auto braid = [&](const float* from, Word* to) FEDALT_TARGET_AVX512_BF16 {
        for (int64_t i = 0; i < rows; i += 2)
          Braid(from + i * s_pad + b.begin, i + 1 < rows ? from + (i + 1) * s_pad + b.begin : nullptr, to + i / 2 * s_pad + b.begin,
                columns);
      };
      braid(p, p_braided);
      MatMul({p_braided + b.begin, 1, s_pad}, d_out_braided, d_pad, dv + b.begin * d_pad, d_pad, depth, d_pad, pairs, true);
      SoftmaxBackward<float, 64>(p, dp, rows, s_pad, b.begin, b.end, task.scale);
      for (int64_t i = 0; i < rows; ++i) ToPairs(dp + i * s_pad + b.begin, ds_pairs + (i * s_pad + b.begin) / 2, columns);
      MatMul({ds_pairs + b.begin / 2, s_pad / 2, 1}, k + b.begin / 2 * d_pad, d_pad, dq, d_pad, rows, d_pad, (depth + 1) / 2,
             false);
      braid(dp, ds_braided);
      MatMul({ds_braided + b.begin, 1, s_pad}, q_braided, d_pad, dk + b.begin * d_pad, d_pad, depth, d_pad, pairs, true);
      for (int64_t i = b.i0; i < b.i1; ++i)
        StoreGradientRow<float>(dq + (i - b.i0) * d_pad, task.d_q.at(i) + head * task.q_head, d, task.rope, b.first + i);
    }
  }
  for (int64_t j = 0; j < s; ++j) {
    StoreGradientRow<float>(dk + j * d_pad, task.d_k.at(j), d, task.rope, j);
    StoreGradientRow<float>(dv + j * d_pad, task.d_v.at(j), d, RopeRows<float>{}, j);
  }
}

}  // namespace fedalt::attention::bf16
#endif
