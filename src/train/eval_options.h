// How a model is evaluated. Apart from evaluate.h, so that configurations need no libtorch.
#pragma once

#include <cstdint>

#include "data/dataset.h"
#include "model/generate_options.h"

namespace fedalt {

struct EvalOptions {
  GenerateOptions generate;
  int32_t max_length = 512;
  TooLong too_long = TooLong::kCut;
  int64_t loss_batch_size = 8;
  bool generate_answers = true;  ///< false: loss only
};

}  // namespace fedalt
