// fedit: FedAvg over LoRA factors (Zhang et al., "Towards Building the Federated GPT: Federated Instruction Tuning", ICASSP 2024,
// arXiv 2305.05644). One global adapter:   A <- sum p_k A_k,  B <- sum p_k B_k,  p_k = n_k / sum n; every site starts the next
// round from it.
//
// fedit_ft: the same, but the last round is not averaged: each site keeps what it trained from the last global adapter. It takes
// the same number of optimizer steps, and makes fedit personal for free.
#include <utility>

#include "base/check.h"
#include "fed/baselines.h"

namespace fedalt {
namespace {

class Fedit : public Method {
 public:
  using Method::Method;

  TransportNeed needs() const override { return TransportNeed::kSum; }
  Deploy deploy() const override { return Deploy::kSwapped; }

  double Weight(const Site& site) const override {
    return options_.fedit_weights == SiteWeights::kSamples ? static_cast<double>(site.info.train_examples) : 1.0;
  }

  std::vector<float> Contribution(const Site& site) const override { return Flatten(site.adapters.Individual()); }

  Status Receive(const PublishedSum& sum, Site& site) const override {
    FEDALT_CHECK(sum.total_weight > 0.0, "a cohort is never empty");
    std::vector<float> mean(*sum.values);
    for (float& value : mean) value = static_cast<float>(static_cast<double>(value) / sum.total_weight);
    return site.adapters.SetIndividual(Unflatten(mean, site.adapters.Individual()));
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
