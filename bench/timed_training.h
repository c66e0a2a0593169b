// The product's trainer, timed step by step against a product of the gate's shape.
#pragma once

#include "synthetic.h"

namespace fedalt::bench {

struct Timing {
  double seconds;  ///< median of a step
  double share;    ///< median of (necessary operations / seconds) / (rate of the probe just before and after)
};

struct TrainingTask {
  const Transformer& model;
  Geometry geometry;
  Load load;
  int steps;                    ///< that are timed; one more comes first, which allocates
  double probe_seconds = 0.02;  ///< of the probe before and after a step, at least
};

/// Runs TrainLocalPass as `fedalt run` does; its callback after each step runs the probe.
Timing TimeTraining(const TrainingTask& task, SiteAdapters& adapters);

}  // namespace fedalt::bench
