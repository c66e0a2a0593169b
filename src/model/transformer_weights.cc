#include "model/transformer_weights.h"

#include <absl/strings/match.h>
#include <absl/strings/str_join.h>

#include "base/interrupt.h"
#include "model/finite.h"

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

const at::Tensor* WeightReader::Stored(const std::string& name, at::IntArrayRef expected,
                                       std::initializer_list<const char*> stored_as) {
  if (status_.ok()) status_ = CheckInterrupt("the model was loaded");
  if (!status_.ok()) return nullptr;
  const at::Tensor* stored = Find(name);
  for (const char* other : stored_as)
    if (stored == nullptr) stored = Find(other);
  if (stored == nullptr) {
    status_ = ModelError(absl::StrCat("tensor ", name, " of shape ", ShapeText(expected),
                                      " is missing: config.json asks for it, so the weights are incomplete or of another model"));
    return nullptr;
  }
  if (stored->sizes() != expected) {
    status_ = ModelError(absl::StrCat("tensor ", name, " has shape ", ShapeText(stored->sizes()), ", but config.json asks for ",
                                      ShapeText(expected), ": weights and config.json do not belong together"));
    return nullptr;
  }
  if (!at::isFloatingType(stored->scalar_type())) {
    status_ = ModelError(absl::StrCat("tensor ", name, " has elements of type ", at::toString(stored->scalar_type()),
                                      ", expected a floating-point type (quantised weights are not supported)"));
    return nullptr;
  }
  status_ = CheckFinite(name, *stored);
  return status_.ok() ? stored : nullptr;
}

at::Tensor WeightReader::Take(const std::string& name, std::initializer_list<int64_t> shape,
                              std::initializer_list<const char*> stored_as) {
  const at::Tensor* const stored = Stored(name, shape, stored_as);
  if (stored == nullptr) return {};
  at::Tensor tensor = stored->to(options_.device, options_.dtype).contiguous();
  taken_.emplace_back(name, tensor);
  return tensor;
}

/// The tensors <name><suffix> of `linears`, each (out, inner...), as parts of `whole`, where they lie one below the other.
std::vector<at::Tensor> WeightReader::TakeTogether(const std::vector<LinearName>& linears, const char* suffix,
                                                   const std::vector<int64_t>& inner, at::Tensor& whole) {
  std::vector<at::Tensor> stored;
  std::vector<int64_t> shape(inner);
  shape.insert(shape.begin(), 0);
  int64_t rows = 0;
  for (const LinearName& linear : linears) {
    shape[0] = linear.out;
    const at::Tensor* const tensor = Stored(linear.name + suffix, shape);
    if (tensor == nullptr) return std::vector<at::Tensor>(linears.size());
    stored.push_back(*tensor);
    rows += linear.out;
  }
  shape[0] = rows;
  const at::TensorOptions options = at::TensorOptions(options_.device).dtype(options_.dtype);
  const auto in_place = [&](size_t i) {
    const at::Tensor& tensor = stored[i];
    const auto* const data = static_cast<const char*>(tensor.data_ptr());
    return tensor.is_contiguous() && tensor.is_cpu() && options_.device.is_cpu() && tensor.scalar_type() == options_.dtype &&
           (i == 0 || static_cast<const char*>(stored[i - 1].data_ptr()) + stored[i - 1].nbytes() == data);
  };
  bool together = true;
  for (size_t i = 0; i < stored.size(); ++i) together = together && in_place(i);
  if (stored.size() == 1) {
    whole = stored[0].to(options_.device, options_.dtype).contiguous();
  } else if (together) {
    whole = at::from_blob(
        stored[0].data_ptr(), shape, [stored](void*) {}, options);
  } else {
    whole = at::empty(shape, options);
  }
  std::vector<at::Tensor> parts;
  for (size_t i = 0, row = 0; i < stored.size(); row += static_cast<size_t>(linears[i++].out)) {
    parts.push_back(whole.narrow(0, static_cast<int64_t>(row), linears[i].out));
    if (!together && stored.size() > 1) parts.back().copy_(stored[i]);
    taken_.emplace_back(linears[i].name + suffix, parts.back());
  }
  return parts;
}

LinearStack WeightReader::TakeLinears(const std::vector<LinearName>& linears, int first_index, int64_t in, bool bias) {
  at::Tensor weight_oi, bias_o;
  const std::vector<at::Tensor> weights = TakeTogether(linears, ".weight", {in}, weight_oi);
  const std::vector<at::Tensor> biases =
      bias ? TakeTogether(linears, ".bias", {}, bias_o) : std::vector<at::Tensor>(linears.size());
  std::vector<Linear> parts;
  for (size_t i = 0; i < linears.size(); ++i)
    parts.emplace_back(linears[i].name, first_index + static_cast<int>(i), weights[i], biases[i]);
  return LinearStack(std::move(parts), std::move(weight_oi), std::move(bias_o));
}

}  // namespace fedalt
