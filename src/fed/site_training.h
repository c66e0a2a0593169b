// A site's training in one round: all passes of its method, and what the method learns after them.
#pragma once

#include <cstdint>

#include "fed/method.h"

namespace fedalt {

struct SiteTraining {
  const Transformer& model;
  const Method& method;
  const SiteData& data;
  TrainOptions train;  ///< of the whole round
  int64_t steps = 0;   ///< that `train` comes to at this site
  int64_t round = 0;
  bool keep_optimizer = false;
  uint64_t seed = 0;
};

/// Trains `site` in place; the report is of all passes together. `on_step` as TrainLocalPass calls it. Errors: those of
/// TrainLocalPass and of the method.
StatusOr<TrainReport> TrainSite(const SiteTraining& training, Site& site, const StepCallback& on_step);

}  // namespace fedalt
