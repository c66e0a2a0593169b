// What the base is taught, as tokens: every known fact in every known convention and template.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/transformer.h"
#include "world.h"

namespace fedalt::demo {

struct KnownExample {
  std::vector<int64_t> tokens;  ///< BOS, question, answer, EOS
  int64_t response_begin = 0;
  Convention convention = Convention::kEnglish;
};
std::vector<KnownExample> KnownExamples();

/// Examples laid end to end, and where their answers are predicted.
struct KnownBatch {
  PackedTokens tokens;
  at::Tensor response_rows_n;         ///< rows whose successor belongs to an answer
  at::Tensor targets_n;               ///< those successors
  std::vector<int64_t> first_answer;  ///< per example: its first entry of response_rows_n; one more at the end
};
KnownBatch Pack(std::span<const KnownExample* const> examples);

}  // namespace fedalt::demo
