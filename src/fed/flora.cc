// flora: FLoRA (Wang et al., "FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank Adaptations", NeurIPS
// 2024, arXiv 2409.05976). The server stacks the uploads, [p_1 A_1; p_2 A_2; ...] and [B_1 B_2 ...], whose product is exactly
// sum p_k B_k A_k; every site folds it into its base and starts a new adapter.
//
//   W0 <- W0 + s sum p_k B_k A_k        A drawn anew (the same at all sites), B = 0
//
// W0 itself is never written: the fold is a matrix D of its own at each site (adapter/fedalt_linear.h). Sites may have different
// ranks; s is lora_alpha / adapter.r for all of them, so that a product means the same everywhere.
#include <utility>

#include "fed/baselines.h"
#include "fed/factors.h"

namespace fedalt {
namespace {

class Flora : public Method {
 public:
  using Method::Method;
  TransportNeed needs() const override { return TransportNeed::kIndividualUploads; }
  bool allows_ranks() const override { return true; }
  Kept kept() const override { return {.folds = true}; }
  Deploy deploy() const override { return Deploy::kSwapped; }

  at::Tensor Contribution(int64_t, const Site& site) const override { return Flatten(site.adapters.Individual()); }

  std::function<at::Tensor(int64_t)> Aggregator(const RoundUploads& round) const override {
    return [round](int64_t) { return JoinFactors(StackedMean(round)).to(round.uploads.front().values.scalar_type()); };
  }

  bool Fits(const Published& published, const Site& site) const override {
    return AreFactors(published.values.numel(), site.adapters.modules());
  }
  Status Receive(const Published& published, Site& site) const override {
    const std::vector<LoraFactors> stacked = SplitFactors(published.values, site.adapters.modules());
    for (size_t i = 0; i < stacked.size(); ++i)
      site.adapters.Fold(i, at::mm(stacked[i].b_or, stacked[i].a_ri) * site.adapters.config().scale());
    InitOptions anew = site.start;
    anew.draw = static_cast<uint64_t>(published.round);
    site.adapters.Initialize(anew);
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Method> MakeFlora(const MethodOptions& options) {
  return std::make_unique<Flora>(options);
}

}  // namespace fedalt
