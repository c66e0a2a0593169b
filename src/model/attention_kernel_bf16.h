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

using Half = uint16_t;  // the bits of one bfloat16
using Word = uint32_t;  // two of them, the lower half first
constexpr int64_t kLine = 16;

using Head = Rows<const c10::BFloat16>;
using HeadTask = Task<c10::BFloat16, float>;

FEDALT_INLINE_BF16 __mmask16 FirstLanes(int64_t count) {
  return count >= kLine ? __mmask16(0xFFFF) : static_cast<__mmask16>((1u << count) - 1);
}

FEDALT_INLINE_BF16 __m512 Widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

FEDALT_INLINE_BF16 __m256i Narrow(__m512 x) {
  const __m256bh narrow = _mm512_cvtneps_pbh(x);
  __m256i halves;
  std::memcpy(&halves, &narrow, sizeof halves);
  return halves;
}

/// to = from rotated by its position's angles; `back`: by their negatives, as a gradient is. `load(i, lanes)` gives 16 elements
/// from i on, `store(i, lanes, x)` takes them.
template <typename Load, typename Store>
FEDALT_INLINE_BF16 void Rotate(const Load& load, const Store& store, int64_t d, RopeRows<float> rope, int64_t position, bool back) {
  const int64_t half = d / 2;
  const float *cos = rope.cos + position * half, *sin = rope.sin + position * half;
  for (int64_t i = 0; i < half; i += kLine) {
    const __mmask16 lanes = FirstLanes(half - i);
    const __m512 x = load(i, lanes), y = load(half + i, lanes), c = _mm512_maskz_loadu_ps(lanes, cos + i);
    __m512 s = _mm512_maskz_loadu_ps(lanes, sin + i);
    if (back) s = -s;
    store(i, lanes, x * c - y * s);
    store(half + i, lanes, y * c + x * s);
  }
}

/// Rows [begin, end) -> (end - begin, d_pad), the rotation applied. What lies behind d in `to` is left alone (it is zero).
FEDALT_INLINE_BF16 void PackRows(const Head& rows, int64_t begin, int64_t end, int64_t first, RopeRows<float> rope, int64_t d,
                                 int64_t d_pad, Half* to) {
  for (int64_t i = begin; i < end; ++i, to += d_pad) {
    const c10::BFloat16* const from = rows.at(i);
    FetchRow(rows, std::min(i + kRowsAhead, end - 1), d);
    if (rope.cos == nullptr) {
      std::memcpy(to, from, static_cast<size_t>(d) * sizeof(Half));
      continue;
    }
    Rotate([&](int64_t at, __mmask16 lanes) FEDALT_TARGET_AVX512_BF16 { return Widen(_mm256_maskz_loadu_epi16(lanes, from + at)); },
           [&](int64_t at, __mmask16 lanes, __m512 x)
               FEDALT_TARGET_AVX512_BF16 { _mm256_mask_storeu_epi16(to + at, lanes, Narrow(x)); },
           d, rope, first + i, /*back=*/false);
  }
}

/// The way back, for a row of gradients or (without rotation) of results.
FEDALT_INLINE_BF16 void StoreRow(const float* from, c10::BFloat16* to, int64_t d, RopeRows<float> rope, int64_t position) {
  const auto store = [&](int64_t at, __mmask16 lanes, __m512 x)
                         FEDALT_TARGET_AVX512_BF16 { _mm256_mask_storeu_epi16(to + at, lanes, Narrow(x)); };
  const auto load = [&](int64_t at, __mmask16 lanes) FEDALT_TARGET_AVX512_BF16 { return _mm512_maskz_loadu_ps(lanes, from + at); };
  if (rope.cos != nullptr) return Rotate(load, store, d, rope, position, /*back=*/true);
  for (int64_t i = 0; i < d; i += kLine) store(i, FirstLanes(d - i), load(i, FirstLanes(d - i)));
}

/// Rows (rows, row) -> words (ceil(rows / 2), row) of columns [begin, end), multiples of 16; a missing last row is zero.
FEDALT_INLINE_BF16 void BraidRows(const Half* from, int64_t rows, int64_t row, int64_t begin, int64_t end, Word* to) {
  for (int64_t i = 0; i < rows; i += 2, from += 2 * row, to += row)
    for (int64_t j = begin; j < end; j += kLine) {
      __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + j)));
      if (i + 1 < rows) {
        const __m512i upper = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + row + j)));
        words = _mm512_or_si512(words, _mm512_slli_epi32(upper, 16));
      }
      _mm512_storeu_si512(to + j, words);
    }
}

/// Rows (s, d_pad) read as pairs -> words (d_pad / 2, s_pad), columns behind s zeroed.
FEDALT_INLINE_BF16 void TransposePairs(const Half* from, int64_t s, int64_t d_pad, int64_t s_pad, Word* to) {
  using L = simd::Lanes<float, 64>;  // moves the bits of words as well
  const int64_t words = d_pad / 2;
  for (int64_t j = 0; j < s_pad; j += kLine)
    for (int64_t k = 0; k < words; k += kLine) {
      const int64_t count = std::min(kLine, words - k);
      L::V lines[kLine];
      for (int64_t r = 0; r < kLine; ++r)
        lines[r] = j + r < s ? (L::V)_mm512_maskz_loadu_ps(FirstLanes(count), from + (j + r) * d_pad + 2 * k) : L::V{};
      L::Transpose(lines);
      for (int64_t r = 0; r < count; ++r) _mm512_storeu_ps(to + (k + r) * s_pad + j, (__m512)lines[r]);
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
    const auto tile = [&]<int kRows>(int64_t i) FEDALT_TARGET_AVX512_BF16 {
      const StridedWords from = {a.data + i * a.row, a.row, a.column};
      float* const to = c + i * c_row + j;
      two ? Tile<kRows, 2>(from, b + j, b_row, to, c_row, depth, accumulate)
          : Tile<kRows, 1>(from, b + j, b_row, to, c_row, depth, accumulate);
      return i + kRows;
    };
    for (int64_t i = 0; i < rows;) {
      const int64_t left = rows - i;
      if (left >= 12 && left != 16) {
        i = tile.template operator()<12>(i);
      } else if (left >= 8) {
        i = tile.template operator()<8>(i);
      } else if (left >= 4) {
        i = tile.template operator()<4>(i);
      } else {
        i = tile.template operator()<1>(i);
      }
    }
    j += two ? 2 * kLine : kLine;
  }
}

/// Scratch memory of words, or zeroed memory of halves, out of that of floats.
FEDALT_INLINE Word* TakeWords(Scratch<float>& scratch, int64_t words) {
  return reinterpret_cast<Word*>(scratch.Take((words + kLine - 1) / kLine * kLine));
}
FEDALT_INLINE Half* TakeHalves(Scratch<float>& scratch, int64_t halves) {
  Word* const words = TakeWords(scratch, (halves + 1) / 2);
  std::fill(words, words + (halves + 1) / 2, 0u);
  return reinterpret_cast<Half*>(words);
}

/// Scores [begin, end) of a query at position `high`, of which it sees [low, high], become exp(score - greatest), and 0 where it
/// does not see. Returns 1 / their sum.
FEDALT_INLINE_BF16 float Exponentials(float* row, int64_t begin, int64_t end, int64_t low, int64_t high, float scale, float slope) {
  using L = simd::Lanes<float, 64>;
  const auto seen = [&](int64_t j) FEDALT_TARGET_AVX512_BF16 {
    const __mmask16 from_low = j >= low ? __mmask16(0xFFFF) : static_cast<__mmask16>(~FirstLanes(low - j));
    return static_cast<__mmask16>(from_low & (j > high ? __mmask16(0) : FirstLanes(high + 1 - j)));
  };
  const __m512 scales = _mm512_set1_ps(scale), slopes = _mm512_set1_ps(slope);
  const __m512 lane = _mm512_cvtepi32_ps(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
  __m512 tops = _mm512_set1_ps(-1e30f);
  for (int64_t j = begin; j < end; j += kLine) {
    __m512 x = _mm512_loadu_ps(row + j) * scales;
    if (slope != 0.0f) {
      x = x + slopes * (lane + _mm512_set1_ps(static_cast<float>(j - high)));
      _mm512_storeu_ps(row + j, x);
    }
    tops = _mm512_mask_max_ps(tops, seen(j), x, tops);  // in this order a NaN does not become the greatest; the sum has it
  }
  const __m512 top = _mm512_set1_ps(L::Max((L::V)tops));
  if (slope != 0.0f) scale = 1.0f;
  L::V total{};
  for (int64_t j = begin; j < end; j += kLine) {
    const L::V argument = (L::V)_mm512_fmsub_ps(_mm512_loadu_ps(row + j), _mm512_set1_ps(scale), top);
    const L::V e = (L::V)_mm512_maskz_mov_ps(seen(j), (__m512)simd::Exp<64>(argument));
    L::Store(row + j, e);
    total += e;
  }
  return 1.0f / L::Sum(total);
}

/// Columns [b.begin, b.end) of P for the block's queries: bfloat16 in `halves`, and float32 in `p` if `keep_floats` (otherwise `p`
/// is scratch memory).
FEDALT_INLINE_BF16 void Probabilities(const HeadTask& task, const Block& b, int64_t head, const Half* q, const Word* k_transposed,
                                      int64_t d_pad, int64_t s_pad, float* p, bool keep_floats, Half* halves) {
  MatMul({reinterpret_cast<const Word*>(q), d_pad / 2, 1}, k_transposed + b.begin, s_pad, p + b.begin, s_pad, b.i1 - b.i0,
         b.end - b.begin, d_pad / 2, false);
  for (int64_t i = b.i0; i < b.i1; ++i) {
    const int64_t high = b.first + i, low = task.window > 0 ? std::max<int64_t>(0, high - task.window + 1) : 0;
    float* const row = p + (i - b.i0) * s_pad;
    Half* const narrow = halves + (i - b.i0) * s_pad;
    const __m512 inverse = _mm512_set1_ps(
        Exponentials(row, b.begin, b.end, low, high, task.scale, task.slopes ? static_cast<float>(task.slopes[head]) : 0.0f));
    for (int64_t j = b.begin; j < b.end; j += kLine) {
      const __m512 x = _mm512_loadu_ps(row + j) * inverse;
      if (keep_floats) _mm512_storeu_ps(row + j, x);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(narrow + j), Narrow(x));
    }
  }
}

/// dS = P * (dP - sum(P dP)) * scale in bfloat16, columns [begin, end).
FEDALT_INLINE_BF16 void ScoreGradients(const float* p, const float* dp, int64_t rows, int64_t row, int64_t begin, int64_t end,
                                       float scale, Half* ds) {
  using L = simd::Lanes<float, 64>;
  for (int64_t i = 0; i < rows; ++i, p += row, dp += row, ds += row) {
    L::V total{};
    for (int64_t j = begin; j < end; j += kLine) total += L::Load(p + j) * L::Load(dp + j);
    const float sum = L::Sum(total);
    for (int64_t j = begin; j < end; j += kLine) {
      const L::V x = L::Load(p + j) * (L::Load(dp + j) - sum) * scale;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(ds + j), Narrow((__m512)x));
    }
  }
}

FEDALT_TARGET_AVX512_BF16 inline void Forward(const HeadTask& task, Scratch<float>& scratch) {
  const int64_t s = task.keys, d = task.head_dim, d_pad = simd::PadColumns<float>(d), s_pad = ScoreColumns<float>(s);
  const int64_t braids = (s + 1) / 2;
  scratch.Reserve(s * d_pad / 2 + d_pad / 2 * s_pad + braids * d_pad + kBlockRows * (d_pad / 2 + d_pad + s_pad + s_pad / 2) +
                  8 * kLine);
  Half* rows = TakeHalves(scratch, s * d_pad);  // keys, then values
  Word *k_transposed = TakeWords(scratch, d_pad / 2 * s_pad), *v = TakeWords(scratch, braids * d_pad);
  Half *q = TakeHalves(scratch, kBlockRows * d_pad), *p_halves = TakeHalves(scratch, kBlockRows * s_pad);
  float *out = scratch.Take(kBlockRows * d_pad), *p = scratch.Take(kBlockRows * s_pad);
  PackRows(task.k, 0, s, 0, task.rotate_keys ? task.rope : RopeRows<float>{}, d, d_pad, rows);
  TransposePairs(rows, s, d_pad, s_pad, k_transposed);
  PackRows(task.v, 0, s, 0, RopeRows<float>{}, d, d_pad, rows);
  BraidRows(rows, s, d_pad, 0, d_pad, v);
  for (int64_t head = 0; head < task.group; ++head) {
    Head q_rows = task.q;
    q_rows.data += head * task.q_head;
    for (int64_t i0 = 0; i0 < task.queries; i0 += kBlockRows) {
      const Block b = MakeBlock(task, i0);
      PackRows(q_rows, b.i0, b.i1, b.first, task.rope, d, d_pad, q);
      Probabilities(task, b, head, q, k_transposed, d_pad, s_pad, p, /*keep_floats=*/false, p_halves);
      MatMul({reinterpret_cast<const Word*>(p_halves + b.begin), s_pad / 2, 1}, v + b.begin / 2 * d_pad, d_pad, out, d_pad,
             b.i1 - b.i0, d_pad, (b.used - b.begin + 1) / 2, false);
      for (int64_t i = b.i0; i < b.i1; ++i)
        StoreRow(out + (i - b.i0) * d_pad, task.out.at(i) + head * task.out_head, d, RopeRows<float>{}, 0);
    }
  }
}

FEDALT_TARGET_AVX512_BF16 inline void Backward(const HeadTask& task, Scratch<float>& scratch) {
  const int64_t s = task.keys, d = task.head_dim, d_pad = simd::PadColumns<float>(d), s_pad = ScoreColumns<float>(s);
  const int64_t braids = (s + 1) / 2;
  scratch.Reserve(s * d_pad / 2 + 2 * (d_pad / 2 * s_pad) + braids * d_pad + 2 * s * d_pad +
                  kBlockRows * (d_pad + d_pad + 2 * s_pad + s_pad) + kGroupRows * (d_pad + s_pad) + 16 * kLine);
  Half* rows = TakeHalves(scratch, s * d_pad);  // values, then keys
  Word *k_transposed = TakeWords(scratch, d_pad / 2 * s_pad), *v_transposed = TakeWords(scratch, d_pad / 2 * s_pad);
  Word* k = TakeWords(scratch, braids * d_pad);
  float *dk = scratch.Take(s * d_pad), *dv = scratch.Take(s * d_pad);
  Half *q = TakeHalves(scratch, kBlockRows * d_pad), *d_out = TakeHalves(scratch, kBlockRows * d_pad);
  Half *p_halves = TakeHalves(scratch, kBlockRows * s_pad), *ds = TakeHalves(scratch, kBlockRows * s_pad);
  float *dq = scratch.Take(kBlockRows * d_pad), *p = scratch.Take(kBlockRows * s_pad), *dp = scratch.Take(kBlockRows * s_pad);
  GradientGroup<Word> group;
  group.per_row = 2;
  group.q = TakeWords(scratch, kGroupRows / 2 * d_pad);
  group.d_out = TakeWords(scratch, kGroupRows / 2 * d_pad);
  group.p = TakeWords(scratch, kGroupRows / 2 * s_pad);
  group.ds = TakeWords(scratch, kGroupRows / 2 * s_pad);
  PackRows(task.v, 0, s, 0, RopeRows<float>{}, d, d_pad, rows);
  TransposePairs(rows, s, d_pad, s_pad, v_transposed);
  PackRows(task.k, 0, s, 0, task.rope, d, d_pad, rows);
  TransposePairs(rows, s, d_pad, s_pad, k_transposed);
  BraidRows(rows, s, d_pad, 0, d_pad, k);
  std::fill(dk, dk + s * d_pad, 0.0f);
  std::fill(dv, dv + s * d_pad, 0.0f);
  const auto product = [&](const Word* a, const Word* b, float* c, int64_t keys, int64_t depth) FEDALT_TARGET_AVX512_BF16 {
    MatMul({a, 1, s_pad}, b, d_pad, c, d_pad, keys, d_pad, depth, true);
  };
  for (int64_t head = 0; head < task.group; ++head) {
    Head q_rows = task.q, d_out_rows = task.d_out;
    q_rows.data += head * task.q_head;
    d_out_rows.data += head * task.out_head;
    for (int64_t i0 = 0; i0 < task.queries; i0 += kBlockRows) {
      const Block b = MakeBlock(task, i0);
      const int64_t count = b.i1 - b.i0, braid = group.next_row();
      PackRows(q_rows, b.i0, b.i1, b.first, task.rope, d, d_pad, q);
      BraidRows(q, count, d_pad, 0, d_pad, group.q + braid * d_pad);
      PackRows(d_out_rows, b.i0, b.i1, b.first, RopeRows<float>{}, d, d_pad, d_out);
      BraidRows(d_out, count, d_pad, 0, d_pad, group.d_out + braid * d_pad);
      Probabilities(task, b, head, q, k_transposed, d_pad, s_pad, p, /*keep_floats=*/true, p_halves);
      BraidRows(p_halves, count, s_pad, b.begin, b.end, group.p + braid * s_pad);
      MatMul({reinterpret_cast<const Word*>(d_out), d_pad / 2, 1}, v_transposed + b.begin, s_pad, dp + b.begin, s_pad, count,
             b.end - b.begin, d_pad / 2, false);
      ScoreGradients(p, dp, count, s_pad, b.begin, b.end, task.scale, ds);
      BraidRows(ds, count, s_pad, b.begin, b.end, group.ds + braid * s_pad);
      MatMul({reinterpret_cast<const Word*>(ds + b.begin), s_pad / 2, 1}, k + b.begin / 2 * d_pad, d_pad, dq, d_pad, count, d_pad,
             (b.used - b.begin + 1) / 2, false);
      for (int64_t i = b.i0; i < b.i1; ++i)
        StoreRow(dq + (i - b.i0) * d_pad, task.d_q.at(i) + head * task.q_head, d, task.rope, b.first + i);
      group.blocks[group.count++] = b;
      if (group.full() || b.i1 == task.queries) AddGroup(group, d_pad, s_pad, dk, dv, product);
    }
  }
  for (int64_t j = 0; j < s; ++j) {
    StoreRow(dk + j * d_pad, task.d_k.at(j), d, task.rope, j);
    StoreRow(dv + j * d_pad, task.d_v.at(j), d, RopeRows<float>{}, j);
  }
}

}  // namespace fedalt::attention::bf16
#endif
