// Loss and gradient against libtorch in float64, with every kernel that this machine runs.
#include "train/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/cpu_kernels.h"

namespace fedalt {
namespace {

constexpr CpuKernels kLevels[] = {CpuKernels::kTensor, CpuKernels::kPortable, CpuKernels::kAvx2, CpuKernels::kAvx512,
                                  CpuKernels::kAvx512Bf16};

TEST(CrossEntropy, EqualsLogSoftmaxAndItsGradient) {
  for (const CpuKernels level : kLevels) {
    const CpuKernelsLimit limit(level);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble})
      for (const int64_t vocab : {1, 5, 16, 333}) {
        SCOPED_TRACE(testing::Message() << CpuKernelsName(level) << ' ' << dtype << ' ' << vocab);
        at::manual_seed(static_cast<uint64_t>(vocab));
        const at::Tensor logits = (at::randn({7, vocab}) * 20.0).to(dtype), targets = at::randint(vocab, {7}, at::kLong);
        const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble), 1);
        const at::Tensor expected = at::nll_loss(log_p, targets, {}, at::Reduction::None);
        std::vector<double> nll(7);
        at::Tensor same = logits.clone();
        CrossEntropy(same, targets, 0.0, nll.data());
        EXPECT_TRUE(at::equal(same, logits)) << "without a gradient the logits stay";
        for (int64_t i = 0; i < 7; ++i)
          EXPECT_NEAR(nll[static_cast<size_t>(i)], expected[i].item<double>(), (dtype == at::kDouble ? 1e-12 : 2e-6) * (1 + 100));
        at::Tensor gradient = logits.clone();
        CrossEntropy(gradient, targets, 0.25, nll.data());
        at::Tensor expected_gradient = log_p.exp();
        expected_gradient.scatter_add_(1, targets.unsqueeze(1), at::full({7, 1}, -1.0, at::kDouble));
        expected_gradient *= 0.25;
        const double worst = (gradient.to(at::kDouble) - expected_gradient).abs().max().item<double>();
        EXPECT_LT(worst, dtype == at::kDouble ? 1e-12 : dtype == at::kFloat ? 1e-6 : 0.25 / 256);
      }
  }
}

TEST(CrossEntropy, LargeLogitsDoNotOverflowAndNanIsSeen) {
  for (const CpuKernels level : kLevels) {
    const CpuKernelsLimit limit(level);
    for (const int64_t place : {0, 20, 36}) {  // in a whole vector, in another, in the rest
      at::Tensor logits = at::full({1, 37}, -1e30f);
      logits[0][3] = 1e30f;
      double nll = -1.0;
      CrossEntropy(logits, at::full({1}, 3, at::kLong), 0.0, &nll);
      EXPECT_NEAR(nll, 0.0, 1e-6);
      logits[0][place] = std::numeric_limits<float>::quiet_NaN();
      CrossEntropy(logits, at::full({1}, 3, at::kLong), 0.0, &nll);
      EXPECT_TRUE(std::isnan(nll)) << place;
    }
  }
}

}  // namespace
}  // namespace fedalt
