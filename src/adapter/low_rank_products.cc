#include "adapter/low_rank_products.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "adapter/low_rank_expressions.h"
#include "base/check.h"
#include "model/tensor_expressions.h"
#include "model/transformer_simd.h"

namespace fedalt {
namespace {

constexpr int64_t kRows = 12;             // tokens at once: as many accumulators as simd::MatMul has
constexpr int64_t kTokenChunk = 48;       // tokens of one step of a sum over tokens
constexpr int64_t kFeatureBlock = 256;    // features of one step; a multiple of every vector and of dropout's words
constexpr int64_t kSumBlock = 128;        // the same for a sum over tokens, where they are what threads share out
constexpr int64_t kCacheLine = 64;        // bytes
constexpr int64_t kWorthAFork = 1 << 16;  // multiply-adds

int64_t GrainOf(int64_t cost_of_one) {
  return std::max<int64_t>(1, kWorthAFork / std::max<int64_t>(1, cost_of_one));
}

template <typename T>
struct Bits {
  const uint16_t* words = nullptr;  // null: no dropout
  int64_t row = 0;
  T kept_value = 1;
};

/// values[i] = mask * values[i] for the features of one word.
template <typename T, int kBytes>
FEDALT_INLINE void MaskWord(T* values, uint32_t word, T kept_value) {
  using L = simd::Lanes<T, kBytes>;
  using Integer = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  typedef Integer I __attribute__((vector_size(kBytes)));
  I bit{};
  for (int64_t lane = 0; lane < L::kCount; ++lane) bit[lane] = Integer{1} << lane;
  for (int64_t i = 0; i < kWordBits; i += L::kCount) {
    const I kept = (I{} + static_cast<Integer>(word >> i)) & bit;
    const typename L::V scaled = L::Load(values + i) * kept_value;
    L::Store(values + i, kept != 0 ? scaled : typename L::V{});
  }
}

/// values[i] = mask * values[i] for features first .. first + n of one token; `first` is a multiple of a word.
template <typename T, int kBytes>
FEDALT_INLINE void MaskRow(T* values, const Bits<T>& bits, int64_t token, int64_t first, int64_t n) {
  const uint16_t* words = bits.words + token * bits.row + first / kWordBits;
  int64_t i = 0;
  for (; i + kWordBits <= n; i += kWordBits) MaskWord<T, kBytes>(values + i, *words++, bits.kept_value);
  for (const uint32_t word = i < n ? *words : 0; i < n; ++i)
    values[i] = (word >> (i % kWordBits)) & 1 ? values[i] * bits.kept_value : T(0);
}

template <typename T, typename Storage>
FEDALT_INLINE void WidenRow(const Storage* from, T* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = simd::Widen(from[i]);
}

/// to += line.
template <typename T, int kBytes, typename Storage>
FEDALT_INLINE void AddLine(const T* line, Storage* to, int64_t n) {
  using L = simd::Lanes<T, kBytes>;
  int64_t i = 0;
  for (; i + L::kCount <= n; i += L::kCount) L::Store(to + i, L::Load(to + i) + L::Load(line + i));
  for (; i < n; ++i) simd::Narrow(simd::Widen(to[i]) + line[i], to + i);
}

/// Tokens [begin, end): u = mask(x) A^T and z = x g.
struct ProjectKernel {
  template <int kBytes, typename Storage, typename T>
  static FEDALT_INLINE void Run(const Storage* x, int64_t x_row, int64_t features, const T* a_transposed, int64_t columns,
                                const T* g, Bits<T> bits, T* u, T* z, int64_t begin, int64_t end, T* buffer) {
    for (int64_t t = begin; t < end; t += kRows) {
      const int64_t rows = std::min(kRows, end - t);
      for (int64_t r = 0; r < rows; ++r) {
        T* const line = buffer + r * features;
        WidenRow(x + (t + r) * x_row, line, features);
        if (g != nullptr) z[t + r] = simd::Dot<T, kBytes>(line, g, features);
        if (bits.words != nullptr) MaskRow<T, kBytes>(line, bits, t + r, 0, features);
      }
      simd::MatMul<T, kBytes>({buffer, features, 1}, a_transposed, columns, u + t * columns, columns, rows, columns, features,
                              false);
    }
  }
};

/// Tokens [begin, end): y += mask(h b) + p g.
struct UpdateKernel {
  template <int kBytes, typename Storage, typename T>
  static FEDALT_INLINE void Run(Storage* y, int64_t y_row, int64_t features, const T* h, int64_t columns, const T* b, int64_t b_row,
                                Bits<T> bits, const T* p, const T* g, int64_t begin, int64_t end, T* buffer) {
    for (int64_t t = begin; t < end; t += kRows) {
      const int64_t rows = std::min(kRows, end - t);
      for (int64_t f = 0; f < features; f += kFeatureBlock) {
        const int64_t count = std::min(kFeatureBlock, features - f);
        simd::MatMul<T, kBytes>({h + t * columns, columns, 1}, b + f, b_row, buffer, kFeatureBlock, rows,
                                simd::PadColumns<T>(count), columns, false);
        for (int64_t r = 0; r < rows; ++r) {
          T* const line = buffer + r * kFeatureBlock;
          if (bits.words != nullptr) MaskRow<T, kBytes>(line, bits, t + r, f, count);
          Storage* const to = y + (t + r) * y_row + f;
          if (p != nullptr) {
            const T factor = p[t + r];
            for (int64_t i = 0; i < count; ++i) line[i] += factor * g[f + i];
          }
          AddLine<T, kBytes>(line, to, count);
        }
      }
    }
  }
};

/// Features [first, first + count) of: sums (d, C) = mask(x)^T h and plain (d) = p^T x.
struct SumKernel {
  template <int kBytes, typename Storage, typename T>
  static FEDALT_INLINE void Run(const Storage* x, int64_t x_row, int64_t tokens, const T* h, int64_t columns, const T* p,
                                Bits<T> bits, T* sums, T* plain, int64_t first, int64_t count, T* buffer) {
    for (int64_t t = 0; t < tokens; t += kTokenChunk) {
      const int64_t depth = std::min(kTokenChunk, tokens - t);
      for (int64_t k = 0; k < depth; ++k) {
        T* const line = buffer + k * kSumBlock;
        // A block of columns out of long rows: the processor does not foresee where it goes on.
        const Storage* const ahead = x + std::min(t + k + kTokenChunk, tokens - 1) * x_row + first;
        for (int64_t i = 0; i < count; i += kCacheLine / static_cast<int64_t>(sizeof(Storage))) __builtin_prefetch(ahead + i);
        WidenRow(x + (t + k) * x_row + first, line, count);
        if (p != nullptr) {
          const T factor = p[t + k];
          for (int64_t i = 0; i < count; ++i) plain[first + i] += factor * line[i];
        }
        if (bits.words != nullptr) MaskRow<T, kBytes>(line, bits, t + k, first, count);
      }
      simd::MatMul<T, kBytes>({buffer, 1, kSumBlock}, h + t * columns, columns, sums + first * columns, columns, count, columns,
                              depth, /*accumulate=*/t > 0);
    }
  }
};

/// Rows may lie apart, their elements may not.
at::Tensor WholeRows(const at::Tensor& matrix) {
  return matrix.stride(1) == 1 ? matrix : matrix.contiguous();
}

/// (R, n) -> contiguous (R, n padded to whole vectors), padding zeroed.
at::Tensor Padded(const at::Tensor& matrix, int64_t columns) {
  if (matrix.size(1) == columns) return matrix.contiguous();
  at::Tensor padded = at::zeros({matrix.size(0), columns}, matrix.options());
  padded.narrow(1, 0, matrix.size(1)).copy_(matrix);
  return padded;
}

template <typename T>
Bits<T> BitsOf(const DropoutBits* mask) {
  if (mask == nullptr) return {};
  return {reinterpret_cast<const uint16_t*>(mask->words.data_ptr<int16_t>()), mask->words.size(1),
          static_cast<T>(mask->kept_value)};
}

template <typename T>
const T* DataOrNull(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<T>() : nullptr;
}

at::TensorOptions WorkOptions(const at::Tensor& tall) {
  return tall.options().dtype(tall.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).requires_grad(false);
}

template <typename T>
int64_t PaddedColumns(const at::Tensor& few) {
  return simd::PadColumns<T>(few.size(0));
}

}  // namespace

Projection ProjectRows(const at::Tensor& x_in, const at::Tensor& a_cf, const DropoutBits* mask, const at::Tensor& g_in) {
  if (ByExpressions(x_in)) return expressions::ProjectRows(x_in, a_cf, mask, g_in);
  const at::Tensor x_tf = WholeRows(x_in), g_1f = g_in.defined() ? g_in.contiguous() : g_in;
  const int64_t tokens = x_tf.size(0), features = x_tf.size(1);
  Projection out;
  simd::WithTypes(x_tf.scalar_type(), [&](auto storage, auto work) {
    using Storage = decltype(storage);
    using T = decltype(work);
    const int64_t columns = PaddedColumns<T>(a_cf);
    const at::Tensor a_transposed = Padded(a_cf.t(), columns);
    at::Tensor u = at::empty({tokens, columns}, WorkOptions(x_tf));
    if (g_1f.defined()) out.z_t1 = at::empty({tokens, 1}, WorkOptions(x_tf));
    const Storage* const x = x_tf.data_ptr<Storage>();
    const T *const a = a_transposed.data_ptr<T>(), *const g = DataOrNull<T>(g_1f);
    T *const us = u.data_ptr<T>(), *const z = out.z_t1.defined() ? out.z_t1.data_ptr<T>() : nullptr;
    at::parallel_for(0, (tokens + kRows - 1) / kRows, GrainOf(kRows * features * columns / 4), [&](int64_t begin, int64_t end) {
      thread_local std::vector<T> buffer;
      buffer.resize(static_cast<size_t>(kRows * features));
      simd::Dispatch<ProjectKernel>(x, x_tf.stride(0), features, a, columns, g, BitsOf<T>(mask), us, z, begin * kRows,
                                    std::min(end * kRows, tokens), buffer.data());
    });
    out.u_tc = u.narrow(1, 0, a_cf.size(0));
  });
  return out;
}

void AddRankUpdate(at::Tensor& y_tf, const at::Tensor& h_tc, const at::Tensor& b_cf, const DropoutBits* mask,
                   const PlainColumn& plain) {
  if (ByExpressions(y_tf)) return expressions::AddRankUpdate(y_tf, h_tc, b_cf, mask, plain);
  FEDALT_CHECK(y_tf.stride(1) == 1, "rows of a product may lie apart, their elements not");
  const int64_t tokens = y_tf.size(0), features = y_tf.size(1), columns = h_tc.size(1);
  const at::Tensor h = h_tc.contiguous();
  const at::Tensor p_t1 = plain.of_tokens_t1.defined() ? plain.of_tokens_t1.contiguous() : at::Tensor();
  const at::Tensor g_1f = plain.of_features_1f.defined() ? plain.of_features_1f.contiguous() : at::Tensor();
  simd::WithTypes(y_tf.scalar_type(), [&](auto storage, auto work) {
    using Storage = decltype(storage);
    using T = decltype(work);
    const bool whole = b_cf.stride(1) == 1 && features % simd::kTileColumns<T> == 0;
    const at::Tensor b = whole ? b_cf : Padded(b_cf, simd::PadColumns<T>(features));
    const int64_t b_row = b.stride(0);
    Storage* const y = y_tf.data_ptr<Storage>();
    const T *const hs = h.data_ptr<T>(), *const bs = b.data_ptr<T>(), *const p = DataOrNull<T>(p_t1),
                   *const g = DataOrNull<T>(g_1f);
    at::parallel_for(0, (tokens + kRows - 1) / kRows, GrainOf(kRows * features * columns / 4), [&](int64_t begin, int64_t end) {
      alignas(64) T buffer[kRows * kFeatureBlock];
      simd::Dispatch<UpdateKernel>(y, y_tf.stride(0), features, hs, columns, bs, b_row, BitsOf<T>(mask), p, g, begin * kRows,
                                   std::min(end * kRows, tokens), static_cast<T*>(buffer));
    });
  });
}

FewRowsFactors LayOut(const at::Tensor& a_cf, const at::Tensor& b_cf, const at::Tensor& g_1f) {
  // A share of B's columns that ends with them is read in whole vectors from wherever it begins.
  const int64_t b_columns = simd::PadColumns<float>(b_cf.size(1)) + simd::kTileColumns<float>;
  return {a_cf.size(0), Padded(a_cf.t(), PaddedColumns<float>(a_cf)), Padded(b_cf, b_columns),
          g_1f.defined() ? g_1f.contiguous() : g_1f};
}

void AddFewRows(const at::Tensor& x_tf, const FewRowsFactors& factors, int64_t first, const GateFunction& gate, at::Tensor& y_tf) {
  const int64_t tokens = x_tf.size(0), features = x_tf.size(1), padded = factors.a_fc.size(1);
  FEDALT_CHECK(x_tf.stride(1) == 1 && y_tf.stride(1) == 1 && y_tf.scalar_type() == x_tf.scalar_type(), "rows of one dtype");
  thread_local std::vector<float> scratch;
  scratch.resize(static_cast<size_t>(kRows * features + tokens * (padded + 1 + factors.columns) + kRows * kFeatureBlock));
  float *const buffer = scratch.data(), *const u = buffer + kRows * features, *const z = u + tokens * padded;
  float *const h = z + tokens, *const block = h + tokens * factors.columns;
  const auto run = [&](auto storage) {
    using Storage = decltype(storage);
    simd::Dispatch<ProjectKernel>(static_cast<const Storage*>(x_tf.data_ptr<Storage>()), x_tf.stride(0), features,
                                  static_cast<const float*>(factors.a_fc.data_ptr<float>()), padded,
                                  DataOrNull<float>(factors.g_1f), Bits<float>{}, u, z, int64_t{0}, tokens, buffer);
    gate(u, padded, factors.g_1f.defined() ? z : nullptr, h);
    simd::Dispatch<UpdateKernel>(y_tf.data_ptr<Storage>(), y_tf.stride(0), y_tf.size(1), static_cast<const float*>(h),
                                 factors.columns, static_cast<const float*>(factors.b_cf.data_ptr<float>() + first),
                                 factors.b_cf.stride(0), Bits<float>{}, static_cast<const float*>(nullptr),
                                 static_cast<const float*>(nullptr), int64_t{0}, tokens, block);
  };
  x_tf.scalar_type() == at::kFloat ? run(float{}) : run(at::BFloat16{});
}

ColumnSums SumOverTokens(const at::Tensor& x_in, const at::Tensor& h_tc, const DropoutBits* mask, const at::Tensor& of_tokens_t1) {
  if (ByExpressions(x_in)) return expressions::SumOverTokens(x_in, h_tc, mask, of_tokens_t1);
  const at::Tensor x_tf = WholeRows(x_in), p_t1 = of_tokens_t1.defined() ? of_tokens_t1.contiguous() : of_tokens_t1;
  const int64_t tokens = x_tf.size(0), features = x_tf.size(1);
  ColumnSums out;
  simd::WithTypes(x_tf.scalar_type(), [&](auto storage, auto work) {
    using Storage = decltype(storage);
    using T = decltype(work);
    const int64_t columns = simd::PadColumns<T>(h_tc.size(1));
    const at::Tensor h = Padded(h_tc, columns);
    at::Tensor sums =
        tokens == 0 ? at::zeros({features, columns}, WorkOptions(x_tf)) : at::empty({features, columns}, WorkOptions(x_tf));
    if (p_t1.defined()) out.plain_1f = at::zeros({1, features}, WorkOptions(x_tf));
    const Storage* const x = x_tf.data_ptr<Storage>();
    const T *const hs = h.data_ptr<T>(), *const p = DataOrNull<T>(p_t1);
    T *const to = sums.data_ptr<T>(), *const plain = out.plain_1f.defined() ? out.plain_1f.data_ptr<T>() : nullptr;
    const int64_t blocks = (features + kSumBlock - 1) / kSumBlock;
    at::parallel_for(0, blocks, GrainOf(tokens * kSumBlock * columns / 4), [&](int64_t begin, int64_t end) {
      alignas(64) T buffer[kTokenChunk * kSumBlock];
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * kSumBlock;
        simd::Dispatch<SumKernel>(x, x_tf.stride(0), tokens, hs, columns, p, BitsOf<T>(mask), to, plain, first,
                                  std::min(kSumBlock, features - first), static_cast<T*>(buffer));
      }
    });
    out.sums_fc = sums.narrow(1, 0, h_tc.size(1));
  });
  return out;
}

}  // namespace fedalt
