#include "fed/site_training.h"

#include <optional>

#include "base/random.h"

namespace fedalt {
namespace {

void Append(const TrainReport& pass, TrainReport& report) {
  const double before = report.mean_loss * static_cast<double>(report.response_tokens);
  const double added = pass.mean_loss * static_cast<double>(pass.response_tokens);
  if (report.steps == 0) report.first_loss = pass.first_loss;
  report.last_loss = pass.last_loss;
  report.steps += pass.steps;
  report.tokens += pass.tokens;
  report.response_tokens += pass.response_tokens;
  report.mean_loss = (before + added) / static_cast<double>(report.response_tokens);
  report.seconds += pass.seconds;
  report.step_losses.insert(report.step_losses.end(), pass.step_losses.begin(), pass.step_losses.end());
}

}  // namespace

StatusOr<TrainReport> TrainSite(const SiteTraining& training, Site& site, const StepCallback& on_step) {
  const Method& method = training.method;
  const int64_t passes = method.passes(training.round);
  TrainReport report;
  for (int64_t pass = 0; pass < passes; ++pass) {
    TrainOptions train = training.train;
    if (passes > 1) train.steps = training.steps;
    method.PreparePass(training.round, pass, site, train);
    if (passes == 1 || train.steps > 0) {
      const std::optional<std::vector<TokenizedExample>> part = method.ExamplesOf(training.round, pass, training.data.train);
      TrainState fresh;
      const StepCallback counted = [&](int64_t step, int64_t, double loss) {
        return !on_step || on_step(report.steps + step, training.steps, loss);
      };
      ASSIGN_OR_RETURN(const TrainReport of_pass,
                       TrainLocalPass(training.model, site.adapters, part ? *part : training.data.train, train,
                                      {training.seed, SiteAddress(site.info.name, pass), static_cast<uint64_t>(training.round)},
                                      training.keep_optimizer ? site.train_state : fresh, counted));
      Append(of_pass, report);
    }
    method.FinishPass(training.round, pass, site);
  }
  RETURN_IF_ERROR(method.FinishTraining(training.round, training.model, training.data, site));
  return report;
}

}  // namespace fedalt
