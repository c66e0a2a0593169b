// One local training pass of one site: loss on responses only, AdamW, gradient clipping, linear decay.
//
// The pass is a function of its inputs: the same adapters, examples, options and key give the same bits. All state that outlives
// a step is in TrainState, a value that can be saved and loaded.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "adapter/site_adapters.h"
#include "base/status.h"
#include "data/dataset.h"
#include "data/packed_batch.h"
#include "model/transformer.h"
#include "train/train_options.h"

namespace fedalt {

/// Which pass this is; every random draw of it is addressed by this.
struct PassKey {
  uint64_t seed = 0;
  uint64_t site = 0;
  uint64_t round = 0;
};

/// AdamW's moments, one entry per trained tensor, in the order SiteAdapters gives (individual, then mixer). `step` counts the
/// optimizer steps behind them (bias correction); the learning rate's schedule is each pass's own. Empty: a pass starts afresh, as
/// published.
struct TrainState {
  int64_t step = 0;
  std::vector<std::string> names;
  std::vector<at::Tensor> first_moments, second_moments;
};
/// For saving: "step", then "<name>.first_moment" and "<name>.second_moment" per trained tensor.
NamedTensors NamedTrainState(const SiteAdapters& adapters, const TrainState& state);
/// The way back (copies). Errors: kModel, for tensors that NamedTrainState did not write.
StatusOr<TrainState> TrainStateFromNamed(const NamedTensors& tensors);

struct TrainReport {
  int64_t steps = 0;
  int64_t tokens = 0;                        ///< tokens that went through the model
  int64_t response_tokens = 0;               ///< tokens with a loss
  double mean_loss = 0.0;                    ///< over the pass, per response token
  double first_loss = 0.0, last_loss = 0.0;  ///< of the first and last step
  double seconds = 0.0;
  std::vector<double> step_losses;
};

/// Called after each optimizer step; return false to stop at once (the pass is then abandoned with kInterrupted).
using StepCallback = std::function<bool(int64_t step, int64_t steps, double loss)>;

/// Trains `adapters` in place. `state` starts empty (or as loaded) and ends as the state after the last step.
/// Errors: kTraining (non-finite loss or gradient; names the step), kInterrupted.
StatusOr<TrainReport> TrainLocalPass(const Transformer& model, SiteAdapters& adapters,
                                     const std::vector<TokenizedExample>& examples, const TrainOptions& options, const PassKey& key,
                                     TrainState& state, const StepCallback& on_step);

}  // namespace fedalt
