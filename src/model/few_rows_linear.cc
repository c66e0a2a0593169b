#include "model/few_rows_linear.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "model/tensor_expressions.h"
#include "model/transformer_simd.h"

namespace fedalt {
namespace {

constexpr int kRowsAtOnce = 8;
constexpr int64_t kGroup = 16;     // outputs that pass by a part of x before the next part
constexpr int64_t kPairStep = 32;  // features of one step of PairProducts

/// y[r][o] for o in [begin, end) and all rows of x; rows of y lie `out` apart.
template <typename Storage>
struct Task {
  const Storage *x, *weight, *bias;  // bias may be null
  Storage* y;
  int64_t rows, in, out;
};

/// One output at a time, for all rows in groups of eight.
struct Portable {
  template <int kBytes, typename Storage>
  static FEDALT_INLINE void Run(const Task<Storage>* task, int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      for (int64_t row = 0; row < task->rows; row += kRowsAtOnce)
        Group<kBytes>(*task, o, row, std::min<int64_t>(kRowsAtOnce, task->rows - row));
  }

  template <int kBytes, typename Storage>
  static FEDALT_INLINE void Group(const Task<Storage>& task, int64_t o, int64_t first_row, int64_t rows) {
    using L = simd::Lanes<float, kBytes>;
    const int64_t whole = task.in / L::kCount * L::kCount;
    const Storage *const w = task.weight + o * task.in, *const x = task.x + first_row * task.in;
    typename L::V sums[kRowsAtOnce] = {};
    for (int64_t i = 0; i < whole; i += L::kCount) {
      const typename L::V weights = L::Load(w + i);
      for (int64_t r = 0; r < rows; ++r) sums[r] += weights * L::Load(x + r * task.in + i);
    }
    for (int64_t r = 0; r < rows; ++r) {
      float sum = L::Sum(sums[r]);
      for (int64_t i = whole; i < task.in; ++i) sum += simd::Widen(w[i]) * simd::Widen(x[r * task.in + i]);
      if (task.bias != nullptr) sum += simd::Widen(task.bias[o]);
      simd::Narrow(sum, task.y + (first_row + r) * task.out + o);
    }
  }
};

#if defined(__x86_64__)
constexpr int64_t kDepthAtOnce = 1408;  // features of eight rows of x that the first-level cache holds beside the weight

/// What is fetched into the second-level cache while two outputs are summed; the first is full of x.
enum class Ahead {
  kNothing,     ///< the weight is in cache
  kNextInLine,  ///< the two are read from front to back
  kNextGroup,   ///< the same features of the next group
};

/// Lanes 2 r and 2 r + 1: features [begin, end) of two outputs, `second` behind the other, with row r.
template <Ahead ahead>
FEDALT_TARGET_AVX512_BF16 FEDALT_INLINE __m512 PairSums(const c10::BFloat16* weight, int64_t second, const c10::BFloat16* x,
                                                        int64_t in, int64_t begin, int64_t end) {
  const auto load = [](const c10::BFloat16* from) FEDALT_TARGET_AVX512_BF16 { return (__m512bh)_mm512_loadu_si512(from); };
  using L = simd::Lanes<float, 64>;
  L::V sums[L::kCount];
#pragma GCC unroll 16
  for (L::V& sum : sums) sum = L::V{};
  for (int64_t i = begin; i < end; i += kPairStep) {
    const __m512bh w0 = load(weight + i), w1 = load(weight + second + i);
    if constexpr (ahead == Ahead::kNextInLine) {
      constexpr int64_t kDistance = 4096;
      __builtin_prefetch(weight + kDistance + 2 * i, 0, 2);
      __builtin_prefetch(weight + kDistance + 2 * i + kPairStep, 0, 2);
    }
    if constexpr (ahead == Ahead::kNextGroup) {
      __builtin_prefetch(weight + kGroup * in + i, 0, 2);
      __builtin_prefetch(weight + (kGroup + 1) * in + i, 0, 2);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRowsAtOnce; ++r) {
      const __m512bh row = load(x + i * kRowsAtOnce + r * kPairStep);
      sums[2 * r] = (L::V)_mm512_dpbf16_ps((__m512)sums[2 * r], w0, row);
      sums[2 * r + 1] = (L::V)_mm512_dpbf16_ps((__m512)sums[2 * r + 1], w1, row);
    }
  }
  return (__m512)L::SumOfEach(sums);
}

/// Outputs o and, if `two`, o + 1 of the eight rows from `row` on: their sums, and the bias, are rounded and stored.
FEDALT_TARGET_AVX512_BF16 FEDALT_INLINE void StorePair(const Task<c10::BFloat16>& task, int64_t o, bool two, int64_t row,
                                                       __m512 sums) {
  if (task.bias != nullptr) {
    const float first = simd::Widen(task.bias[o]), second = two ? simd::Widen(task.bias[o + 1]) : 0.0f;
    sums = _mm512_add_ps(sums, _mm512_mask_blend_ps(0xaaaa, _mm512_set1_ps(first), _mm512_set1_ps(second)));
  }
  alignas(32) c10::BFloat16 rounded[2 * kRowsAtOnce];
  _mm256_store_si256(reinterpret_cast<__m256i*>(rounded), (__m256i)_mm512_cvtneps_pbh(sums));
  c10::BFloat16* const y = task.y + row * task.out + o;
  const int64_t rows = std::min<int64_t>(kRowsAtOnce, task.rows - row);
  for (int64_t r = 0; two && r < rows; ++r) std::memcpy(y + r * task.out, rounded + 2 * r, 2 * sizeof(c10::BFloat16));
  for (int64_t r = 0; !two && r < rows; ++r) y[r * task.out] = rounded[2 * r];
}

/// Outputs [begin, end) where x is small: two at a time, for all rows in groups of eight. `in` is a multiple of kPairStep; x is
/// laid out as Interleaved does.
FEDALT_TARGET_AVX512_BF16 void PairProducts(const Task<c10::BFloat16>& task, int64_t begin, int64_t end) {
  for (int64_t o = begin; o < end; o += 2) {
    const bool two = o + 1 < end;
    const c10::BFloat16* const weight = task.weight + o * task.in;
    for (int64_t row = 0; row < task.rows; row += kRowsAtOnce) {
      const c10::BFloat16* const x = task.x + row * task.in;
      const int64_t second = two ? task.in : 0;
      StorePair(task, o, two, row,
                row == 0 ? PairSums<Ahead::kNextInLine>(weight, second, x, task.in, 0, task.in)
                         : PairSums<Ahead::kNothing>(weight, second, x, task.in, 0, task.in));
    }
  }
}

/// The same where eight rows of x are larger than the first-level cache: a part of them stays there for a group of outputs.
FEDALT_TARGET_AVX512_BF16 void PairProductsInParts(const Task<c10::BFloat16>& task, int64_t begin, int64_t end) {
  for (int64_t group = begin; group < end; group += kGroup)
    for (int64_t row = 0; row < task.rows; row += kRowsAtOnce) {
      const c10::BFloat16* const x = task.x + row * task.in;
      const int64_t group_end = std::min(group + kGroup, end);
      __m512 sums[kGroup / 2] = {};
      for (int64_t i = 0; i < task.in; i += kDepthAtOnce)
        for (int64_t o = group; o < group_end; o += 2) {
          const c10::BFloat16* const weight = task.weight + o * task.in;
          const int64_t second = o + 1 < end ? task.in : 0, i_end = std::min(i + kDepthAtOnce, task.in);
          __m512& sum = sums[(o - group) / 2];
          sum = _mm512_add_ps(sum, row == 0 ? PairSums<Ahead::kNextGroup>(weight, second, x, task.in, i, i_end)
                                            : PairSums<Ahead::kNothing>(weight, second, x, task.in, i, i_end));
        }
      for (int64_t o = group; o < group_end; o += 2) StorePair(task, o, o + 1 < end, row, sums[(o - group) / 2]);
    }
}
#endif

/// Groups of kRowsAtOnce rows, in each 32 neighbours of every row behind one another: what one step reads is contiguous. Rows that
/// are not there are zeros.
at::Tensor Interleaved(const at::Tensor& x_ti) {
  const int64_t rows = x_ti.size(0), groups = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  const bool full = rows == groups * kRowsAtOnce;
  const std::array<int64_t, 4> shape = {groups, x_ti.size(1) / kPairStep, kRowsAtOnce, kPairStep};
  at::Tensor out = full ? at::empty(shape, x_ti.options()) : at::zeros(shape, x_ti.options());
  const at::BFloat16* from = x_ti.data_ptr<at::BFloat16>();
  for (int64_t r = 0; r < rows; ++r) {
    at::BFloat16* const to =
        out.data_ptr<at::BFloat16>() + r / kRowsAtOnce * kRowsAtOnce * x_ti.size(1) + r % kRowsAtOnce * kPairStep;
    for (int64_t i = 0; i < x_ti.size(1); i += kPairStep, from += kPairStep)
      std::copy(from, from + kPairStep, to + i * kRowsAtOnce);
  }
  return out;
}

/// What a call computes outputs of.
template <typename Storage>
struct Operands {
  Operands(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o) {
#if defined(__x86_64__)
    pairs = std::is_same_v<Storage, at::BFloat16> && ActiveCpuKernels() == CpuKernels::kAvx512Bf16 && x_ti.size(1) % kPairStep == 0;
#endif
    laid_out = pairs ? Interleaved(x_ti) : x_ti;
    const Storage* const bias = bias_o.defined() ? bias_o.data_ptr<Storage>() : nullptr;
    task = {laid_out.data_ptr<Storage>(), weight_oi.data_ptr<Storage>(), bias, nullptr, x_ti.size(0), x_ti.size(1), 0};
  }

  /// The task for outputs `first` and the following, as the first columns of y, whose rows lie y_row apart.
  Task<Storage> From(int64_t first, Storage* y, int64_t y_row) const {
    Task<Storage> part = task;
    part.weight += first * task.in;
    if (part.bias != nullptr) part.bias += first;
    part.y = y;
    part.out = y_row;
    return part;
  }

  void Compute(const Task<Storage>& part, int64_t begin, int64_t end) const {
#if defined(__x86_64__)
    if constexpr (std::is_same_v<Storage, at::BFloat16>) {
      if (pairs) return part.in <= kDepthAtOnce ? PairProducts(part, begin, end) : PairProductsInParts(part, begin, end);
    }
#endif
    simd::Dispatch<Portable>(&part, begin, end);
  }

  bool pairs = false;
  at::Tensor laid_out;
  Task<Storage> task;
};

template <typename Storage>
void ComputeAll(const Operands<Storage>& operands, at::Tensor& y_to) {
  const int64_t in = operands.task.in, out = y_to.size(1);
  const Task<Storage> task = operands.From(0, y_to.data_ptr<Storage>(), out);
  // Threads that wait for memory do not keep step: each takes a part of what is left, so large pieces first, small ones at the end.
  const int64_t threads = at::get_num_threads(), least = (kLeastElements / in + kGroup) / kGroup * kGroup;
  std::atomic<int64_t> next{0};
  const auto take = [&](int64_t& begin, int64_t& end) {
    begin = next.load();
    do {
      if (begin >= out) return false;
      end = std::min(out, begin + std::max(least, (out - begin) / (2 * threads) / kGroup * kGroup));
    } while (!next.compare_exchange_weak(begin, end));
    return true;
  };
  at::parallel_for(0, std::min(threads, (out + least - 1) / least), 1, [&](int64_t, int64_t) {
    for (int64_t begin = 0, end = 0; take(begin, end);) operands.Compute(task, begin, end);
  });
}

template <typename Storage>
void ComputeRanges(const Operands<Storage>& operands, const std::vector<OutputRange>& ranges, at::Tensor& y_to) {
  Storage* y = y_to.data_ptr<Storage>();
  for (const OutputRange& range : ranges) {
    operands.Compute(operands.From(range.first, y, y_to.size(1)), 0, range.count);
    y += range.count;
  }
}

}  // namespace

int64_t FewRows(at::ScalarType type) {
  return type == at::kBFloat16 && ActiveCpuKernels() == CpuKernels::kAvx512Bf16 ? kFewRowsOfPairs : kFewRows;
}

bool TakesFewRows(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o) {
  const at::ScalarType type = x_ti.scalar_type();
  return x_ti.dim() == 2 && x_ti.size(0) <= FewRows(type) && (type == at::kFloat || type == at::kBFloat16) &&
         weight_oi.scalar_type() == type && x_ti.is_contiguous() && weight_oi.is_contiguous() && !ByExpressions(x_ti) &&
         (!bias_o.defined() || bias_o.is_contiguous());
}

at::Tensor FewRowsLinear(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o) {
  FEDALT_CHECK(TakesFewRows(x_ti, weight_oi, bias_o), "few rows of one dtype, contiguous");
  at::Tensor y_to = at::empty({x_ti.size(0), weight_oi.size(0)}, x_ti.options().requires_grad(false));
  x_ti.scalar_type() == at::kFloat ? ComputeAll(Operands<float>(x_ti, weight_oi, bias_o), y_to)
                                   : ComputeAll(Operands<at::BFloat16>(x_ti, weight_oi, bias_o), y_to);
  return y_to;
}

at::Tensor FewRowsLinear(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o,
                         const std::vector<OutputRange>& ranges) {
  FEDALT_CHECK(TakesFewRows(x_ti, weight_oi, bias_o), "few rows of one dtype, contiguous");
  int64_t out = 0;
  for (const OutputRange& range : ranges) out += range.count;
  at::Tensor y_to = at::empty({x_ti.size(0), out}, x_ti.options().requires_grad(false));
  x_ti.scalar_type() == at::kFloat ? ComputeRanges(Operands<float>(x_ti, weight_oi, bias_o), ranges, y_to)
                                   : ComputeRanges(Operands<at::BFloat16>(x_ti, weight_oi, bias_o), ranges, y_to);
  return y_to;
}

}  // namespace fedalt
