#include "fed/fedalt.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "fed/averaging.h"
#include "fed/factors.h"
#include "fed/rest_of_world.h"

namespace fedalt {

at::Tensor RestOfWorld(const Published& sum, const LedgerEntry& own) {
  at::Tensor others = at::zeros_like(sum.values);
  const bool is_in = own.values.defined();
  const double weight = is_in ? sum.total_weight - own.weight : sum.total_weight;
  const int64_t count = sum.contributors - (is_in ? 1 : 0);
  if (count <= 0 || !(weight > 0.0)) return others;
  FEDALT_CHECK(!is_in || own.values.sizes() == sum.values.sizes(), "a site subtracts exactly what it sent");
  constexpr int64_t kGrain = 1 << 15;  // values that are worth a thread
  AT_DISPATCH_FLOATING_TYPES(sum.values.scalar_type(), "rest_of_world", [&] {
    const scalar_t* const s = sum.values.data_ptr<scalar_t>();
    const scalar_t* const mine = is_in ? own.values.data_ptr<scalar_t>() : nullptr;
    scalar_t* const out = others.data_ptr<scalar_t>();
    at::parallel_for(0, sum.values.numel(), kGrain, [&](int64_t begin, int64_t end) {
      if (mine == nullptr)
        for (int64_t i = begin; i < end; ++i) out[i] = static_cast<scalar_t>(static_cast<double>(s[i]) / weight);
      else
        for (int64_t i = begin; i < end; ++i)
          out[i] = static_cast<scalar_t>((static_cast<double>(s[i]) - own.weight * static_cast<double>(mine[i])) / weight);
    });
  });
  return others;
}

namespace {

class Fedalt : public Method {
 public:
  using Method::Method;

  TransportNeed needs() const override {
    if (rest_of_world().aggregate == RestOfWorldAggregate::kOff) return TransportNeed::kNothing;
    return NeedsServer(rest_of_world()) ? TransportNeed::kPerSiteDownloads : TransportNeed::kSum;
  }
  LedgerPolicy ledger_policy() const override { return LedgerPolicy::kKeepAbsent; }
  bool has_rest_of_world() const override { return true; }
  bool init_shared_a() const override { return options_.init_shared_a; }
  BranchMode branches() const override { return BranchMode::kBoth; }
  Deploy deploy() const override { return options_.deploy; }
  void Configure(AdapterConfig&) const override {}  // the layers are as configured

  Status Check(const FederationOptions& options) const override;

  bool ExchangesIn(int64_t round, int64_t rounds) const override {
    return Method::ExchangesIn(round, rounds) && round % rest_of_world().every == 0;
  }

  /// With one shared A the rest of the world starts from it too (B is zero), so that damping mixes like with like.
  Status Start(Site& site) const override {
    return init_shared_a() ? site.adapters.SetRestOfWorld(site.adapters.Individual()) : absl::OkStatus();
  }

  void BeginRound(int64_t round, Site& site) const override {
    site.adapters.mode().branches = BranchMode::kBoth;
    site.adapters.mode().mixer_active = MixerActive(round);  // before: p = (0.5, 0.5)
  }

  /// A mixer that learns from held-out examples has a pass of its own, behind that of the individual adapter.
  int64_t passes(int64_t round) const override { return options_.mixer_held_out && MixerActive(round) ? 2 : 1; }

  void PreparePass(int64_t round, int64_t pass, Site&, TrainOptions& train) const override {
    train.train_mixer = MixerActive(round);
    if (passes(round) == 1) return;
    const bool of_mixer = pass == 1;
    train.train_a = train.train_b = !of_mixer;
    train.train_mixer = of_mixer;
    const auto share = std::llround(options_.held_out_share * static_cast<double>(train.steps));
    const int64_t mixer_steps = std::min<int64_t>(std::max<int64_t>(share, 1), train.steps - 1);  // the adapter learns in any case
    train.steps = of_mixer ? mixer_steps : train.steps - mixer_steps;
  }

  std::optional<std::vector<TokenizedExample>> ExamplesOf(int64_t, int64_t pass,
                                                          const std::vector<TokenizedExample>& all) const override {
    if (!options_.mixer_held_out || all.size() < 2) return std::nullopt;  // one example cannot be split
    std::vector<TokenizedExample> part;
    for (size_t i = 0; i < all.size(); ++i)
      if (IsHeldOut(i, all.size()) == (pass == 1)) part.push_back(all[i]);
    return part;
  }

  double Weight(int64_t train_examples) const override {
    return rest_of_world().weights == SiteWeights::kSamples ? static_cast<double>(train_examples) : 1.0;
  }

  at::Tensor Contribution(int64_t, const Site& site) const override { return Flatten(Exchanged(site, site.adapters.Individual())); }

  std::function<at::Tensor(int64_t)> Aggregator(const RoundUploads& round) const override {
    return RestOfWorldAtServer(round, rest_of_world());
  }

  /// The rank of products is free, that of factors is the sites'.
  bool Fits(const Published& published, const Site& site) const override {
    if (rest_of_world().aggregate == RestOfWorldAggregate::kFactors) return Method::Fits(published, site);
    return AreFactors(published.values.numel(), site.adapters.modules());
  }

  Status Receive(const Published& published, Site& site) const override {
    const NamedTensors current = Exchanged(site, site.adapters.RestOfWorld());
    if (rest_of_world().aggregate != RestOfWorldAggregate::kFactors) return ReceiveProducts(published, site);
    at::Tensor renewed = NeedsServer(rest_of_world())   ? published.values
                         : rest_of_world().include_self ? Divided(published.values, published.total_weight)
                                                        : RestOfWorld(published, site.sent);
    const double b = rest_of_world().damping;
    if (b < 1.0) renewed = (renewed.to(at::kDouble) * b + Flatten(current).to(at::kDouble) * (1.0 - b)).to(renewed.scalar_type());
    return site.adapters.SetRestOfWorld(Completed(site, Unflatten(renewed, current)));
  }

 private:
  const RestOfWorldOptions& rest_of_world() const { return options_.rest_of_world; }
  bool MixerActive(int64_t round) const { return round >= options_.mixer_start_round; }

  /// Evenly spread, at least one and not all.
  bool IsHeldOut(size_t i, size_t all) const {
    const double n = static_cast<double>(all), share = std::clamp(options_.held_out_share, 1.0 / n, 1.0 - 1.0 / n);
    return std::floor(static_cast<double>(i + 1) * share + 1e-9) > std::floor(static_cast<double>(i) * share + 1e-9);
  }

  /// A rest of world that was made of products, of any rank. Products are damped, too, because the factors of two decompositions
  /// have no common basis.
  Status ReceiveProducts(const Published& published, Site& site) const {
    const std::vector<AdaptedModule>& modules = site.adapters.modules();
    std::vector<LoraFactors> renewed = SplitFactors(published.values, modules);
    if (rest_of_world().damping < 1.0) {
      const std::vector<LoraFactors> current = SplitFactors(Flatten(site.adapters.RestOfWorld()), modules);
      for (size_t i = 0; i < renewed.size(); ++i)
        renewed[i] = ProductSum({renewed[i], current[i]})
                         .Best({rest_of_world().damping, 1.0 - rest_of_world().damping}, site.adapters.config().r);
    }
    return site.adapters.SetRestOfWorld(NamedFactors(renewed, modules));
  }

  /// With one shared A that nobody trains, only the B travel: half the bytes, and the mean of the products is exact.
  bool SendsOnlyB(const Site& site) const {
    return site.adapters.config().freeze_a && options_.init_shared_a && !NeedsFactors(rest_of_world());
  }

  NamedTensors Exchanged(const Site& site, const NamedTensors& factors) const {
    if (!SendsOnlyB(site)) return factors;
    NamedTensors b;
    for (const auto& [name, tensor] : factors)
      if (!IsA(name)) b.emplace_back(name, tensor);
    return b;
  }

  /// The rest-of-world adapter with the A that did not travel: it is everybody's own.
  NamedTensors Completed(const Site& site, NamedTensors exchanged) const {
    if (!SendsOnlyB(site)) return exchanged;
    NamedTensors all = site.adapters.Individual();
    size_t next = 0;
    for (auto& [name, tensor] : all)
      if (!IsA(name)) tensor = exchanged[next++].second;
    return all;
  }
};

Status Fedalt::Check(const FederationOptions& options) const {
  const MixerKind mixer = options.adapter.mixer;
  if (options_.mixer_held_out && mixer != MixerKind::kToken && mixer != MixerKind::kLayer)
    return ConfigError("mixer_train: held_out needs a mixer that is trained; set mixer to token or layer");
  if (options_.mixer_held_out && options.keep_optimizer)
    return ConfigError(
        "mixer_train: held_out trains adapter and mixer in turn, and no optimizer state is kept; leave train.optimizer_state at "
        "restart");
  if (rest_of_world().aggregate == RestOfWorldAggregate::kExact && rest_of_world().damping < 1.0)
    return ConfigError(
        "rest_of_world.aggregate: exact has no room for what was there before; set rest_of_world.damping to 1, or aggregate to "
        "svd");
  return Method::Check(options);
}

}  // namespace

std::unique_ptr<Method> MakeFedalt(const MethodOptions& options) {
  return std::make_unique<Fedalt>(options);
}

}  // namespace fedalt
