#include "timed_training.h"

#include <chrono>
#include <string>

#include "base/check.h"
#include "measure.h"
#include "train/trainer.h"

namespace fedalt::bench {

Timing TimeTraining(const TrainingTask& task, SiteAdapters& adapters) {
  using Clock = std::chrono::steady_clock;
  const ProductProbe probe(task.load.sequences * task.load.length, task.geometry.hidden, task.geometry.intermediate,
                           task.model.dtype());
  const double flops = NecessaryFlops(task.geometry, task.load);
  std::vector<double> seconds, shares;
  double before = 0.0;
  auto begin = Clock::now();
  const auto on_step = [&](int64_t step, int64_t, double) {
    const double taken = std::chrono::duration<double>(Clock::now() - begin).count();
    const double after = probe.Rate(task.probe_seconds);
    if (step > 1) {  // the first one allocates
      seconds.push_back(taken);
      shares.push_back(flops / taken / ((before + after) / 2));
    }
    before = after;
    begin = Clock::now();
    return true;
  };
  const TrainOptions options{.steps = task.steps + 1, .batch_size = task.load.sequences};
  TrainState state;
  const auto report = TrainLocalPass(task.model, adapters, RandomExamples(task.geometry, task.load), options, {}, state, on_step);
  FEDALT_CHECK(report.ok(), std::string(report.status().message()));
  return {Median(seconds), Median(shares)};
}

}  // namespace fedalt::bench
