// fdlora: FDLoRA (Qi et al., "FDLoRA: Personalized Federated Learning of Large Language Model via Dual LoRA Tuning", arXiv
// 2406.07925). A site has a personal adapter and a global one.
//
//   round 1           the personal adapter is trained; the global one starts as the mean of all personal ones
//   round t           the global adapter is trained at each site; every H rounds the personal one becomes the site's copy of it
//   server            Nesterov on the mean delta: g = theta - mean, v <- mu v + g, theta <- theta - eta (g + mu v)
//   use               A = w_1 A_P + w_2 A_G, B = w_1 B_P + w_2 B_G; the two weights found on a few training examples
//
// Means are uniform, as published; every site takes the server's step by itself. Open in the paper and chosen here, as LoRAHub
// (arXiv 2307.13269), its model for the fusion, has it: the search minimises mean loss + lambda mean |w| within +-1.5 without
// gradients; here by a pattern search from (0.5, 0.5). It fuses the pair that the site trained, before the last outer step. Rounds
// are counted from the first of the run, also for H. A site that is absent from round 1 has no personal adapter until H rounds are
// over.
#include <array>
#include <cmath>
#include <utility>

#include "base/random.h"
#include "fed/averaging.h"
#include "fed/baselines.h"
#include "fed/finite.h"
#include "train/evaluate.h"

namespace fedalt {
namespace {

constexpr char kGlobal[] = "global";      // theta as it was received
constexpr char kVelocity[] = "velocity";  // v
constexpr char kFusion[] = "fusion";      // (w_1, w_2)

using Weights = std::array<double, 2>;

/// w_1 personal + w_2 global, factor by factor.
NamedTensors Fused(const NamedTensors& personal, const NamedTensors& global, const Weights& w) {
  NamedTensors fused;
  for (size_t i = 0; i < personal.size(); ++i)
    fused.emplace_back(personal[i].first, personal[i].second * w[0] + global[i].second * w[1]);
  return fused;
}

class Fdlora : public AveragingMethod {
 public:
  using AveragingMethod::AveragingMethod;

  bool has_rest_of_world() const override { return true; }
  Deploy deploy() const override { return Deploy::kTrainedTogether; }
  double Weight(int64_t) const override { return 1.0; }
  Kept kept() const override { return {.adapter_sizes = 2}; }

  Status Check(const FederationOptions& options) const override {
    if (options.keep_optimizer)
      return ConfigError(
          "fdlora changes the adapter that it trains, and no optimizer state is kept; leave train.optimizer_state at restart");
    return Method::Check(options);
  }

  void PreparePass(int64_t round, int64_t pass, Site& site, TrainOptions& train) const override {
    Method::PreparePass(round, pass, site, train);
    if (round == 1) return;
    site.SetState(kGlobal, Flatten(site.adapters.RestOfWorld()));
    site.adapters.SwapBranches();
  }

  void FinishPass(int64_t round, int64_t, Site& site) const override {
    if (round == 1) return;
    site.adapters.SwapBranches();
  }

  Status FinishTraining(int64_t round, const Transformer& model, const SiteData& data, Site& site) const override {
    if (round == 1) return absl::OkStatus();
    if (round % options_.fdlora.sync_every == 0) RETURN_IF_ERROR(site.adapters.SetIndividual(Copies(site.adapters.RestOfWorld())));
    return SearchFusion(model, data, site);
  }

  at::Tensor Contribution(int64_t round, const Site& site) const override {
    return Flatten(round == 1 ? site.adapters.Individual() : site.adapters.RestOfWorld());
  }

  Status Receive(const Published& published, Site& site) const override {
    const at::Tensor mean = Divided(published.values, published.total_weight);
    const at::Tensor before = site.State(kGlobal);
    if (published.round == 1) return site.adapters.SetRestOfWorld(Unflatten(mean, site.adapters.RestOfWorld()));
    const at::Tensor theta = (before.defined() ? before : Flatten(site.adapters.RestOfWorld())).to(at::kDouble);
    const at::Tensor g = theta - mean.to(at::kDouble), velocity = site.State(kVelocity);
    const double mu = options_.fdlora.outer_momentum;
    const at::Tensor v = velocity.defined() ? velocity.to(at::kDouble) * mu + g : g;
    const at::Tensor stepped = (theta - (g + v * mu) * options_.fdlora.outer_lr).to(mean.scalar_type());
    site.SetState(kVelocity, v.to(mean.scalar_type()));
    site.SetState(kGlobal, stepped);  // also where the site was absent
    return site.adapters.SetRestOfWorld(Unflatten(stepped, site.adapters.RestOfWorld()));
  }

  Status PrepareUse(Site& site) const override {
    const at::Tensor fusion = site.State(kFusion);
    if (!fusion.defined()) return absl::OkStatus();  // round 1: the personal adapter
    const Weights w = {fusion[0].item<double>(), fusion[1].item<double>()};
    return site.adapters.SetIndividual(Fused(site.adapters.Individual(), site.adapters.RestOfWorld(), w));
  }

 private:
  static NamedTensors Copies(const NamedTensors& tensors) {
    NamedTensors copies;
    for (const auto& [name, tensor] : tensors) copies.emplace_back(name, tensor.clone());
    return copies;
  }

  Status SearchFusion(const Transformer& model, const SiteData& data, Site& site) const {
    std::vector<TokenizedExample> shots;
    const RandomStream stream(site.start.seed, RandomPurpose::kFewShots, {site.address});
    for (const int64_t i : stream.Permutation(static_cast<int64_t>(data.train.size()))) {
      if (static_cast<int64_t>(shots.size()) == options_.fdlora.shots) break;
      shots.push_back(data.train[static_cast<size_t>(i)]);
    }
    const NamedTensors personal = Copies(site.adapters.Individual()), global = Copies(site.adapters.RestOfWorld());
    ForwardContext context;
    context.extensions = &site.adapters.extensions();
    const auto objective = [&](const Weights& w) -> StatusOr<double> {
      RETURN_IF_ERROR(site.adapters.SetIndividual(Fused(personal, global, w)));
      ASSIGN_OR_RETURN(const double loss, MeanLoss(model, shots, static_cast<int64_t>(shots.size()), context));
      return loss + options_.fdlora.penalty * (std::abs(w[0]) + std::abs(w[1])) / 2.0;
    };
    const StatusOr<Weights> best = PatternSearch(objective);
    RETURN_IF_ERROR(site.adapters.SetIndividual(personal));
    if (!best.ok()) return best.status();
    site.SetState(kFusion, at::tensor(std::vector<double>{(*best)[0], (*best)[1]}, at::kDouble).to(at::kFloat));
    return absl::OkStatus();
  }

  /// Steps along the axes, halved when none helps (Hooke and Jeeves 1961).
  template <typename Objective>
  static StatusOr<Weights> PatternSearch(const Objective& objective) {
    constexpr double kBound = 1.5, kFirstStep = 0.5, kLastStep = 0.1;
    Weights at = {0.5, 0.5};
    ASSIGN_OR_RETURN(double best, objective(at));
    for (double step = kFirstStep; step >= kLastStep;) {
      bool moved = false;
      for (const auto& [axis, sign] : {std::pair<size_t, double>{0, 1.0}, {0, -1.0}, {1, 1.0}, {1, -1.0}}) {
        Weights next = at;
        next[axis] += sign * step;
        if (std::abs(next[axis]) > kBound) continue;
        ASSIGN_OR_RETURN(const double value, objective(next));
        if (!IsBetterLoss(value, best)) continue;
        best = value;
        at = next;
        moved = true;
        break;
      }
      if (!moved) step /= 2.0;
    }
    return at;
  }
};

}  // namespace

std::unique_ptr<Method> MakeFdlora(const MethodOptions& options) {
  return std::make_unique<Fdlora>(options);
}

}  // namespace fedalt
