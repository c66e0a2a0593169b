// feddpa: Dual-Personalizing Adapter (Yang et al., "Dual-Personalizing Adapter for Federated Foundation Models", NeurIPS 2024,
// arXiv 2403.19211). A site has a global adapter, which is averaged as in fedit, and a local one, which never leaves it:
//
//   y = W0 x + s ( a B_L A_L x + (1 - a) B_G A_G x )
//
// A round trains the global adapter by itself, then the local one with the global one frozen; each gets half of the steps, so that
// the round costs what it costs with every method. a is 0.5 (or another constant) in training and at inference, or 0.5 in training
// and at inference instance-wise
//
//   a(x) = w mean_j cos(h(x), h(x_j)),   clipped to [0, 1],
//
// h: the last hidden state of the prompt's last token under the local adapter alone, x_j: samples of the site's training data, w =
// 0.5 in the authors' program. Open there and chosen here: the samples are drawn once per site (theirs: anew for each input, which
// would make an answer depend on a draw), and a negative mean counts as 0.
#include <algorithm>
#include <utility>

#include "base/random.h"
#include "fed/averaging.h"
#include "fed/baselines.h"

namespace fedalt {
namespace {

constexpr char kAnchors[] = "anchors";  // h(x_j), (samples, d)

/// (prompts, d): the hidden state of each prompt's last token.
at::Tensor LastHidden(const Transformer& model, const std::vector<std::vector<int32_t>>& prompts, const Site& site) {
  const at::NoGradGuard no_grad;
  ForwardContext context;
  context.extensions = &site.adapters.extensions();
  std::vector<at::Tensor> rows;
  for (const std::vector<int32_t>& prompt : prompts) {
    const auto length = static_cast<int64_t>(prompt.size());
    PackedTokens tokens;
    tokens.token_ids_t = at::tensor(std::vector<int64_t>(prompt.begin(), prompt.end()), at::kLong);
    tokens.offsets = {0, length};
    const std::vector<int64_t> last = {length - 1};
    tokens.wanted_rows = &last;
    rows.push_back(model.Hidden(tokens, context).to(at::kCPU, at::kFloat));
  }
  return at::cat(rows, 0);
}

class Feddpa : public AveragingMethod {
 public:
  using AveragingMethod::AveragingMethod;

  bool has_rest_of_world() const override { return true; }
  BranchMode branches() const override { return BranchMode::kBoth; }

  void Configure(AdapterConfig& adapter) const override {
    Method::Configure(adapter);
    adapter.mixer = MixerKind::kFixed;
    adapter.fixed_p = options_.feddpa.instance_wise ? kTrainingWeight : options_.feddpa.weight;
  }

  Status Check(const FederationOptions& options) const override {
    if (options.keep_optimizer)
      return ConfigError(
          "feddpa trains two adapters in turn, and no optimizer state is kept; leave train.optimizer_state at restart");
    return Method::Check(options);
  }

  int64_t passes(int64_t) const override { return 2; }

  void PreparePass(int64_t round, int64_t pass, Site& site, TrainOptions& train) const override {
    Method::PreparePass(round, pass, site, train);
    const int64_t global_steps = (train.steps + 1) / 2;
    train.steps = pass == kGlobalPass ? global_steps : train.steps - global_steps;
    if (pass != kGlobalPass) return;
    site.adapters.SwapBranches();
    site.adapters.mode().branches = BranchMode::kIndividualAlone;
  }

  void FinishPass(int64_t, int64_t pass, Site& site) const override {
    if (pass != kGlobalPass) return;
    site.adapters.SwapBranches();
    site.adapters.mode().branches = branches();
  }

  Status FinishTraining(int64_t, const Transformer& model, const SiteData& data, Site& site) const override {
    if (!options_.feddpa.instance_wise) return absl::OkStatus();
    const auto examples = static_cast<int64_t>(data.train.size());
    const RandomStream stream(site.start.seed, RandomPurpose::kFewShots, {site.address});
    std::vector<int64_t> drawn = stream.Permutation(examples);
    drawn.resize(static_cast<size_t>(std::min(options_.feddpa.samples, examples)));
    std::vector<std::vector<int32_t>> prompts;
    for (const int64_t i : drawn) {
      const TokenizedExample& example = data.train[static_cast<size_t>(i)];
      prompts.emplace_back(example.tokens.begin(), example.tokens.begin() + example.response_begin);
    }
    site.SetState(kAnchors, Alone(model, prompts, site));
    return absl::OkStatus();
  }

  at::Tensor Contribution(int64_t, const Site& site) const override { return Flatten(site.adapters.RestOfWorld()); }

  Status Receive(const Published& published, Site& site) const override {
    const at::Tensor mean = Divided(published.values, published.total_weight);
    return site.adapters.SetRestOfWorld(Unflatten(mean, site.adapters.RestOfWorld()));
  }

  StatusOr<std::vector<double>> InstanceWeights(const Transformer& model, const std::vector<std::vector<int32_t>>& prompts,
                                                Site& site) const override {
    const at::Tensor anchors = site.State(kAnchors);
    if (!options_.feddpa.instance_wise || !anchors.defined()) return std::vector<double>{};
    const at::Tensor weights = FeddpaWeights(Alone(model, prompts, site), anchors, options_.feddpa.weight);
    return std::vector<double>(weights.data_ptr<double>(), weights.data_ptr<double>() + weights.numel());
  }

 private:
  static constexpr int64_t kGlobalPass = 0;
  static constexpr double kTrainingWeight = 0.5;

  /// LastHidden under the local adapter alone.
  static at::Tensor Alone(const Transformer& model, const std::vector<std::vector<int32_t>>& prompts, Site& site) {
    const BranchMode before = std::exchange(site.adapters.mode().branches, BranchMode::kIndividualAlone);
    at::Tensor hidden = LastHidden(model, prompts, site);
    site.adapters.mode().branches = before;
    return hidden;
  }
};

}  // namespace

at::Tensor FeddpaWeights(const at::Tensor& hidden_nd, const at::Tensor& anchors_sd, double weight) {
  const auto unit = [](const at::Tensor& rows) {
    const at::Tensor r = rows.to(at::kDouble);
    return r / r.norm(2, 1, /*keepdim=*/true).clamp_min(1e-300);
  };
  return (at::mm(unit(hidden_nd), unit(anchors_sd).t()).mean(1) * weight).clamp(0.0, 1.0).contiguous();
}

std::unique_ptr<Method> MakeFeddpa(const MethodOptions& options) {
  return std::make_unique<Feddpa>(options);
}

}  // namespace fedalt
