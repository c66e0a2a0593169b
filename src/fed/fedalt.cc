#include "fed/fedalt.h"

#include <ATen/Parallel.h>

#include <utility>

#include "base/check.h"

namespace fedalt {

std::vector<float> RestOfWorld(const PublishedSum& sum, std::span<const float> own, double own_weight) {
  const std::vector<float>& s = *sum.values;
  std::vector<float> others(s.size(), 0.0f);
  const double weight = own.empty() ? sum.total_weight : sum.total_weight - own_weight;
  const int64_t count = sum.contributors - (own.empty() ? 0 : 1);
  if (count <= 0 || !(weight > 0.0)) return others;
  FEDALT_CHECK(own.empty() || own.size() == s.size(), "a site subtracts exactly what it sent");
  constexpr int64_t kGrain = 1 << 15;  // values that are worth a thread
  at::parallel_for(0, static_cast<int64_t>(s.size()), kGrain, [&](int64_t begin, int64_t end) {
    const auto first = static_cast<size_t>(begin), last = static_cast<size_t>(end);
    if (own.empty())
      for (size_t i = first; i < last; ++i) others[i] = static_cast<float>(static_cast<double>(s[i]) / weight);
    else
      for (size_t i = first; i < last; ++i)
        others[i] = static_cast<float>((static_cast<double>(s[i]) - own_weight * static_cast<double>(own[i])) / weight);
  });
  return others;
}

namespace {

class Fedalt : public Method {
 public:
  using Method::Method;

  TransportNeed needs() const override { return TransportNeed::kSum; }
  LedgerPolicy ledger_policy() const override { return LedgerPolicy::kKeepAbsent; }
  bool has_rest_of_world() const override { return true; }
  bool init_shared_a() const override { return options_.init_shared_a; }
  BranchMode branches() const override { return BranchMode::kBoth; }
  Deploy deploy() const override { return options_.deploy; }

  bool ExchangesIn(int64_t round, int64_t) const override { return round % options_.rest_of_world.every == 0; }

  void BeginRound(int64_t round, Site& site) const override {
    site.adapters.mode().branches = BranchMode::kBoth;
    site.adapters.mode().mixer_active = MixerActive(round);  // before: p = (0.5, 0.5)
  }

  void PrepareTraining(int64_t round, TrainOptions& train) const override {
    train.train_individual = true;
    train.train_mixer = MixerActive(round);
  }

  double Weight(const Site& site) const override {
    return options_.rest_of_world.weights == SiteWeights::kSamples ? static_cast<double>(site.info.train_examples) : 1.0;
  }

  std::vector<float> Contribution(const Site& site) const override { return Flatten(Exchanged(site, site.adapters.Individual())); }

  Status Receive(const PublishedSum& sum, Site& site) const override {
    const NamedTensors current = Exchanged(site, site.adapters.RestOfWorld());
    NamedTensors renewed = Unflatten(RestOfWorld(sum, site.sent.values, site.sent.weight), current);
    const double b = options_.rest_of_world.damping;
    if (b < 1.0)
      for (size_t i = 0; i < renewed.size(); ++i) renewed[i].second = renewed[i].second * b + current[i].second * (1.0 - b);
    return site.adapters.SetRestOfWorld(Completed(site, std::move(renewed)));
  }

 private:
  bool MixerActive(int64_t round) const { return round >= options_.mixer_start_round; }

  /// With one shared A that nobody trains, only the B travel: half the bytes, and the mean of the products is exact.
  bool OnlyB(const Site& site) const { return site.adapters.config().freeze_a && options_.init_shared_a; }

  NamedTensors Exchanged(const Site& site, const NamedTensors& factors) const {
    if (!OnlyB(site)) return factors;
    NamedTensors b;
    for (const auto& [name, tensor] : factors)
      if (IsB(name)) b.emplace_back(name, tensor);
    return b;
  }

  /// The rest-of-world adapter with the A that did not travel: it is everybody's own.
  NamedTensors Completed(const Site& site, NamedTensors exchanged) const {
    if (!OnlyB(site)) return exchanged;
    NamedTensors all = site.adapters.Individual();
    size_t next = 0;
    for (auto& [name, tensor] : all)
      if (IsB(name)) tensor = exchanged[next++].second;
    return all;
  }

  static bool IsB(const std::string& name) { return name.ends_with(".lora_B.weight"); }
};

}  // namespace

std::unique_ptr<Method> MakeFedalt(const MethodOptions& options) {
  return std::make_unique<Fedalt>(options);
}

}  // namespace fedalt
