// Takes a model's weights out of named tensors, checking that each is there and has the shape that config.json asks for.
#pragma once

#include <ATen/ATen.h>

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/linear.h"
#include "model/safetensors.h"
#include "model/transformer.h"

namespace fedalt {

/// The first error stays in status(); after it every call returns undefined tensors. Tensors that nobody takes are ignored.
class WeightReader {
 public:
  /// `prefix`: what every name starts with ("model."). Files of the bare base model, which leave it out, are read too.
  WeightReader(const NamedTensors& tensors, std::string prefix, const TransformerLoadOptions& options);

  /// The tensor in the model's dtype and on its device (the same memory if it is there already). `stored_as`: other names under
  /// which it may lie.
  at::Tensor Take(const std::string& name, std::initializer_list<int64_t> shape, std::initializer_list<const char*> stored_as = {});

  struct LinearName {
    std::string name;
    int64_t out = 0;
  };
  /// Of each linear <name>.weight (out, in) and, if `bias`, <name>.bias (out). Weights that lie one behind the other already, in
  /// the model's dtype and on its device, stay where they are; others are copied together. `first_index`: see Linear.
  LinearStack TakeLinears(const std::vector<LinearName>& linears, int first_index, int64_t in, bool bias);

  const Status& status() const { return status_; }
  /// Everything taken so far, under its Hugging Face name.
  const NamedTensors& taken() const { return taken_; }

 private:
  const at::Tensor* Find(const std::string& name) const;
  /// As it was given; null after an error.
  const at::Tensor* Stored(const std::string& name, at::IntArrayRef shape, std::initializer_list<const char*> stored_as = {});
  std::vector<at::Tensor> TakeTogether(const std::vector<LinearName>& linears, const char* suffix,
                                       const std::vector<int64_t>& inner, at::Tensor& whole);

  std::map<std::string, at::Tensor> tensors_;
  std::string prefix_;
  TransformerLoadOptions options_;
  NamedTensors taken_;
  Status status_;
};

}  // namespace fedalt
