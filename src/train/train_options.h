// How a site trains. Apart from trainer.h, so that configurations need no libtorch.
#pragma once

#include <cstdint>

namespace fedalt {

struct TrainOptions {
  int64_t local_epochs = 5;
  int64_t steps = 0;  ///< > 0: exactly this many optimizer steps, instead of local_epochs
  int64_t batch_size = 8;
  int64_t accumulate = 1;  ///< batches per optimizer step; the loss is the mean over all response tokens of the step
  double lr = 3e-4;
  double weight_decay = 0.05;  ///< decoupled (AdamW)
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double max_grad_norm = 1.0;
  bool linear_decay = true;  ///< lr * (1 - step / steps), without warm-up
  bool train_a = true;       ///< A of the individual adapter (never where AdapterConfig::freeze_a)
  bool train_b = true;
  bool train_mixer = true;
};

}  // namespace fedalt
