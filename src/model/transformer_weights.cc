#include "model/transformer_weights.h"

#include <absl/strings/match.h>
#include <absl/strings/str_join.h>

namespace fedalt {
namespace {

std::string ShapeText(at::IntArrayRef shape) {
  return absl::StrCat("[", absl::StrJoin(shape.begin(), shape.end(), ", "), "]");
}

}  // namespace

WeightReader::WeightReader(const NamedTensors& tensors, std::string prefix, const TransformerLoadOptions& options)
    : tensors_(tensors.begin(), tensors.end()), prefix_(std::move(prefix)), options_(options) {}

const at::Tensor* WeightReader::Find(const std::string& name) const {
  auto it = tensors_.find(name);
  if (it == tensors_.end() && absl::StartsWith(name, prefix_)) it = tensors_.find(name.substr(prefix_.size()));
  return it == tensors_.end() ? nullptr : &it->second;
}

at::Tensor WeightReader::Take(const std::string& name, std::initializer_list<int64_t> shape,
                              std::initializer_list<const char*> stored_as) {
  if (!status_.ok()) return {};
  const at::Tensor* stored = Find(name);
  for (const char* other : stored_as)
    if (stored == nullptr) stored = Find(other);
  const at::IntArrayRef expected(shape);
  if (stored == nullptr) {
    status_ = ModelError(absl::StrCat("tensor ", name, " of shape ", ShapeText(expected),
                                      " is missing: config.json asks for it, so the weights are incomplete or of another model"));
    return {};
  }
  if (stored->sizes() != expected) {
    status_ = ModelError(absl::StrCat("tensor ", name, " has shape ", ShapeText(stored->sizes()), ", but config.json asks for ",
                                      ShapeText(expected), ": weights and config.json do not belong together"));
    return {};
  }
  if (!at::isFloatingType(stored->scalar_type())) {
    status_ = ModelError(absl::StrCat("tensor ", name, " has elements of type ", at::toString(stored->scalar_type()),
                                      ", expected a floating-point type (quantised weights are not supported)"));
    return {};
  }
  at::Tensor tensor = stored->to(options_.device, options_.dtype).contiguous();
  taken_.emplace_back(name, tensor);
  return tensor;
}

Linear WeightReader::TakeLinear(const std::string& name, int index, int64_t out, int64_t in, bool bias) {
  at::Tensor weight = Take(name + ".weight", {out, in});
  at::Tensor bias_o = bias ? Take(name + ".bias", {out}) : at::Tensor();
  return Linear(name, index, std::move(weight), std::move(bias_o));
}

}  // namespace fedalt
