// Rotary position embeddings as Hugging Face computes them (transformers, modeling_rope_utils): default, linear, dynamic, llama3,
// yarn.
//
// Immutable after construction, safe from several threads.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "model/hf_config.h"

namespace fedalt {

/// cos and sin of every position below `positions`; (positions, head_dim / 2) each, float32 or float64.
struct RopeTable {
  int64_t positions = 0;
  at::Tensor cos, sin;
};

class Rope {
 public:
  /// `dtype`: kFloat or kDouble, the type in which attention computes. `device`: where it computes.
  Rope(const ModelConfig& config, at::ScalarType dtype, at::Device device = at::kCPU);

  /// The table for a sequence that has (or will have) `length` tokens. With dynamic scaling it depends on the length once that
  /// exceeds max_position_embeddings; a table never has fewer than `length` positions.
  std::shared_ptr<const RopeTable> Table(int64_t length) const;
  /// One per sequence; equal ones are shared.
  std::vector<std::shared_ptr<const RopeTable>> Tables(const std::vector<int64_t>& lengths) const;

 private:
  std::shared_ptr<const RopeTable> Compute(const std::vector<float>& frequencies, int64_t positions) const;
  std::vector<float> Frequencies(double theta) const;

  RopeScaling scaling_;
  double theta_;
  int64_t head_dim_;
  int64_t max_positions_;
  at::ScalarType dtype_;
  at::Device device_;
  double attention_factor_ = 1.0;
  std::vector<float> frequencies_;
  std::shared_ptr<const RopeTable> table_;
};

}  // namespace fedalt
