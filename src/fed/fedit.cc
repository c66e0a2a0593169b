// fedit: FedAvg over LoRA factors (Zhang et al., "Towards Building the Federated GPT: Federated Instruction Tuning", ICASSP 2024,
// arXiv 2305.05644). One global adapter:   A <- sum p_k A_k,  B <- sum p_k B_k,  p_k = n_k / sum n; every site starts the next
// round from it.
//
// fedit_ft: the same, but the last round is not averaged: each site keeps what it trained from the last global adapter. It takes
// the same number of optimizer steps, and makes fedit personal for free.
//
// Controls, off by default: an optimizer at the server (FedAvgM, Hsu, Qi and Brown 2019, arXiv 1909.06335), v <- momentum v +
// (theta - mean), theta <- theta - lr v; and sites of different ranks, whose factors are padded with zeros to the largest rank and
// cut again (the aggregation of HetLoRA, Cho et al. 2024, arXiv 2401.06432, without its pruning and its weights by norm).
#include <utility>

#include "base/check.h"
#include "fed/averaging.h"
#include "fed/baselines.h"
#include "fed/factors.h"

namespace fedalt {
namespace {

constexpr char kGlobal[] = "global";
constexpr char kVelocity[] = "velocity";

class Fedit : public AveragingMethod {
 public:
  using AveragingMethod::AveragingMethod;

  bool allows_ranks() const override { return true; }
  Kept kept() const override { return {.adapter_sizes = options_.server.is_plain_mean() ? 0 : 2}; }

  void PreparePass(int64_t round, int64_t pass, Site& site, TrainOptions& train) const override {
    Method::PreparePass(round, pass, site, train);
    // The server's step starts from what the round started from.
    if (!options_.server.is_plain_mean()) site.SetState(kGlobal, Contribution(round, site));
  }

  at::Tensor Contribution(int64_t round, const Site& site) const override {
    if (options_.site_ranks.empty()) return AveragingMethod::Contribution(round, site);
    std::vector<LoraFactors> padded;
    const AdapterConfig& adapter = site.adapters.config();
    for (const LoraFactors& factors : SplitFactors(Flatten(site.adapters.Individual()), site.adapters.modules()))
      padded.push_back(WithRank(factors, LargestRank(options_, adapter)));
    return JoinFactors(padded).to(site.adapters.Individual().front().second.scalar_type());
  }

  Status Receive(const Published& published, Site& site) const override {
    FEDALT_CHECK(published.total_weight > 0.0, "a cohort is never empty");
    at::Tensor theta = Divided(published.values, published.total_weight);
    if (!options_.server.is_plain_mean()) theta = ServerStep(published.round, theta, site);
    std::vector<LoraFactors> renewed = SplitFactors(theta, site.adapters.modules());
    for (LoraFactors& factors : renewed) factors = WithRank(factors, site.adapters.config().r);
    return site.adapters.SetIndividual(Unflatten(JoinFactors(renewed), site.adapters.Individual()));
  }

 private:
  at::Tensor ServerStep(int64_t round, const at::Tensor& mean, Site& site) const {
    const at::Tensor known = site.State(kGlobal), velocity = site.State(kVelocity);
    const at::Tensor before = (known.defined() ? known : Contribution(round, site)).to(at::kDouble);
    at::Tensor v = before - mean.to(at::kDouble);
    if (velocity.defined()) v = v + velocity.to(at::kDouble) * options_.server.momentum;
    at::Tensor theta = (before - v * options_.server.lr).to(mean.scalar_type());
    site.SetState(kVelocity, v.to(mean.scalar_type()));
    site.SetState(kGlobal, theta);
    return theta;
  }
};

class FeditFt : public Fedit {
 public:
  using Fedit::Fedit;
  bool ExchangesIn(int64_t round, int64_t rounds) const override { return round < rounds; }
  Deploy deploy() const override { return Deploy::kTrainedTogether; }
};

}  // namespace

std::unique_ptr<Method> MakeFedit(const MethodOptions& options) {
  return std::make_unique<Fedit>(options);
}
std::unique_ptr<Method> MakeFeditFt(const MethodOptions& options) {
  return std::make_unique<FeditFt>(options);
}

}  // namespace fedalt
