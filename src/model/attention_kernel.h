// The arithmetic of attention for one sequence and one key-value head. Included by attention.cc only.
//
// Rows are copied into scratch memory that is padded to whole cache lines (and converted and rotated on the way), so that every
// product is simd::MatMul. Legend: n queries, s keys, d head dimension; S scores, P probabilities.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "model/transformer_simd.h"

namespace fedalt::attention {

constexpr int64_t kBlockRows = 16;              // queries whose scores are computed at once
constexpr int64_t kGroupRows = 4 * kBlockRows;  // queries whose part of dk and dv is summed at once

/// Distance of two rows of scores. The line more keeps rows of a power of two out of each other's places in the first-level cache.
template <typename T>
constexpr int64_t ScoreColumns(int64_t keys) {
  return simd::PadColumns<T>(keys) + simd::kTileColumns<T>;
}

/// Rows of one head inside a bigger tensor, optionally spread over the slots of a cache.
template <typename Storage>
struct Rows {
  Storage* data = nullptr;
  int64_t row = 0;
  const int32_t* slots = nullptr;
  int64_t slot = 0;
  FEDALT_INLINE Storage* at(int64_t i) const { return data + i * row + (slots ? slots[i] * slot : 0); }
};

template <typename T>
struct RopeRows {
  const T* cos = nullptr;  // null: no rotation
  const T* sin = nullptr;
};

template <typename Storage, typename T>
struct Task {
  int64_t queries = 0, keys = 0;  // query i stands at position keys - queries + i
  int64_t head_dim = 0;
  int64_t group = 1;   // query heads that share this key-value head
  int64_t window = 0;  // 0: none
  T scale = 1;
  const double* slopes = nullptr;  // of the group's heads
  bool rotate_keys = true;         // false: they come from a cache, already rotated
  RopeRows<T> rope;
  Rows<const Storage> q, k, v;
  Rows<const Storage> next_k;  // of a cache: the keys of the thread's next task, null if there is none
  Rows<Storage> out;           // q and out: the group's first head, the others follow at q_head
  int64_t q_head = 0, out_head = 0;
  // Backward only.
  Rows<const Storage> d_out;
  Rows<Storage> d_q, d_k, d_v;
};

/// Reused between tasks of one thread.
template <typename T>
struct Scratch {
  std::vector<T> memory;
  T* at = nullptr;
  void Reserve(int64_t elements) {
    constexpr size_t kLine = 64 / sizeof(T);
    if (memory.size() < static_cast<size_t>(elements) + 2 * kLine) memory.resize(static_cast<size_t>(elements) + 2 * kLine);
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    at = memory.data() + ((64 - address % 64) % 64) / sizeof(T);
  }
  T* Take(int64_t elements) {  // elements: a multiple of a cache line
    T* taken = at;
    at += elements;
    return taken;
  }
};

template <typename T, typename Storage>
FEDALT_INLINE void LoadRow(const Storage* from, T* to, int64_t d, RopeRows<T> rope, int64_t position) {
  if (rope.cos == nullptr) {
    for (int64_t i = 0; i < d; ++i) to[i] = simd::Widen(from[i]);
    return;
  }
  const int64_t half = d / 2;
  const T *c = rope.cos + position * half, *s = rope.sin + position * half;
  for (int64_t i = 0; i < half; ++i) {
    const T x = simd::Widen(from[i]), y = simd::Widen(from[i + half]);
    to[i] = x * c[i] - y * s[i];
    to[i + half] = y * c[i] + x * s[i];
  }
}

/// The transpose of LoadRow: gradients go back through the rotation.
template <typename T, typename Storage>
FEDALT_INLINE void StoreGradientRow(const T* from, Storage* to, int64_t d, RopeRows<T> rope, int64_t position) {
  if (rope.cos == nullptr) {
    for (int64_t i = 0; i < d; ++i) simd::Narrow(from[i], to + i);
    return;
  }
  const int64_t half = d / 2;
  const T *c = rope.cos + position * half, *s = rope.sin + position * half;
  for (int64_t i = 0; i < half; ++i) {
    simd::Narrow(from[i] * c[i] + from[i + half] * s[i], to + i);
    simd::Narrow(from[i + half] * c[i] - from[i] * s[i], to + i + half);
  }
}

/// Heads lie apart by the whole row of q, k and v, which the processor does not foresee: row `i` is fetched while earlier ones are
/// worked on.
template <typename Storage>
FEDALT_INLINE void FetchRow(const Rows<const Storage>& rows, int64_t i, int64_t d) {
  constexpr int64_t kLine = 64 / sizeof(Storage);
  const Storage* const row = rows.at(i);
  for (int64_t c = 0; c < d; c += kLine) __builtin_prefetch(row + c);
}
constexpr int64_t kRowsAhead = 8;

/// rows [begin, end) -> to (end - begin, d_padded); padding is zeroed. Row i stands at position first + i.
template <typename T, typename Storage>
FEDALT_INLINE void Pack(Rows<const Storage> rows, int64_t begin, int64_t end, int64_t first, RopeRows<T> rope, int64_t d, T* to) {
  const int64_t stride = simd::PadColumns<T>(d);
  for (int64_t i = begin; i < end; ++i, to += stride) {
    FetchRow(rows, std::min(i + kRowsAhead, end - 1), d);
    LoadRow<T>(rows.at(i), to, d, rope, first + i);
    for (int64_t j = d; j < stride; ++j) to[j] = 0;
  }
}

/// from (s, d_padded) -> to (d, ScoreColumns), columns behind s zeroed.
template <typename T, int kBytes>
FEDALT_INLINE void Transpose(const T* from, int64_t s, int64_t d, T* to) {
  using L = simd::Lanes<T, kBytes>;
  const int64_t stride = simd::PadColumns<T>(d), columns = ScoreColumns<T>(s);
  for (int64_t j = 0; j < columns; j += L::kCount)
    for (int64_t i = 0; i < d; i += L::kCount) {
      typename L::V lines[L::kCount];
      for (int64_t r = 0; r < L::kCount; ++r) lines[r] = j + r < s ? L::Load(from + (j + r) * stride + i) : typename L::V{};
      L::Transpose(lines);
      const int64_t count = std::min(L::kCount, d - i);
      for (int64_t r = 0; r < count; ++r) L::Store(to + (i + r) * columns + j, lines[r]);
    }
}

/// One row of scores becomes probabilities: columns [low, high] take part, the others of [begin, end) become zero.
/// begin and end are multiples of a vector. The query stands at position high.
template <typename T, int kBytes>
FEDALT_INLINE void SoftmaxRow(T* row, int64_t begin, int64_t end, int64_t low, int64_t high, T scale, T slope) {
  using L = simd::Lanes<T, kBytes>;
  constexpr T kMasked = T(-1e30);
  for (int64_t j = low; j <= high && slope != 0; ++j) row[j] += slope / scale * static_cast<T>(j - high);
  for (int64_t j = begin; j < low; ++j) row[j] = kMasked;
  for (int64_t j = high + 1; j < end; ++j) row[j] = kMasked;
  typename L::V top = L::Load(row + begin);
  for (int64_t j = begin + L::kCount; j < end; j += L::kCount) {
    const typename L::V x = L::Load(row + j);
    top = x > top ? x : top;
  }
  const typename L::V max = L::Fill(L::Max(top) * scale);
  typename L::V total{};
  for (int64_t j = begin; j < end; j += L::kCount) {
    const typename L::V e = simd::Exp<kBytes>(L::Load(row + j) * scale - max);
    L::Store(row + j, e);
    total += e;
  }
  const T inverse = 1 / L::Sum(total);
  for (int64_t j = begin; j < end; j += L::kCount) L::Store(row + j, L::Load(row + j) * inverse);
  for (int64_t j = begin; j < low; ++j) row[j] = 0;
  for (int64_t j = high + 1; j < end; ++j) row[j] = 0;
}

/// The block of queries [i0, i1) and the columns of scores that it needs.
struct Block {
  int64_t i0 = 0, i1 = 0;
  int64_t first = 0;           // position of query 0
  int64_t begin = 0, end = 0;  // columns, padded
  int64_t used = 0;            // one past the last key that any query sees
};
template <typename Storage, typename T>
FEDALT_INLINE Block MakeBlock(const Task<Storage, T>& task, int64_t i0) {
  Block b;
  b.i0 = i0;
  b.i1 = std::min(i0 + kBlockRows, task.queries);
  b.first = task.keys - task.queries;
  b.used = b.first + b.i1;
  const int64_t low = task.window > 0 ? std::max<int64_t>(0, b.first + i0 - task.window + 1) : 0;
  b.begin = low / simd::kTileColumns<T> * simd::kTileColumns<T>;
  b.end = simd::PadColumns<T>(b.used);
  return b;
}

/// P (block rows, ScoreColumns) of one head from its packed queries and the transposed keys.
template <typename T, int kBytes, typename Storage>
FEDALT_INLINE void Probabilities(const Task<Storage, T>& task, const Block& b, int64_t head, const T* q, const T* k_transposed,
                                 T* p) {
  const int64_t stride = ScoreColumns<T>(task.keys);
  simd::MatMul<T, kBytes>({q, simd::PadColumns<T>(task.head_dim), 1}, k_transposed + b.begin, stride, p + b.begin, stride,
                          b.i1 - b.i0, b.end - b.begin, task.head_dim, false);
  for (int64_t i = b.i0; i < b.i1; ++i) {
    const int64_t high = b.first + i;
    const int64_t low = task.window > 0 ? std::max<int64_t>(0, high - task.window + 1) : 0;
    SoftmaxRow<T, kBytes>(p + (i - b.i0) * stride, b.begin, b.end, low, high, task.scale,
                          task.slopes ? static_cast<T>(task.slopes[head]) : T(0));
  }
}

template <typename T, int kBytes, typename Storage>
FEDALT_INLINE void Forward(const Task<Storage, T>& task, Scratch<T>& scratch) {
  const int64_t d = task.head_dim, d_pad = simd::PadColumns<T>(d), s_pad = ScoreColumns<T>(task.keys);
  scratch.Reserve(task.keys * d_pad + d * s_pad + kBlockRows * (2 * d_pad + s_pad));
  T* kv = scratch.Take(task.keys * d_pad);  // keys, then values
  T* k_transposed = scratch.Take(d * s_pad);
  T* q = scratch.Take(kBlockRows * d_pad);
  T* out = scratch.Take(kBlockRows * d_pad);
  T* p = scratch.Take(kBlockRows * s_pad);
  Pack<T>(task.k, 0, task.keys, 0, task.rotate_keys ? task.rope : RopeRows<T>{}, d, kv);
  Transpose<T, kBytes>(kv, task.keys, d, k_transposed);
  Pack<T>(task.v, 0, task.keys, 0, RopeRows<T>{}, d, kv);
  for (int64_t head = 0; head < task.group; ++head) {
    Rows<const Storage> q_rows = task.q;
    q_rows.data += head * task.q_head;
    for (int64_t i0 = 0; i0 < task.queries; i0 += kBlockRows) {
      const Block b = MakeBlock(task, i0);
      Pack<T>(q_rows, b.i0, b.i1, b.first, task.rope, d, q);
      Probabilities<T, kBytes>(task, b, head, q, k_transposed, p);
      simd::MatMul<T, kBytes>({p + b.begin, s_pad, 1}, kv + b.begin * d_pad, d_pad, out, d_pad, b.i1 - b.i0, d_pad,
                              b.used - b.begin, false);
      for (int64_t i = b.i0; i < b.i1; ++i)
        StoreGradientRow<T>(out + (i - b.i0) * d_pad, task.out.at(i) + head * task.out_head, d, RopeRows<T>{}, 0);
    }
  }
}

/// dS = P * (dP - sum(P dP)) * scale, row by row, in place of dP.
template <typename T, int kBytes>
FEDALT_INLINE void SoftmaxBackward(const T* p, T* dp, int64_t rows, int64_t stride, int64_t begin, int64_t end, T scale) {
  using L = simd::Lanes<T, kBytes>;
  for (int64_t i = 0; i < rows; ++i, p += stride, dp += stride) {
    typename L::V total{};
    for (int64_t j = begin; j < end; j += L::kCount) total += L::Load(p + j) * L::Load(dp + j);
    const T sum = L::Sum(total);
    for (int64_t j = begin; j < end; j += L::kCount) L::Store(dp + j, L::Load(p + j) * (L::Load(dp + j) - sum) * scale);
  }
}

/// The last blocks of queries, whose part of dk and dv is still to be added: what these sums run over, `per_row` queries in one
/// row.
template <typename Element>
struct GradientGroup {
  int64_t per_row = 1;
  Element *q = nullptr, *d_out = nullptr;  // (kGroupRows / per_row, d_padded)
  Element *p = nullptr, *ds = nullptr;     // (kGroupRows / per_row, ScoreColumns)
  Block blocks[kGroupRows / kBlockRows];
  int64_t count = 0;

  bool full() const { return count == kGroupRows / kBlockRows; }
  int64_t next_row() const { return count * kBlockRows / per_row; }
};

/// dv += P^T dO and dk += dS^T Q, and the group is empty. product(a, b, c, rows, depth): C (rows, d_padded) += A^T B, where A
/// (depth, ScoreColumns) and B (depth, d_padded). Keys that only the later blocks see skip the earlier ones.
template <typename T, typename Element, typename Product>
FEDALT_INLINE void AddGroup(GradientGroup<Element>& group, int64_t d_pad, int64_t columns, T* dk, T* dv, const Product& product) {
  const Block &first = group.blocks[0], &last = group.blocks[group.count - 1];
  const int64_t rows_of_block = kBlockRows / group.per_row;
  for (int64_t g = 1; g < group.count; ++g)  // a window's later blocks begin later
    for (int64_t r = g * rows_of_block; r < (g + 1) * rows_of_block; ++r)
      for (Element* const scores : {group.p, group.ds})
        std::fill(scores + r * columns + first.begin, scores + r * columns + group.blocks[g].begin, Element(0));
  const int64_t depth = (last.i1 - first.i0 + group.per_row - 1) / group.per_row;
  int64_t begin = first.begin;
  for (int64_t g = 0; g < group.count; ++g) {
    const int64_t end = std::min(group.blocks[g].end, last.used), skipped = g * rows_of_block;
    if (end <= begin) continue;
    product(group.p + skipped * columns + begin, group.d_out + skipped * d_pad, dv + begin * d_pad, end - begin, depth - skipped);
    product(group.ds + skipped * columns + begin, group.q + skipped * d_pad, dk + begin * d_pad, end - begin, depth - skipped);
    begin = end;
  }
  group.count = 0;
}

template <typename T, int kBytes, typename Storage>
FEDALT_INLINE void Backward(const Task<Storage, T>& task, Scratch<T>& scratch) {
  const int64_t s = task.keys, d = task.head_dim, d_pad = simd::PadColumns<T>(d), s_pad = ScoreColumns<T>(s);
  scratch.Reserve(3 * s * d_pad + 2 * d * s_pad + kBlockRows * d_pad + kGroupRows * 2 * (d_pad + s_pad));
  T *k = scratch.Take(s * d_pad), *dk = scratch.Take(s * d_pad), *dv = scratch.Take(s * d_pad);
  T *k_transposed = scratch.Take(d * s_pad), *v_transposed = scratch.Take(d * s_pad), *dq = scratch.Take(kBlockRows * d_pad);
  GradientGroup<T> group;
  group.q = scratch.Take(kGroupRows * d_pad);
  group.d_out = scratch.Take(kGroupRows * d_pad);
  group.p = scratch.Take(kGroupRows * s_pad);
  group.ds = scratch.Take(kGroupRows * s_pad);
  Pack<T>(task.v, 0, s, 0, RopeRows<T>{}, d, k);
  Transpose<T, kBytes>(k, s, d, v_transposed);
  Pack<T>(task.k, 0, s, 0, task.rope, d, k);
  Transpose<T, kBytes>(k, s, d, k_transposed);
  std::fill(dk, dk + s * d_pad, T(0));
  std::fill(dv, dv + s * d_pad, T(0));
  const auto product = [&](const T* a, const T* b, T* c, int64_t rows, int64_t depth) FEDALT_INLINE_LAMBDA {
    simd::MatMul<T, kBytes>({a, 1, s_pad}, b, d_pad, c, d_pad, rows, d_pad, depth, true);
  };
  for (int64_t head = 0; head < task.group; ++head) {
    Rows<const Storage> q_rows = task.q, d_out_rows = task.d_out;
    q_rows.data += head * task.q_head;
    d_out_rows.data += head * task.out_head;
    for (int64_t i0 = 0; i0 < task.queries; i0 += kBlockRows) {
      const Block b = MakeBlock(task, i0);
      const int64_t rows = b.i1 - b.i0, row = group.next_row();
      T *const q = group.q + row * d_pad, *const d_out = group.d_out + row * d_pad;
      T *const p = group.p + row * s_pad, *const ds = group.ds + row * s_pad;
      Pack<T>(q_rows, b.i0, b.i1, b.first, task.rope, d, q);
      Pack<T>(d_out_rows, b.i0, b.i1, b.first, RopeRows<T>{}, d, d_out);
      Probabilities<T, kBytes>(task, b, head, q, k_transposed, p);
      simd::MatMul<T, kBytes>({d_out, d_pad, 1}, v_transposed + b.begin, s_pad, ds + b.begin, s_pad, rows, b.end - b.begin, d,
                              false);
      SoftmaxBackward<T, kBytes>(p, ds, rows, s_pad, b.begin, b.end, task.scale);
      simd::MatMul<T, kBytes>({ds + b.begin, s_pad, 1}, k + b.begin * d_pad, d_pad, dq, d_pad, rows, d_pad, b.used - b.begin,
                              false);
      for (int64_t i = b.i0; i < b.i1; ++i)
        StoreGradientRow<T>(dq + (i - b.i0) * d_pad, task.d_q.at(i) + head * task.q_head, d, task.rope, b.first + i);
      group.blocks[group.count++] = b;
      if (group.full() || b.i1 == task.queries) AddGroup(group, d_pad, s_pad, dk, dv, product);
    }
  }
  for (int64_t j = 0; j < s; ++j) {
    StoreGradientRow<T>(dk + j * d_pad, task.d_k.at(j), d, task.rope, j);
    StoreGradientRow<T>(dv + j * d_pad, task.d_v.at(j), d, RopeRows<T>{}, j);
  }
}

/// Rows of a cache come from main memory, which takes longer than the work on a few rows: those of `rows`, and behind them those of
/// `next`, are fetched this far ahead.
template <typename Storage>
struct Ahead {
  static constexpr int64_t kRows = 64;
  Rows<const Storage> rows, next;
  int64_t low, high, columns;

  /// To be called for every row j in turn.
  FEDALT_INLINE void Fetch(int64_t j) const {
    const int64_t i = j + kRows;
    const Storage* const row = i <= high              ? rows.at(i)
                               : next.data == nullptr ? nullptr
                                                      : next.at(std::min(low + i - high - 1, high));
    if (row == nullptr) return;
    for (int64_t c = 0; c < columns; c += static_cast<int64_t>(64 / sizeof(Storage))) __builtin_prefetch(row + c, 0, 2);
  }
};

/// p[j] = q . row j for rows [low, high]. Whole vectors of rows at once: their sums across lanes are one transposition.
template <typename T, int kBytes, typename Storage>
FEDALT_INLINE void Scores(const T* q, const Rows<const Storage>& rows, const Ahead<Storage>& ahead, int64_t low, int64_t high,
                          int64_t d, T* p) {
  using L = simd::Lanes<T, kBytes>;
  int64_t j = low;
  for (; d % L::kCount == 0 && j + L::kCount <= high + 1; j += L::kCount) {
    typename L::V sums[L::kCount];
    for (int64_t r = 0; r < L::kCount; ++r) {
      ahead.Fetch(j + r);
      const Storage* const row = rows.at(j + r);
      sums[r] = L::Load(q) * L::Load(row);
      for (int64_t c = L::kCount; c < d; c += L::kCount) sums[r] += L::Load(q + c) * L::Load(row + c);
    }
    L::Store(p + j, L::SumOfEach(sums));
  }
  for (; j <= high; ++j) p[j] = simd::Dot<T, kBytes>(q, rows.at(j), d);
}

/// out = sum over rows [low, high] of p times the row, for kVectors vectors from column c on; kChains rows are on their way at
/// once.
template <typename T, int kBytes, int kVectors, int kChains, typename Storage>
FEDALT_INLINE void WeightedSum(const Rows<const Storage>& rows, const Ahead<Storage>& ahead, const T* p, int64_t low, int64_t high,
                               int64_t c, T* out) {
  using L = simd::Lanes<T, kBytes>;
  typename L::V sums[kChains][kVectors] = {};
  const auto add = [&](int chain, int64_t j) FEDALT_INLINE_LAMBDA {
    ahead.Fetch(j);
    const Storage* const row = rows.at(j) + c;
    for (int v = 0; v < kVectors; ++v) sums[chain][v] += L::Load(row + v * L::kCount) * p[j];
  };
  int64_t j = low;
  for (; j + kChains <= high + 1; j += kChains)
    for (int chain = 0; chain < kChains; ++chain) add(chain, j + chain);
  for (; j <= high; ++j) add(0, j);
  for (int v = 0; v < kVectors; ++v) {
    for (int chain = 1; chain < kChains; ++chain) sums[0][v] += sums[chain][v];
    L::Store(out + c + v * L::kCount, sums[0][v]);
  }
}

/// A few queries against a long cache: without transposing the keys, one dot product per key. kHeadDim: 0 where the compiler does
/// not know it.
template <typename T, int kBytes, int64_t kHeadDim, typename Storage>
FEDALT_INLINE void DecodeHeads(const Task<Storage, T>& task, Scratch<T>& scratch) {
  using L = simd::Lanes<T, kBytes>;
  const int64_t d = kHeadDim > 0 ? kHeadDim : task.head_dim, d_pad = simd::PadColumns<T>(d), s_pad = simd::PadColumns<T>(task.keys);
  scratch.Reserve(2 * d_pad + s_pad);
  T *q = scratch.Take(d_pad), *out = scratch.Take(d_pad), *p = scratch.Take(s_pad);
  for (int64_t i = 0; i < task.queries; ++i) {
    const int64_t high = task.keys - task.queries + i, low = task.window > 0 ? std::max<int64_t>(0, high - task.window + 1) : 0;
    const int64_t begin = low / simd::kTileColumns<T> * simd::kTileColumns<T>, end = simd::PadColumns<T>(high + 1);
    for (int64_t head = 0; head < task.group; ++head) {
      LoadRow<T>(task.q.at(i) + head * task.q_head, q, d, task.rope, high);
      Scores<T, kBytes>(q, task.k, {task.k, task.v, low, high, d}, low, high, d, p);
      const Ahead<Storage> ahead{task.v, task.next_k, low, high, d};
      SoftmaxRow<T, kBytes>(p, begin, end, low, high, task.scale, task.slopes ? static_cast<T>(task.slopes[head]) : T(0));
      int64_t c = 0;
      for (; c + 4 * L::kCount <= d; c += 4 * L::kCount) WeightedSum<T, kBytes, 4, 1>(task.v, ahead, p, low, high, c, out);
      for (; c + L::kCount <= d; c += L::kCount) WeightedSum<T, kBytes, 1, 4>(task.v, ahead, p, low, high, c, out);
      for (; c < d; ++c) {
        out[c] = 0;
        for (int64_t j = low; j <= high; ++j) out[c] += p[j] * simd::Widen(task.v.at(j)[c]);
      }
      StoreGradientRow<T>(out, task.out.at(i) + head * task.out_head, d, RopeRows<T>{}, 0);
    }
  }
}

template <typename T, int kBytes, typename Storage>
FEDALT_INLINE void Decode(const Task<Storage, T>& task, Scratch<T>& scratch) {
  if (task.head_dim == 64) return DecodeHeads<T, kBytes, 64>(task, scratch);
  if (task.head_dim == 128) return DecodeHeads<T, kBytes, 128>(task, scratch);
  DecodeHeads<T, kBytes, 0>(task, scratch);
}

/// Copies a call's keys (rotated) and values of one head, k and v, behind those that the task's cache holds.
template <typename T, typename Storage>
FEDALT_INLINE void Append(const Task<Storage, T>& task, Rows<const Storage> k, Rows<const Storage> v, Rows<Storage> keys,
                          Rows<Storage> values, Scratch<T>& scratch) {
  const int64_t d = task.head_dim, first = task.keys - task.queries;
  scratch.Reserve(simd::PadColumns<T>(d));
  T* const line = scratch.Take(simd::PadColumns<T>(d));
  for (int64_t i = 0; i < task.queries; ++i) {
    LoadRow<T>(k.at(i), line, d, task.rope, first + i);
    StoreGradientRow<T>(line, keys.at(first + i), d, RopeRows<T>{}, 0);
    std::memcpy(values.at(first + i), v.at(i), static_cast<size_t>(d) * sizeof(Storage));
  }
}

}  // namespace fedalt::attention
