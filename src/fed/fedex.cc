// fedex: FedEx-LoRA (Singhal, Ponkshe and Vepakomma, "FedEx-LoRA: Exact Aggregation for Federated and Efficient Fine-Tuning of
// Foundation Models", ACL 2025, arXiv 2410.09432). The factors are averaged as in fedit, and what that loses of the mean product
// goes into the base:
//
//   A <- sum p_k A_k,   B <- sum p_k B_k,   W0 <- W0 + s (sum p_k B_k A_k - (sum p_k B_k)(sum p_k A_k))
//
// What is published holds the mean factors and, behind them, the stacked ones, from which each site computes the residual; the
// paper sends the residual in the same factored form. W0 itself is never written: the residual is a matrix D of its own.
#include "fed/baselines.h"
#include "fed/factors.h"

namespace fedalt {
namespace {

class Fedex : public Method {
 public:
  using Method::Method;
  TransportNeed needs() const override { return TransportNeed::kIndividualUploads; }
  Deploy deploy() const override { return Deploy::kSwapped; }
  Kept kept() const override { return {.folds = true}; }

  at::Tensor Contribution(int64_t, const Site& site) const override { return Flatten(site.adapters.Individual()); }

  std::function<at::Tensor(int64_t)> Aggregator(const RoundUploads& round) const override {
    return [round](int64_t) {
      std::vector<LoraFactors> published = StackedMean(round);
      const std::vector<LoraFactors> mean = MeanFactors(round);
      for (size_t i = 0; i < published.size(); ++i) published[i] = Stacked({mean[i], published[i]}, {1.0, 1.0});
      return JoinFactors(published).to(round.uploads.front().values.scalar_type());
    };
  }

  bool Fits(const Published& published, const Site& site) const override {
    const std::vector<AdaptedModule>& modules = site.adapters.modules();
    return AreFactors(published.values.numel(), modules) && RankOf(published.values, modules) > site.adapters.config().r;
  }
  Status Receive(const Published& published, Site& site) const override {
    const std::vector<LoraFactors> all = SplitFactors(published.values, site.adapters.modules());
    NamedTensors individual = site.adapters.Individual();
    const int64_t r = site.adapters.config().r;
    for (size_t i = 0; i < all.size(); ++i) {
      const LoraFactors mean = WithRank(all[i], r);
      const int64_t stacked = all[i].a_ri.size(0) - r;
      const at::Tensor product = at::mm(all[i].b_or.narrow(1, r, stacked), all[i].a_ri.narrow(0, r, stacked));
      site.adapters.Fold(i, (product - at::mm(mean.b_or, mean.a_ri)) * site.adapters.config().scale());
      individual[2 * i].second = mean.a_ri;
      individual[2 * i + 1].second = mean.b_or;
    }
    return site.adapters.SetIndividual(individual);
  }
};

}  // namespace

std::unique_ptr<Method> MakeFedex(const MethodOptions& options) {
  return std::make_unique<Fedex>(options);
}

}  // namespace fedalt
