// The best continuations against libtorch's log_softmax and a full sort, with every kernel that this machine runs.
#include "model/best_continuations.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/cpu_kernels.h"

namespace fedalt {
namespace {

TEST(BestContinuations, AreTheFirstOfAStableSort) {
  for (const CpuKernels level : {CpuKernels::kPortable, CpuKernels::kAvx2, CpuKernels::kAvx512})
    for (const int64_t vocabulary : {8, 37, 1000}) {
      const CpuKernelsLimit limit(level);
      SCOPED_TRACE(testing::Message() << CpuKernelsName(level) << ' ' << vocabulary);
      at::manual_seed(1);
      at::Tensor logits = at::randn({5, vocabulary}) * 3;
      logits[1] = logits[1].round();    // many equal ones
      logits[2] = logits[2] * 40 - 60;  // far apart
      logits[3].zero_();
      const auto [sorted, order] = at::sort(at::log_softmax(logits.to(at::kDouble), 1), /*stable=*/true, 1, /*descending=*/true);
      const BestContinuations best = FindBestContinuations(logits, 8);
      EXPECT_TRUE(at::equal(best.ids_nk, order.narrow(1, 0, 8)));
      EXPECT_TRUE(at::equal(MostLikely(logits), order.select(1, 0)));
      EXPECT_LE((best.log_p_nk.to(at::kDouble) - sorted.narrow(1, 0, 8)).abs().max().item<double>(), 3e-5);
      const at::Tensor rounded = logits.to(at::kBFloat16);
      const BestContinuations same = FindBestContinuations(rounded.to(at::kFloat), 8), read = FindBestContinuations(rounded, 8);
      EXPECT_TRUE(at::equal(read.ids_nk, same.ids_nk) && at::equal(read.log_p_nk, same.log_p_nk));
      EXPECT_TRUE(at::equal(MostLikely(rounded), same.ids_nk.select(1, 0)));
    }
}

TEST(BestContinuations, ARowThatHoldsInfinitiesOrNotANumberTellsIt) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  at::Tensor logits = at::zeros({2, 40});
  logits[0].fill_(-kInfinity);
  logits[0][7] = 1.0f;  // all the others are impossible
  logits[1][3] = std::numeric_limits<float>::quiet_NaN();
  const BestContinuations best = FindBestContinuations(logits, 2);
  EXPECT_EQ(best.ids_nk[0][0].item<int64_t>(), 7);
  EXPECT_EQ(best.log_p_nk[0][0].item<float>(), 0.0f);
  EXPECT_EQ(best.log_p_nk[0][1].item<float>(), -kInfinity);
  EXPECT_TRUE(at::isnan(best.log_p_nk[1]).all().item<bool>());
}

TEST(MostLikely, TellsApartWhatBfloat16MadeEqual) {
  at::manual_seed(2);
  const at::Tensor head = at::randn({4000, 64}).to(at::kBFloat16), hidden = at::randn({200, 64}).to(at::kBFloat16);
  const at::Tensor exact = at::matmul(hidden.to(at::kDouble), head.to(at::kDouble).t()), logits = exact.to(at::kBFloat16);
  const at::Tensor chosen = MostLikely(logits, hidden, head), rounded = MostLikely(logits), best = exact.argmax(1);
  EXPECT_TRUE(at::equal(chosen, best));
  EXPECT_FALSE(at::equal(rounded, best)) << "some of these rows must tie, or this shows nothing";
  EXPECT_TRUE(at::equal(MostLikely(logits.to(at::kFloat), hidden, head), rounded)) << "float32 logits are taken as they are";
}

}  // namespace
}  // namespace fedalt
