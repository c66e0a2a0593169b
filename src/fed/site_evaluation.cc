#include "fed/site_evaluation.h"

#include <cmath>
#include <utility>

namespace fedalt {
namespace {

/// Weights in steps of 1/64, as whole numbers of steps.
constexpr double kWeightSteps = 64.0;

/// Calls `work` for the examples of each weight, with that weight set; once with all of them where the method has no such weights.
Status ForEachWeight(const FederationInputs& inputs, const Method& method, Site& model_of,
                     const std::vector<TokenizedExample>& examples, const std::function<Status(const std::vector<size_t>&)>& work) {
  std::vector<std::vector<int32_t>> prompts;
  prompts.reserve(examples.size());
  for (const TokenizedExample& example : examples)
    prompts.emplace_back(example.tokens.begin(), example.tokens.begin() + example.response_begin);
  ASSIGN_OR_RETURN(const std::vector<double> weights, method.InstanceWeights(*inputs.model, prompts, model_of));
  std::map<int64_t, std::vector<size_t>> groups;
  for (size_t i = 0; i < examples.size(); ++i) groups[weights.empty() ? 0 : std::llround(weights[i] * kWeightSteps)].push_back(i);
  const double before = model_of.adapters.mode().fixed_p;
  Status status = absl::OkStatus();
  for (const auto& [steps, members] : groups) {
    if (!weights.empty()) model_of.adapters.mode().fixed_p = static_cast<double>(steps) / kWeightSteps;
    if (status = work(members); !status.ok()) break;
  }
  model_of.adapters.mode().fixed_p = before;
  return status;
}

StatusOr<EvalResult> ScoreTest(const FederationInputs& inputs, const Method& method, Site& model_of, const EvalSet& test,
                               const EvalOptions& options, const ForwardContext& context) {
  Measures all(test.examples.size());
  RETURN_IF_ERROR(ForEachWeight(inputs, method, model_of, test.tokenized, [&](const std::vector<size_t>& members) -> Status {
    const bool whole = members.size() == test.examples.size();
    ASSIGN_OR_RETURN(Measures part,
                     Measure(*inputs.model, inputs.tokenizer, whole ? test : SubsetOf(test, members), options, context));
    for (size_t i = 0; i < members.size(); ++i) all[members[i]] = std::move(part[i]);
    return absl::OkStatus();
  }));
  return ScoreMeasures(test, std::move(all), options.generate_answers);
}

StatusOr<double> ValidationLoss(const FederationInputs& inputs, const Method& method, Site& model_of,
                                const std::vector<TokenizedExample>& examples, const EvalOptions& options,
                                const ForwardContext& context) {
  Measures all;
  RETURN_IF_ERROR(ForEachWeight(inputs, method, model_of, examples, [&](const std::vector<size_t>& members) -> Status {
    std::vector<TokenizedExample> part;
    if (members.size() < examples.size())
      for (const size_t i : members) part.push_back(examples[i]);
    ASSIGN_OR_RETURN(Measures losses,
                     MeasureLosses(*inputs.model, part.empty() ? examples : part, options.loss_batch_size, context));
    std::move(losses.begin(), losses.end(), std::back_inserter(all));
    return absl::OkStatus();
  }));
  return MeanLossOf(all);
}

}  // namespace

StatusOr<SiteScores> ScoreSite(const FederationInputs& inputs, const Method& method, Site& model_of, const SiteData& data,
                               const EvalOptions& options, BranchMode mode) {
  const BranchMode before = std::exchange(model_of.adapters.mode().branches, mode);
  ForwardContext context;
  context.extensions = &model_of.adapters.extensions();
  SiteScores scores;
  Status status = [&]() -> Status {
    ASSIGN_OR_RETURN(scores.test, ScoreTest(inputs, method, model_of, data.test, options, context));
    if (data.validation.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(scores.validation_loss, ValidationLoss(inputs, method, model_of, data.validation, options, context));
    return absl::OkStatus();
  }();
  model_of.adapters.mode().branches = before;
  if (!status.ok()) return Annotate(status, absl::StrCat("evaluation of site ", data.name));
  return scores;
}

StatusOr<double> ScoreValidation(const FederationInputs& inputs, const Method& method, Site& model_of, const SiteData& data,
                                 const EvalOptions& options, BranchMode mode) {
  const BranchMode before = std::exchange(model_of.adapters.mode().branches, mode);
  ForwardContext context;
  context.extensions = &model_of.adapters.extensions();
  StatusOr<double> loss = ValidationLoss(inputs, method, model_of, data.validation, options, context);
  model_of.adapters.mode().branches = before;
  if (!loss.ok()) return Annotate(loss.status(), absl::StrCat("validation of site ", data.name));
  return loss;
}

StatusOr<std::map<std::string, SiteScores>> ScoreAblations(const FederationInputs& inputs, const Method& method, Site& model_of,
                                                           const SiteData& data, const EvalOptions& options) {
  static constexpr std::pair<const char*, BranchMode> kAblations[] = {
      {"rest_of_world_off", BranchMode::kRestOfWorldOff},
      {"individual_off", BranchMode::kIndividualOff},
      {"individual_alone", BranchMode::kIndividualAlone},
      {"rest_of_world_alone", BranchMode::kRestOfWorldAlone},
      {"base", BranchMode::kBase},
  };
  std::map<std::string, SiteScores> ablations;
  for (const auto& [name, mode] : kAblations) {
    ASSIGN_OR_RETURN(SiteScores scores, ScoreSite(inputs, method, model_of, data, options, mode));
    scores.test.predictions.clear();  // kept for the deployed model only
    ablations.emplace(name, std::move(scores));
  }
  return ablations;
}

}  // namespace fedalt
