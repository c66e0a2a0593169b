// The products with a narrow side against float64 tensor expressions, with every kernel that this machine runs.
#include "adapter/low_rank_products.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/cpu_kernels.h"

namespace fedalt {
namespace {

struct Case {
  int64_t tokens, features, columns;
};
constexpr Case kCases[] = {{1, 1, 1}, {5, 16, 3}, {13, 37, 17}, {50, 300, 16}, {97, 513, 33}};
constexpr CpuKernels kLevels[] = {CpuKernels::kTensor, CpuKernels::kPortable, CpuKernels::kAvx2, CpuKernels::kAvx512,
                                  CpuKernels::kAvx512Bf16};

struct Inputs {
  at::Tensor x, a, h, p, g, mask;  // mask as numbers
  DropoutBits bits;
  double tolerance;

  Inputs(const Case& size, at::ScalarType dtype) {
    at::manual_seed(static_cast<uint64_t>(size.features));
    const at::ScalarType work = dtype == at::kDouble ? at::kDouble : at::kFloat;
    x = at::randn({size.tokens, size.features}).to(dtype);
    a = at::randn({size.columns, size.features}).to(work);
    h = at::randn({size.tokens, size.columns}).to(work);
    p = at::randn({size.tokens, 1}).to(work);
    g = at::randn({1, size.features}).to(work);
    TokenRows rows;
    for (int64_t t = 0; t < size.tokens; ++t) {
      rows.example_ids.push_back(t / 7);
      rows.positions.push_back(t % 7);
    }
    bits = DrawDropout(rows, size.features, 0.3, 11, 12);
    mask = DropoutMask(rows, size.features, 0.3, 11, 12).to(at::kDouble);
    tolerance = dtype == at::kDouble ? 1e-6 : 1e-4;  // the mask's factor is float32
  }
};

double Worst(const at::Tensor& found, const at::Tensor& expected) {
  EXPECT_EQ(found.sizes(), expected.sizes());
  return (found.to(at::kDouble) - expected).abs().max().item<double>() / (1.0 + expected.abs().max().item<double>());
}

template <typename Check>
void ForAll(const Check& check) {
  for (const CpuKernels level : kLevels) {
    const CpuKernelsLimit limit(level);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble})
      for (const Case& size : kCases) {
        SCOPED_TRACE(testing::Message() << CpuKernelsName(level) << ' ' << dtype << ' ' << size.tokens << " x " << size.features
                                        << " x " << size.columns);
        check(Inputs(size, dtype));
      }
  }
}

TEST(LowRankProducts, ProjectRows) {
  ForAll([](const Inputs& in) {
    const at::Tensor x = in.x.to(at::kDouble), a = in.a.to(at::kDouble);
    const Projection plain = ProjectRows(in.x, in.a, nullptr);
    EXPECT_LT(Worst(plain.u_tc, at::mm(x, a.t())), in.tolerance);
    EXPECT_FALSE(plain.z_t1.defined());
    const Projection masked = ProjectRows(in.x, in.a, &in.bits, in.g);
    EXPECT_LT(Worst(masked.u_tc, at::mm(x * in.mask, a.t())), in.tolerance);
    EXPECT_LT(Worst(masked.z_t1, at::mm(x, in.g.to(at::kDouble).t())), in.tolerance) << "the mixer sees x without dropout";
  });
}

TEST(LowRankProducts, AddRankUpdate) {
  ForAll([](const Inputs& in) {
    const at::Tensor x = in.x.to(at::kDouble), update = at::mm(in.h.to(at::kDouble), in.a.to(at::kDouble));
    // One rounding to bfloat16's eight bits at the end.
    const double tolerance = in.x.scalar_type() == at::kBFloat16 ? 1.0 / 256 : in.tolerance;
    at::Tensor y = in.x.clone();
    AddRankUpdate(y, in.h, in.a, nullptr);
    EXPECT_LT(Worst(y, x + update), tolerance);
    y = in.x.clone();
    AddRankUpdate(y, in.h, in.a, &in.bits, {in.p, in.g});
    EXPECT_LT(Worst(y, x + in.mask * update + at::mm(in.p, in.g).to(at::kDouble)), tolerance);
  });
}

TEST(LowRankProducts, SumOverTokens) {
  ForAll([](const Inputs& in) {
    const at::Tensor x = in.x.to(at::kDouble), h = in.h.to(at::kDouble);
    EXPECT_LT(Worst(SumOverTokens(in.x, in.h, nullptr).sums_fc, at::mm(x.t(), h)), in.tolerance);
    const ColumnSums sums = SumOverTokens(in.x, in.h, &in.bits, in.p);
    EXPECT_LT(Worst(sums.sums_fc, at::mm((x * in.mask).t(), h)), in.tolerance);
    EXPECT_LT(Worst(sums.plain_1f, at::mm(in.p.to(at::kDouble).t(), x)), in.tolerance);
  });
}

TEST(LowRankProducts, RowsMayLieApart) {
  ForAll([](const Inputs& in) {
    const auto apart = [](const at::Tensor& matrix) {
      return at::cat({at::ones_like(matrix), matrix, at::ones_like(matrix)}, 1).narrow(1, matrix.size(1), matrix.size(1));
    };
    const at::Tensor x = apart(in.x);
    EXPECT_TRUE(at::equal(ProjectRows(x, in.a, &in.bits, in.g).u_tc, ProjectRows(in.x, in.a, &in.bits, in.g).u_tc));
    EXPECT_TRUE(at::equal(SumOverTokens(x, in.h, &in.bits).sums_fc, SumOverTokens(in.x, in.h, &in.bits).sums_fc));
    at::Tensor y = in.x.clone(), y_apart = apart(in.x);
    AddRankUpdate(y, in.h, in.a, &in.bits, {in.p, in.g});
    AddRankUpdate(y_apart, in.h, in.a, &in.bits, {in.p, in.g});
    EXPECT_TRUE(at::equal(y_apart, y));
  });
}

TEST(LowRankProducts, ThreadsDoNotChangeABit) {
  const Inputs in({997, 700, 17}, at::kBFloat16);
  const int threads = at::get_num_threads();
  const auto all = [&] {
    at::Tensor y = in.x.clone();
    AddRankUpdate(y, in.h, in.a, &in.bits, {in.p, in.g});
    const ColumnSums sums = SumOverTokens(in.x, in.h, &in.bits, in.p);
    return std::vector<at::Tensor>{ProjectRows(in.x, in.a, &in.bits).u_tc, y, sums.sums_fc, sums.plain_1f};
  };
  at::set_num_threads(1);
  const auto one = all();
  at::set_num_threads(3);
  const auto three = all();
  at::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], three[i])) << i;
}

}  // namespace
}  // namespace fedalt
