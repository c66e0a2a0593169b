#include "fed/site_evaluation.h"

#include <utility>

namespace fedalt {

StatusOr<SiteScores> ScoreSite(const FederationInputs& inputs, Site& model_of, const SiteData& data, const EvalOptions& options,
                               BranchMode mode) {
  const BranchMode before = model_of.adapters.mode().branches;
  model_of.adapters.mode().branches = mode;
  ForwardContext context;
  context.extensions = &model_of.adapters.extensions();
  SiteScores scores;
  Status status = [&]() -> Status {
    ASSIGN_OR_RETURN(scores.test, Evaluate(*inputs.model, *inputs.tokenizer, data.test, options, context));
    if (data.validation.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(scores.validation_loss, MeanLoss(*inputs.model, data.validation, options.loss_batch_size, context));
    return absl::OkStatus();
  }();
  model_of.adapters.mode().branches = before;
  if (!status.ok()) return Annotate(status, absl::StrCat("evaluation of site ", data.name));
  return scores;
}

StatusOr<std::map<std::string, SiteScores>> ScoreAblations(const FederationInputs& inputs, Site& model_of, const SiteData& data,
                                                           const EvalOptions& options) {
  static constexpr std::pair<const char*, BranchMode> kAblations[] = {
      {"rest_of_world_off", BranchMode::kRestOfWorldOff},
      {"individual_off", BranchMode::kIndividualOff},
      {"individual_alone", BranchMode::kIndividualAlone},
      {"rest_of_world_alone", BranchMode::kRestOfWorldAlone},
      {"base", BranchMode::kBase},
  };
  std::map<std::string, SiteScores> ablations;
  for (const auto& [name, mode] : kAblations) {
    ASSIGN_OR_RETURN(SiteScores scores, ScoreSite(inputs, model_of, data, options, mode));
    scores.test.predictions.clear();  // kept for the deployed model only
    ablations.emplace(name, std::move(scores));
  }
  return ablations;
}

}  // namespace fedalt
