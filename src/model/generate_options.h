// How text is generated. Apart from generate.h, so that configurations need no libtorch.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace fedalt {

struct GenerateOptions {
  int64_t max_new_tokens = 80;
  int64_t beams = 1;            ///< 1: greedy (or sampling if temperature > 0)
  double length_penalty = 1.0;  ///< beam search, as transformers
  double temperature = 0.0;     ///< 0: greedy
  double top_p = 1.0;
  int64_t top_k = 0;  ///< 0: all
  uint64_t seed = 0;  ///< sampling: draws are a function of (seed, prompt index, position)
  std::vector<int64_t> eos_ids = {};
  int64_t batch_size = 16;  ///< prompts at once; results do not depend on it beyond rounding
  /// Called after each batch with the number of prompts done; return false to stop early (the rest stays empty).
  std::function<bool(int64_t)> progress = {};
  /// If set (one prompt, one beam): called with each new id as it is chosen.
  std::function<void(int32_t)> on_token = {};
};

}  // namespace fedalt
