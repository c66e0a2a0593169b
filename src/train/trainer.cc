#include "train/trainer.h"

#include <absl/strings/strip.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "train/adamw.h"
#include "train/library_errors.h"
#include "train/response_loss.h"

namespace fedalt {
namespace {

/// What a pass trains, in the order of SiteAdapters: individual (A, B), then mixer.
NamedTensors TrainedTensors(SiteAdapters& adapters, const TrainOptions& options) {
  NamedTensors trained;
  const bool train_a = options.train_a && !adapters.config().freeze_a;
  const NamedTensors individual = adapters.Individual();  // A, B, A, B, ...
  for (size_t i = 0; i < individual.size(); ++i)
    if (i % 2 == 0 ? train_a : options.train_b) trained.push_back(individual[i]);
  if (options.train_mixer && adapters.mode().mixer_active)
    for (auto& entry : adapters.Mixer()) trained.push_back(std::move(entry));
  return trained;
}

/// Tensors require gradients only while a pass runs, so that evaluation and generation never build a graph.
class GradientScope {
 public:
  explicit GradientScope(const NamedTensors& tensors) {
    for (const auto& [name, tensor] : tensors) tensors_.push_back(tensor.requires_grad_());
  }
  ~GradientScope() {
    for (const at::Tensor& tensor : tensors_) tensor.requires_grad_(false);
  }
  GradientScope(const GradientScope&) = delete;
  GradientScope& operator=(const GradientScope&) = delete;
  std::vector<at::Tensor>& tensors() { return tensors_; }

 private:
  std::vector<at::Tensor> tensors_;
};

/// A state that was loaded lies on the CPU.
Status PrepareState(const NamedTensors& trained, TrainState& state) {
  if (state.names.empty() && state.first_moments.empty()) {
    for (const auto& [name, tensor] : trained) {
      state.names.push_back(name);
      state.first_moments.push_back(at::zeros_like(tensor));
      state.second_moments.push_back(at::zeros_like(tensor));
    }
    return absl::OkStatus();
  }
  bool fits = state.names.size() == trained.size() && state.first_moments.size() == trained.size() &&
              state.second_moments.size() == trained.size();
  for (size_t i = 0; fits && i < trained.size(); ++i)
    fits = state.names[i] == trained[i].first && state.first_moments[i].sizes() == trained[i].second.sizes() &&
           state.second_moments[i].sizes() == trained[i].second.sizes();
  if (!fits)
    return ModelError(
        absl::StrFormat("optimizer state: it holds moments of %d tensors, this pass trains %d others; start the pass with "
                        "an empty state or keep adapter and mixer options as they were",
                        state.names.size(), trained.size()));
  for (size_t i = 0; i < trained.size(); ++i)
    for (at::Tensor* moment : {&state.first_moments[i], &state.second_moments[i]}) *moment = moment->to(trained[i].second.device());
  return absl::OkStatus();
}

struct Pass {
  const Transformer& model;
  SiteAdapters& adapters;
  const std::vector<TokenizedExample>& examples;
  const TrainOptions& options;
  const PassKey& key;
  std::vector<std::vector<int64_t>> batches;  // accumulate of them per step
  int64_t steps = 0;
};

PackedBatch Pack(const Pass& pass, const std::vector<int64_t>& indices) {
  std::vector<const TokenizedExample*> members;
  members.reserve(indices.size());
  for (int64_t index : indices) members.push_back(&pass.examples[static_cast<size_t>(index)]);
  return PackExamples(members);
}

Status NotFinite(std::string_view what, double value, int64_t step, int64_t steps) {
  return TrainingError(
      absl::StrFormat("step %d of %d: the %s is %g; lower train.lr, or train with dtype float32, and check the examples", step + 1,
                      steps, what, value));
}

/// Forward and backward of one optimizer step; fills `gradients` and returns the mean loss.
StatusOr<double> StepGradients(const Pass& pass, int64_t step, const std::vector<at::Tensor>& parameters,
                               std::vector<at::Tensor>& gradients, TrainReport& report) {
  const size_t begin = static_cast<size_t>(step * pass.options.accumulate);
  const size_t end = std::min(pass.batches.size(), begin + static_cast<size_t>(pass.options.accumulate));
  std::vector<PackedBatch> batches;
  int64_t response_tokens = 0;
  for (size_t i = begin; i < end; ++i) {
    batches.push_back(Pack(pass, pass.batches[i]));
    response_tokens += static_cast<int64_t>(batches.back().targets.size());
    report.tokens += static_cast<int64_t>(batches.back().tokens.size());
  }
  FEDALT_CHECK(response_tokens > 0, "tokenizing keeps at least one response token per example");
  report.response_tokens += response_tokens;
  const RandomStream stream(pass.key.seed, RandomPurpose::kDropout, {pass.key.site, pass.key.round, static_cast<uint64_t>(step)});
  double sum = 0.0;
  for (const PackedBatch& batch : batches) {
    const TokenRows rows = RowsOf(batch);
    ForwardContext context;
    context.extensions = &pass.adapters.extensions();
    context.rows = &rows;
    context.dropout_key = stream.key();
    sum += ForwardBackward(pass.model, batch, context, static_cast<double>(response_tokens), parameters, gradients).sum;
  }
  const double loss = sum / static_cast<double>(response_tokens);
  if (!std::isfinite(loss)) return NotFinite("loss", loss, step, pass.steps);
  report.mean_loss += sum;
  return loss;
}

void UpdateParameters(const Pass& pass, int64_t step, double clip_factor, std::vector<at::Tensor>& parameters,
                      const std::vector<at::Tensor>& gradients, TrainState& state) {
  const at::NoGradGuard no_grad;
  const TrainOptions& options = pass.options;
  AdamwStep adamw;
  adamw.lr = options.lr;
  if (options.linear_decay) adamw.lr *= static_cast<double>(pass.steps - step) / static_cast<double>(pass.steps);
  adamw.weight_decay = options.weight_decay;
  adamw.beta1 = options.beta1;
  adamw.beta2 = options.beta2;
  adamw.eps = options.eps;
  adamw.step = ++state.step;
  adamw.gradient_factor = clip_factor;
  for (size_t i = 0; i < parameters.size(); ++i) {
    ApplyAdamw(adamw, parameters[i], gradients[i], state.first_moments[i], state.second_moments[i]);
    parameters[i].unsafeGetTensorImpl()->bump_version();  // it was written past autograd's eyes
  }
}

Status RunSteps(const Pass& pass, std::vector<at::Tensor>& parameters, TrainState& state, const StepCallback& on_step,
                TrainReport& report) {
  for (int64_t step = 0; step < pass.steps; ++step) {
    std::vector<at::Tensor> gradients;
    ASSIGN_OR_RETURN(const double loss, StepGradients(pass, step, parameters, gradients, report));
    const double norm = GlobalNorm(gradients);
    if (!std::isfinite(norm)) return NotFinite("norm of the gradient", norm, step, pass.steps);
    UpdateParameters(pass, step, ClipFactor(norm, pass.options.max_grad_norm), parameters, gradients, state);
    report.step_losses.push_back(loss);
    ++report.steps;
    if (on_step && !on_step(step + 1, pass.steps, loss))
      return InterruptedError(absl::StrFormat("training was stopped after step %d of %d", step + 1, pass.steps));
  }
  return absl::OkStatus();
}

Status CheckOptions(const std::vector<TokenizedExample>& examples, const TrainOptions& options) {
  if (examples.empty()) return DataError("training: there are no examples; give the site at least one");
  if (options.batch_size < 1 || options.accumulate < 1 || (options.steps < 1 && options.local_epochs < 1))
    return ConfigError(
        absl::StrFormat("train: batch_size %d, accumulate %d, local_epochs %d and steps %d; each must be at least 1 (steps "
                        "0 means local_epochs)",
                        options.batch_size, options.accumulate, options.local_epochs, options.steps));
  return absl::OkStatus();
}

}  // namespace

NamedTensors NamedTrainState(const SiteAdapters&, const TrainState& state) {
  NamedTensors out;
  out.emplace_back("step", at::full({1}, state.step, at::kLong));
  for (size_t i = 0; i < state.names.size(); ++i) {
    out.emplace_back(state.names[i] + ".first_moment", state.first_moments[i]);
    out.emplace_back(state.names[i] + ".second_moment", state.second_moments[i]);
  }
  return out;
}

StatusOr<TrainState> TrainStateFromNamed(const NamedTensors& tensors) {
  const auto broken = [](std::string_view what) {
    return ModelError(absl::StrCat("optimizer state: ", std::string(what), "; the file is not one that training wrote"));
  };
  if (tensors.size() % 2 == 0 || tensors[0].first != "step" || tensors[0].second.numel() != 1 ||
      tensors[0].second.scalar_type() != at::kLong)
    return broken("\"step\" with two moments per tensor is expected");
  TrainState state;
  state.step = tensors[0].second.item<int64_t>();
  if (state.step < 0) return broken("the step is negative");
  for (size_t i = 1; i < tensors.size(); i += 2) {
    const auto& [first_name, first] = tensors[i];
    const auto& [second_name, second] = tensors[i + 1];
    absl::string_view name = first_name;
    if (!absl::ConsumeSuffix(&name, ".first_moment") || second_name != absl::StrCat(name, ".second_moment"))
      return broken(absl::StrCat("\"", first_name, "\" is followed by \"", second_name, "\""));
    if (first.sizes() != second.sizes()) return broken(absl::StrCat("the moments of \"", name, "\" differ in shape"));
    state.names.emplace_back(name);
    state.first_moments.push_back(first.clone());
    state.second_moments.push_back(second.clone());
  }
  return state;
}

StatusOr<TrainReport> TrainLocalPass(const Transformer& model, SiteAdapters& adapters,
                                     const std::vector<TokenizedExample>& examples, const TrainOptions& options, const PassKey& key,
                                     TrainState& state, const StepCallback& on_step) {
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(CheckOptions(examples, options));
  const NamedTensors trained = TrainedTensors(adapters, options);
  if (trained.empty()) return ConfigError("training: neither the individual adapter nor a mixer is to be trained; switch one on");
  RETURN_IF_ERROR(PrepareState(trained, state));

  BatchPlan plan{key.seed, key.site, key.round, options.local_epochs, options.steps * options.accumulate, options.batch_size};
  Pass pass{model, adapters, examples, options, key, PlanBatches(static_cast<int64_t>(examples.size()), plan)};
  pass.steps = (static_cast<int64_t>(pass.batches.size()) + options.accumulate - 1) / options.accumulate;

  TrainReport report;
  const Status status = CatchLibraryErrors("training", [&] {
    const at::AutoGradMode with_gradients(true);
    GradientScope scope(trained);
    return RunSteps(pass, scope.tensors(), state, on_step, report);
  });
  RETURN_IF_ERROR(status);
  report.mean_loss /= static_cast<double>(report.response_tokens);
  report.first_loss = report.step_losses.front();
  report.last_loss = report.step_losses.back();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace fedalt
