// flexlora: FlexLoRA (Bai et al., "Federated Fine-tuning of Large Language Models under Heterogeneous Tasks and Client Resources",
// NeurIPS 2024, arXiv 2402.11505). The server forms sum p_k B_k A_k and hands out its best low-rank approximation; a site of rank
// r_k takes the r_k greatest singular values.
//
// The singular values are shared out evenly, B = U sqrt(S) and A = sqrt(S) V^T, so that neither factor starts the next round much
// smaller than the other; the paper leaves that open. s is lora_alpha / adapter.r for every rank. If the mean product has a lower
// rank than a site (a round of sites with lower ranks), the rows of A that are left stay the site's own and their B is zero, as at
// the start: with both factors zero they would never learn again.
#include "fed/baselines.h"
#include "fed/factors.h"

namespace fedalt {
namespace {

constexpr double kLeast = 1e-6;  // sqrt(S) below this share of the greatest is rounding

class Flexlora : public Method {
 public:
  using Method::Method;
  TransportNeed needs() const override { return TransportNeed::kIndividualUploads; }
  bool allows_ranks() const override { return true; }
  Deploy deploy() const override { return Deploy::kSwapped; }

  at::Tensor Contribution(int64_t, const Site& site) const override { return Flatten(site.adapters.Individual()); }

  std::function<at::Tensor(int64_t)> Aggregator(const RoundUploads& round) const override {
    return [round](int64_t) {
      const std::vector<double> shares = SharesOf(round);
      std::vector<LoraFactors> best;
      for (const std::vector<LoraFactors>& terms : FactorsByModule(round)) best.push_back(ProductSum(terms).Best(shares, round.r));
      return JoinFactors(best).to(round.uploads.front().values.scalar_type());
    };
  }

  bool Fits(const Published& published, const Site& site) const override {
    return AreFactors(published.values.numel(), site.adapters.modules());
  }
  Status Receive(const Published& published, Site& site) const override {
    const std::vector<LoraFactors> best = SplitFactors(published.values, site.adapters.modules());
    NamedTensors individual = site.adapters.Individual();
    for (size_t i = 0; i < best.size(); ++i) {
      const LoraFactors mine = WithRank(best[i], site.adapters.config().r);
      const at::Tensor size_r = mine.b_or.norm(2, 0);  // sqrt(S)
      const at::Tensor used_r = size_r > size_r.max() * kLeast;
      individual[2 * i].second = at::where(used_r.unsqueeze(1), mine.a_ri, individual[2 * i].second.to(mine.a_ri.options()));
      individual[2 * i + 1].second = mine.b_or * used_r;
    }
    return site.adapters.SetIndividual(individual);
  }
};

}  // namespace

std::unique_ptr<Method> MakeFlexlora(const MethodOptions& options) {
  return std::make_unique<Flexlora>(options);
}

}  // namespace fedalt
