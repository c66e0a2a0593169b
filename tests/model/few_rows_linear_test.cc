// A linear of few rows against float64, with every kernel that this machine runs.
#include "model/few_rows_linear.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/cpu_kernels.h"

namespace fedalt {
namespace {

TEST(FewRowsLinear, EqualsTheProduct) {
  for (const CpuKernels level : {CpuKernels::kPortable, CpuKernels::kAvx2, CpuKernels::kAvx512, CpuKernels::kAvx512Bf16}) {
    const CpuKernelsLimit limit(level);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t rows : {1, 3, 8, 9, 16, 31})
        for (const int64_t in : {1, 31, 64, 160, 1440, 2976})
          for (const int64_t out : {1, 2, 37}) {
            SCOPED_TRACE(testing::Message() << CpuKernelsName(level) << ' ' << dtype << ' ' << rows << " x " << in << " x " << out);
            at::manual_seed(static_cast<uint64_t>(rows * in + out));
            const at::Tensor x = at::randn({rows, in}).to(dtype), w = at::randn({out, in}).to(dtype),
                             b = at::randn({out}).to(dtype);
            if (rows > kFewRows && (dtype == at::kFloat || level != CpuKernels::kAvx512Bf16)) continue;
            if (ActiveCpuKernels() != level) continue;
            ASSERT_TRUE(TakesFewRows(x, w, b));
            for (const bool with_bias : {false, true}) {
              const at::Tensor bias = with_bias ? b : at::Tensor();
              at::Tensor expected = at::mm(x.to(at::kDouble), w.to(at::kDouble).t());
              if (with_bias) expected = expected + b.to(at::kDouble);
              const double worst = (FewRowsLinear(x, w, bias).to(at::kDouble) - expected).abs().max().item<double>();
              const double largest = 1.0 + expected.abs().max().item<double>();
              EXPECT_LT(worst / largest, dtype == at::kFloat ? 1e-5 : 1.0 / 256);
            }
          }
  }
}

TEST(FewRowsLinear, ThreadsDoNotChangeABit) {
  const int threads = at::get_num_threads();
  for (const int64_t in : {512, 2976}) {
    const at::Tensor x = at::randn({8, in}).to(at::kBFloat16), w = at::randn({3001, in}).to(at::kBFloat16);
    at::set_num_threads(1);
    const at::Tensor one = FewRowsLinear(x, w, {});
    at::set_num_threads(3);
    EXPECT_TRUE(at::equal(one, FewRowsLinear(x, w, {})));
    at::set_num_threads(threads);
  }
}

TEST(FewRowsLinear, SomeOutputsAreThoseOfAll) {
  for (const CpuKernels level : {CpuKernels::kPortable, CpuKernels::kAvx512Bf16})
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t rows : {1, 9})
        for (const int64_t in : {33, 64, 1440}) {
          const CpuKernelsLimit limit(level);
          SCOPED_TRACE(testing::Message() << CpuKernelsName(level) << ' ' << dtype << ' ' << rows << " x " << in);
          const at::Tensor x = at::randn({rows, in}).to(dtype), w = at::randn({37, in}).to(dtype), b = at::randn({37}).to(dtype);
          const at::Tensor all = FewRowsLinear(x, w, b);
          const at::Tensor some = FewRowsLinear(x, w, b, {{30, 7}, {0, 0}, {3, 4}, {3, 1}});
          EXPECT_TRUE(at::equal(some, at::cat({all.narrow(1, 30, 7), all.narrow(1, 3, 4), all.narrow(1, 3, 1)}, 1)));
        }
}

TEST(FewRowsLinear, LeavesTheRestToLibtorch) {
  const at::Tensor w = at::randn({4, 8});
  EXPECT_FALSE(TakesFewRows(at::randn({kFewRows + 1, 8}), w, {}));
  EXPECT_FALSE(TakesFewRows(at::randn({2, 8}, at::kDouble), w.to(at::kDouble), {}));
  EXPECT_FALSE(TakesFewRows(at::randn({8, 2}).t(), w, {})) << "strides";
}

}  // namespace
}  // namespace fedalt
