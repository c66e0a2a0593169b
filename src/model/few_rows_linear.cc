#include "model/few_rows_linear.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <type_traits>

#include "base/check.h"
#include "model/tensor_expressions.h"
#include "model/transformer_simd.h"

namespace fedalt {
namespace {

constexpr int kRowsAtOnce = 8;
constexpr int64_t kWorthAFork = 1 << 16;  // multiply-adds
constexpr int64_t kPairStep = 32;         // features of one step of PairProducts

/// y[r][o] for o in [begin, end) and all rows of x.
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
/// kAhead: what comes next in memory is fetched into the second-level cache; the first is full of x. Only while it is cold.
template <bool kAhead>
FEDALT_TARGET_AVX512_BF16 FEDALT_INLINE __m512 PairSums(const c10::BFloat16* first, const c10::BFloat16* second,
                                                        const c10::BFloat16* x, int64_t in) {
  constexpr int64_t kDistance = 8192;
  const auto load = [](const c10::BFloat16* from) FEDALT_TARGET_AVX512_BF16 { return (__m512bh)_mm512_loadu_si512(from); };
  using L = simd::Lanes<float, 64>;
  L::V sums[L::kCount] = {};
  for (int64_t i = 0; i < in; i += kPairStep) {
    const __m512bh w0 = load(first + i), w1 = load(second + i);
    if constexpr (kAhead) {
      _mm_prefetch(reinterpret_cast<const char*>(first + 2 * i) + kDistance, _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(first + 2 * i) + kDistance + 64, _MM_HINT_T1);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRowsAtOnce; ++r) {
      const __m512bh row = load(x + i * kRowsAtOnce + r * kPairStep);
      sums[r] = (L::V)_mm512_dpbf16_ps((__m512)sums[r], w0, row);
      sums[8 + r] = (L::V)_mm512_dpbf16_ps((__m512)sums[8 + r], w1, row);
    }
  }
  return (__m512)L::SumOfEach(sums);
}

/// Two outputs at a time, for all rows in groups of eight: sixteen sums of products of pairs. `in` is a multiple of kPairStep; x is
/// laid out as Interleaved does.
FEDALT_TARGET_AVX512_BF16 void PairProducts(const Task<c10::BFloat16>& task, int64_t begin, int64_t end) {
  for (int64_t o = begin; o < end; o += 2) {
    const bool two = o + 1 < end;
    const c10::BFloat16 *const first = task.weight + o * task.in, *const second = two ? first + task.in : first;
    const float bias[2] = {task.bias != nullptr ? simd::Widen(task.bias[o]) : 0.0f,
                           task.bias != nullptr && two ? simd::Widen(task.bias[o + 1]) : 0.0f};
    const __m512 biases = _mm512_insertf32x8(_mm512_set1_ps(bias[0]), _mm256_set1_ps(bias[1]), 1);
    for (int64_t row = 0; row < task.rows; row += kRowsAtOnce) {
      const c10::BFloat16* const x = task.x + row * task.in;
      const __m512 sums = row == 0 ? PairSums<true>(first, second, x, task.in) : PairSums<false>(first, second, x, task.in);
      alignas(32) c10::BFloat16 rounded[16];
      _mm256_store_si256(reinterpret_cast<__m256i*>(rounded), (__m256i)_mm512_cvtneps_pbh(_mm512_add_ps(sums, biases)));
      c10::BFloat16* const y = task.y + row * task.out + o;
      const int64_t rows = std::min<int64_t>(kRowsAtOnce, task.rows - row);
      for (int64_t r = 0; r < rows; ++r) y[r * task.out] = rounded[r];
      for (int64_t r = 0; two && r < rows; ++r) y[r * task.out + 1] = rounded[8 + r];
    }
  }
}
#endif

/// Groups of kRowsAtOnce rows, in each 32 neighbours of every row behind one another: what one step reads is contiguous. Rows that
/// are not there are zeros.
at::Tensor Interleaved(const at::Tensor& x_ti) {
  const int64_t rows = x_ti.size(0), groups = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  at::Tensor out = at::zeros({groups, x_ti.size(1) / kPairStep, kRowsAtOnce, kPairStep}, x_ti.options());
  const at::BFloat16* from = x_ti.data_ptr<at::BFloat16>();
  for (int64_t r = 0; r < rows; ++r) {
    at::BFloat16* const to =
        out.data_ptr<at::BFloat16>() + r / kRowsAtOnce * kRowsAtOnce * x_ti.size(1) + r % kRowsAtOnce * kPairStep;
    for (int64_t i = 0; i < x_ti.size(1); i += kPairStep, from += kPairStep)
      std::copy(from, from + kPairStep, to + i * kRowsAtOnce);
  }
  return out;
}

template <typename Storage>
void Compute(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o, at::Tensor& y_to) {
  const int64_t rows = x_ti.size(0), in = x_ti.size(1), out = y_to.size(1);
  const Storage* const bias = bias_o.defined() ? bias_o.data_ptr<Storage>() : nullptr;
  bool pairs = false;
#if defined(__x86_64__)
  pairs = std::is_same_v<Storage, at::BFloat16> && ActiveCpuKernels() == CpuKernels::kAvx512Bf16 && in % 32 == 0;
#endif
  const at::Tensor laid_out = pairs ? Interleaved(x_ti) : x_ti;
  const Task<Storage> task{
      laid_out.data_ptr<Storage>(), weight_oi.data_ptr<Storage>(), bias, y_to.data_ptr<Storage>(), rows, in, out};
  constexpr int64_t kOutputs = 2;  // of one step
  at::parallel_for(0, (out + kOutputs - 1) / kOutputs,
                   std::max<int64_t>(1, kWorthAFork / (in * std::max<int64_t>(rows, kRowsAtOnce) * kOutputs)),
                   [&](int64_t begin, int64_t end) {
                     begin *= kOutputs;
                     end = std::min(end * kOutputs, out);
#if defined(__x86_64__)
                     if constexpr (std::is_same_v<Storage, at::BFloat16>) {
                       if (pairs) return PairProducts(task, begin, end);
                     }
#endif
                     simd::Dispatch<Portable>(&task, begin, end);
                   });
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
  x_ti.scalar_type() == at::kFloat ? Compute<float>(x_ti, weight_oi, bias_o, y_to)
                                   : Compute<at::BFloat16>(x_ti, weight_oi, bias_o, y_to);
  return y_to;
}

}  // namespace fedalt
