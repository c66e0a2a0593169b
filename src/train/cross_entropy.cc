#include "train/cross_entropy.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "model/tensor_expressions.h"
#include "model/transformer_simd.h"
#include "train/expressions.h"

namespace fedalt {
namespace {

/// One row. `exps` holds vocab values of T, padded to a whole vector.
struct Row {
  template <int kBytes, typename Storage, typename T>
  static FEDALT_INLINE void Run(Storage* logits, int64_t vocab, int64_t target, double factor, T* exps, double* nll) {
    using L = simd::Lanes<T, kBytes>;
    const int64_t whole = vocab / L::kCount * L::kCount;
    // A NaN must end in the loss, not be passed over by the comparison: the sum of exponentials sees it again.
    T top = static_cast<T>(logits[0]);
    if (whole > 0) {
      typename L::V tops = L::Load(logits);
      for (int64_t i = L::kCount; i < whole; i += L::kCount) {
        const typename L::V x = L::Load(logits + i);
        tops = x > tops ? x : tops;
      }
      top = L::Max(tops);
    }
    for (int64_t i = whole; i < vocab; ++i) top = std::max(top, static_cast<T>(logits[i]));
    const typename L::V tops = L::Fill(top);
    typename L::V total{};
    for (int64_t i = 0; i < whole; i += L::kCount) {
      const typename L::V distance = L::Load(logits + i) - tops;
      const typename L::V e = distance == distance ? simd::Exp<kBytes>(distance) : distance;
      L::Store(exps + i, e);
      total += e;
    }
    T sum = L::Sum(total);
    for (int64_t i = whole; i < vocab; ++i) sum += exps[i] = std::exp(static_cast<T>(logits[i]) - top);
    *nll = std::log(static_cast<double>(sum)) + static_cast<double>(top) - static_cast<double>(logits[target]);
    if (factor == 0.0) return;
    const T scale = static_cast<T>(factor / static_cast<double>(sum));
    for (int64_t i = 0; i < whole; i += L::kCount) L::Store(logits + i, L::Load(exps + i) * scale);
    for (int64_t i = whole; i < vocab; ++i) logits[i] = static_cast<Storage>(exps[i] * scale);
    logits[target] = static_cast<Storage>(exps[target] * scale - static_cast<T>(factor));
  }
};

template <typename Storage, typename T>
void Rows(at::Tensor& logits_nv, const at::Tensor& targets_n, double factor, double* nll) {
  const int64_t rows = logits_nv.size(0), vocab = logits_nv.size(1);
  Storage* const logits = logits_nv.data_ptr<Storage>();
  const int64_t* const targets = targets_n.data_ptr<int64_t>();
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<T> exps(static_cast<size_t>(vocab));
    for (int64_t i = begin; i < end; ++i) simd::Dispatch<Row>(logits + i * vocab, vocab, targets[i], factor, exps.data(), nll + i);
  });
}

}  // namespace

void CrossEntropy(at::Tensor& logits_nv, const at::Tensor& targets_n, double gradient_factor, double* nll) {
  FEDALT_CHECK(logits_nv.is_contiguous() && targets_n.is_contiguous() && logits_nv.size(0) == targets_n.size(0),
               "one target per row");
  if (ByExpressions(logits_nv)) return expressions::CrossEntropy(logits_nv, targets_n, gradient_factor, nll);
  switch (logits_nv.scalar_type()) {
    case at::kFloat:
      return Rows<float, float>(logits_nv, targets_n, gradient_factor, nll);
    case at::kDouble:
      return Rows<double, double>(logits_nv, targets_n, gradient_factor, nll);
    case at::kBFloat16:
      return Rows<at::BFloat16, float>(logits_nv, targets_n, gradient_factor, nll);
    default:
      FEDALT_CHECK(false, "logits are float32, float64 or bfloat16");
  }
}

}  // namespace fedalt
