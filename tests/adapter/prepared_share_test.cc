// The members of a team (model/tensor_parallel.h), each with its share of a layer's outputs, against the layer on one thread.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <vector>

#include "adapter/fedalt_linear.h"
#include "base/cpu_kernels.h"
#include "model/tensor_parallel.h"

namespace fedalt {
namespace {

constexpr int64_t kIn = 24, kOut = 40;  // shares that begin and end within a vector

LayerAdapters Adapters(MixerKind mixer, bool first_round, bool fold) {
  at::manual_seed(3);
  LayerAdapters adapters;
  adapters.individual = {at::randn({3, kIn}), at::randn({kOut, 3})};
  adapters.rest_of_world = {at::randn({5, kIn}), first_round ? at::zeros({kOut, 5}) : at::randn({kOut, 5})};
  if (mixer == MixerKind::kToken) adapters.mixer = at::randn({2, kIn});
  if (mixer == MixerKind::kLayer) adapters.mixer = at::randn({2});
  if (fold) adapters.fold_oi = at::randn({kOut, kIn});
  return adapters;
}

using Parameters = std::tuple<MixerKind, BranchMode>;
class PreparedShare : public testing::TestWithParam<Parameters> {};
INSTANTIATE_TEST_SUITE_P(All, PreparedShare,
                         testing::Combine(testing::Values(MixerKind::kToken, MixerKind::kLayer, MixerKind::kFixed, MixerKind::kNone,
                                                          MixerKind::kMerged),
                                          testing::Values(BranchMode::kBoth, BranchMode::kIndividualAlone, BranchMode::kBase)));

TEST_P(PreparedShare, SideBySideIsTheWhole) {
  LayerMode mode;
  std::tie(mode.mixer, mode.branches) = GetParam();
  mode.scale = 2.0;
  mode.gain = 1.7;
  mode.fixed_p = 0.3;
  for (const CpuKernels level : {CpuKernels::kPortable, CpuKernels::kAvx2, CpuKernels::kAvx512, CpuKernels::kAvx512Bf16}) {
    const CpuKernelsLimit limit(level);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t tokens : {1, 9, 29})
        for (const bool first_round : {false, true})
          for (const bool fold : {false, true}) {
            SCOPED_TRACE(testing::Message() << CpuKernelsName(level) << ' ' << dtype << ' ' << tokens << " tokens, first round "
                                            << first_round << ", fold " << fold);
            const FedaltLinear layer(Adapters(mode.mixer, first_round, fold), &mode, 9);
            const std::unique_ptr<LinearExtension> prepared = layer.Prepared();
            const at::Tensor x = at::randn({tokens, kIn}).to(dtype), y = at::randn({tokens, kOut}).to(dtype);
            const at::NoGradGuard no_grad;
            for (const LinearExtension* const extension :
                 {static_cast<const LinearExtension*>(&layer), static_cast<const LinearExtension*>(prepared.get())}) {
              at::Tensor whole = y.clone();
              extension->Add(x, whole, {}, false);
              EXPECT_EQ(at::equal(whole, y), mode.branches == BranchMode::kBase);
              for (const int64_t size : tokens == 9 ? std::vector<int64_t>{2, 4} : std::vector<int64_t>{2}) {
                const at::Tensor shares = ByTeam(size, [&](TeamMember& member) {
                  at::Tensor own = y.narrow(1, member.First(kOut), member.Count(kOut)).clone(at::MemoryFormat::Contiguous);
                  const ForwardContext context{.member = &member};
                  extension->Add(x, own, context, false);
                  return member.AllGather(own);
                });
                // A fold's product is a general one, whose sums depend on its shape.
                const double tolerance = fold ? (dtype == at::kFloat ? 1e-5 : 1.0 / 64) : 0.0;
                EXPECT_LE((shares.to(at::kFloat) - whole.to(at::kFloat)).abs().max().item<double>(),
                          tolerance * (1.0 + whole.abs().max().item<double>()));
              }
            }
          }
  }
}

}  // namespace
}  // namespace fedalt
