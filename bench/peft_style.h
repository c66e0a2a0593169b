// The comparison: a Llama with FedALT's layer as one would write it with PyTorch's tensor operations and autograd, as the published
// script and PEFT do. Same weights, same mathematics, no function of this project's model or adapter code.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "synthetic.h"

namespace fedalt::bench {

class PeftStyleModel {
 public:
  /// Shares the weights of `model`; the adapters are copied and trained.
  PeftStyleModel(const Geometry& geometry, const Transformer& model, const SiteAdapters& adapters);
  /// One forward and backward over sequences of equal length, and a step of AdamW; returns the loss.
  double Step(const std::vector<TokenizedExample>& examples);

 private:
  struct Adapted {
    at::Tensor a_individual, b_individual, a_rest, b_rest, mixer;
  };
  at::Tensor Linear(const std::string& name, const at::Tensor& x) const;
  at::Tensor Attention(const std::string& prefix, const at::Tensor& x_bld) const;
  at::Tensor Norm(const std::string& name, const at::Tensor& x) const;

  Geometry geometry_;
  std::map<std::string, at::Tensor> weights_;
  std::map<std::string, Adapted> adapted_;
  std::vector<at::Tensor> trained_, first_moments_, second_moments_;
  double scale_, dropout_;
  int64_t step_ = 0;
};

}  // namespace fedalt::bench
