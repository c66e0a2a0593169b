#include "model/best_continuations.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/tensor_expressions.h"
#include "model/transformer_simd.h"

namespace fedalt {
namespace {

using Ranked = std::pair<float, int64_t>;  // logit, id; best first

/// Puts (value, id) into its place among the best. Ids come in ascending order, so an equal value stays behind.
void Insert(Ranked* best, int64_t count, float value, int64_t id) {
  int64_t place = count - 1;
  for (; place > 0 && best[place - 1].first < value; --place) best[place] = best[place - 1];
  best[place] = {value, id};
}

/// The best of one row and, unless it is null, the logarithm of the sum of exponentials relative to the greatest.
struct Row {
  template <int kBytes>
  static FEDALT_INLINE void Run(const float* logits, int64_t vocabulary, int64_t count, Ranked* best, float* log_sum) {
    using L = simd::Lanes<float, kBytes>;
    constexpr float kLowest = -std::numeric_limits<float>::infinity();
    const int64_t whole = vocabulary / L::kCount * L::kCount;
    for (int64_t i = 0; i < count; ++i) best[i] = {kLowest, i};
    // What is not above the last of the best (nearly everything) costs one comparison per vector.
    const auto take = [&](int64_t from, int64_t to) FEDALT_INLINE_LAMBDA {
      for (int64_t i = from; i < to; ++i)
        if (logits[i] > best[count - 1].first) Insert(best, count, logits[i], i);
    };
    for (int64_t i = 0; i < whole; i += L::kCount)
      if (L::Max(L::Load(logits + i)) > best[count - 1].first) take(i, i + L::kCount);
    take(whole, vocabulary);
    if (log_sum == nullptr) return;
    const typename L::V top = L::Fill(best[0].first);
    typename L::V sums{};
    for (int64_t i = 0; i < whole; i += L::kCount) sums += simd::Exp<kBytes>(L::Load(logits + i) - top);
    float sum = L::Sum(sums);
    for (int64_t i = whole; i < vocabulary; ++i) sum += std::exp(logits[i] - best[0].first);
    *log_sum = std::log(sum);
  }
};

/// take(row, the best `count` of it, the logarithm of the sum if it is asked for) for all rows, in parallel.
template <typename Take>
void RankRows(const at::Tensor& logits_nv, int64_t count, bool with_sum, const Take& take) {
  const int64_t vocabulary = logits_nv.size(1);
  const float* const from = logits_nv.data_ptr<float>();
  at::parallel_for(0, logits_nv.size(0), 1, [&](int64_t begin, int64_t end) {
    std::vector<Ranked> best(static_cast<size_t>(count));
    for (int64_t r = begin; r < end; ++r) {
      float log_sum = 0;
      simd::Dispatch<Row>(from + r * vocabulary, vocabulary, count, best.data(), with_sum ? &log_sum : nullptr);
      take(r, best.data(), log_sum);
    }
  });
}

}  // namespace

BestContinuations FindBestContinuations(const at::Tensor& logits_nv, int64_t count) {
  FEDALT_CHECK(logits_nv.scalar_type() == at::kFloat && count >= 1 && count <= logits_nv.size(1), "float32 logits, a few of them");
  if (ByExpressions(logits_nv)) {
    const auto [log_p, ids] = at::topk(at::log_softmax(logits_nv, 1), count, 1);
    return {log_p.cpu().contiguous(), ids.cpu().contiguous()};
  }
  const at::Tensor logits = logits_nv.contiguous();
  const int64_t rows = logits.size(0);
  BestContinuations out{at::empty({rows, count}, at::kFloat), at::empty({rows, count}, at::kLong)};
  float* const log_p = out.log_p_nk.data_ptr<float>();
  int64_t* const ids = out.ids_nk.data_ptr<int64_t>();
  RankRows(logits, count, /*with_sum=*/true, [&](int64_t r, const Ranked* best, float log_sum) {
    for (int64_t i = 0; i < count; ++i) {
      log_p[r * count + i] = (best[i].first - best[0].first) - log_sum;
      ids[r * count + i] = best[i].second;
    }
  });
  return out;
}

at::Tensor MostLikely(const at::Tensor& logits_nv) {
  FEDALT_CHECK(logits_nv.scalar_type() == at::kFloat && logits_nv.size(1) >= 1, "float32 logits");
  if (ByExpressions(logits_nv)) return logits_nv.argmax(1).cpu();
  const at::Tensor logits = logits_nv.contiguous();
  at::Tensor ids_n = at::empty({logits.size(0)}, at::kLong);
  int64_t* const ids = ids_n.data_ptr<int64_t>();
  RankRows(logits, 1, /*with_sum=*/false, [&](int64_t r, const Ranked* best, float) { ids[r] = best->second; });
  return ids_n;
}

}  // namespace fedalt
