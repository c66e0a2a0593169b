#include "model/best_continuations.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/tensor_expressions.h"
#include "model/transformer_simd.h"

namespace fedalt {
namespace {

bool IsRanked(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16;
}

using Ranked = std::pair<float, int64_t>;  // logit, id; best first

/// Puts (value, id) into its place among the best. Ids come in ascending order, so an equal value stays behind.
void Insert(Ranked* best, int64_t count, float value, int64_t id) {
  int64_t place = count - 1;
  for (; place > 0 && best[place - 1].first < value; --place) best[place] = best[place - 1];
  best[place] = {value, id};
}

/// The best of one row and, unless it is null, the logarithm of the sum of exponentials relative to the greatest.
struct Row {
  template <int kBytes, typename Storage>
  static FEDALT_INLINE void Run(const Storage* logits, int64_t vocabulary, int64_t count, Ranked* best, float* log_sum) {
    using L = simd::Lanes<float, kBytes>;
    constexpr int64_t kBlock = 64;
    constexpr float kLowest = -std::numeric_limits<float>::infinity();
    const int64_t whole = vocabulary / L::kCount * L::kCount;
    for (int64_t i = 0; i < count; ++i) best[i] = {kLowest, i};
    // What is not above the last of the best (nearly everything) costs one comparison per block.
    const auto take = [&](int64_t from, int64_t to) FEDALT_INLINE_LAMBDA {
      for (int64_t i = from; i < to; ++i)
        if (const float logit = simd::Widen(logits[i]); logit > best[count - 1].first) Insert(best, count, logit, i);
    };
    const int64_t blocks = vocabulary / kBlock * kBlock;
    for (int64_t i = 0; i < blocks; i += kBlock) {
      typename L::V top = L::Load(logits + i);
      for (int64_t j = L::kCount; j < kBlock; j += L::kCount) {
        const typename L::V next = L::Load(logits + i + j);
        top = next > top ? next : top;
      }
      if (L::Max(top) > best[count - 1].first) take(i, i + kBlock);
    }
    take(blocks, vocabulary);
    if (log_sum == nullptr) return;
    const typename L::V top = L::Fill(best[0].first);
    typename L::V sums{};
    for (int64_t i = 0; i < whole; i += L::kCount) sums += simd::Exp<kBytes>(L::Load(logits + i) - top);
    float sum = L::Sum(sums);
    for (int64_t i = whole; i < vocabulary; ++i) sum += std::exp(simd::Widen(logits[i]) - best[0].first);
    *log_sum = std::log(sum);
  }
};

/// take(row, the best `count` of it, the logarithm of the sum if it is asked for) for all rows, in parallel.
template <typename Take>
void RankRows(const at::Tensor& logits_nv, int64_t count, bool with_sum, const Take& take) {
  const int64_t vocabulary = logits_nv.size(1);
  simd::WithTypes(logits_nv.scalar_type(), [&](auto storage, auto) {
    using Storage = decltype(storage);
    if constexpr (!std::is_same_v<Storage, double>) {
      const Storage* const from = logits_nv.data_ptr<Storage>();
      at::parallel_for(0, logits_nv.size(0), 1, [&](int64_t begin, int64_t end) {
        std::vector<Ranked> best(static_cast<size_t>(count));
        for (int64_t r = begin; r < end; ++r) {
          float log_sum = 0;
          simd::Dispatch<Row>(from + r * vocabulary, vocabulary, count, best.data(), with_sum ? &log_sum : nullptr);
          take(r, best.data(), log_sum);
        }
      });
    }
  });
}

}  // namespace

BestContinuations FindBestContinuations(const at::Tensor& logits_nv, int64_t count) {
  FEDALT_CHECK(IsRanked(logits_nv.scalar_type()) && count >= 1 && count <= logits_nv.size(1), "float32 or bfloat16, some of them");
  if (ByExpressions(logits_nv)) {
    const auto [log_p, ids] = at::topk(at::log_softmax(logits_nv.to(at::kFloat), 1), count, 1);
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
  FEDALT_CHECK(IsRanked(logits_nv.scalar_type()) && logits_nv.size(1) >= 1, "float32 or bfloat16");
  if (ByExpressions(logits_nv)) return logits_nv.argmax(1).cpu();
  const at::Tensor logits = logits_nv.contiguous();
  at::Tensor ids_n = at::empty({logits.size(0)}, at::kLong);
  int64_t* const ids = ids_n.data_ptr<int64_t>();
  RankRows(logits, 1, /*with_sum=*/false, [&](int64_t r, const Ranked* best, float) { ids[r] = best->second; });
  return ids_n;
}

at::Tensor MostLikely(const at::Tensor& logits_nv, const at::Tensor& hidden_nd, const at::Tensor& head_vd) {
  at::Tensor ids_n = MostLikely(logits_nv);
  if (logits_nv.scalar_type() != at::kBFloat16 || !logits_nv.is_cpu()) return ids_n;
  const at::Tensor logits = logits_nv.contiguous();
  const int64_t vocabulary = logits.size(1);
  int64_t* const ids = ids_n.data_ptr<int64_t>();
  for (int64_t r = 0; r < logits.size(0); ++r) {
    const auto* const row = static_cast<const uint16_t*>(logits.data_ptr()) + r * vocabulary;
    const uint16_t best = row[ids[r]];
    int32_t equal = 0;
    for (int64_t i = 0; i < vocabulary; ++i) equal += row[i] == best;
    if (equal == 1) continue;
    std::vector<int64_t> tied;
    for (int64_t i = ids[r]; i < vocabulary; ++i)
      if (row[i] == best) tied.push_back(i);
    const at::Tensor rows = head_vd.index_select(0, at::tensor(tied, at::kLong)).to(at::kFloat);
    ids[r] = tied[static_cast<size_t>(at::mv(rows, hidden_nd[r].to(at::kFloat)).argmax().item<int64_t>())];
  }
  return ids_n;
}

}  // namespace fedalt
