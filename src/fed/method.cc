#include "fed/method.h"

#include <absl/strings/str_join.h>

#include <functional>
#include <utility>

#include "base/check.h"
#include "fed/baselines.h"
#include "fed/fedalt.h"

namespace fedalt {
namespace {

struct Registration {
  const char* name;
  std::function<std::unique_ptr<Method>(const MethodOptions&)> make;
};

/// One line per method.
const std::vector<Registration>& Registry() {
  static const auto& registry = *new std::vector<Registration>{
      {"base", MakeBase},        {"local", MakeLocal},   {"fedit", MakeFedit},
      {"fedit_ft", MakeFeditFt}, {"fedalt", MakeFedalt}, {"pooled", MakePooled},
  };
  return registry;
}

}  // namespace

bool Method::ExchangesIn(int64_t, int64_t) const {
  return needs() != TransportNeed::kNothing;
}

void Method::BeginRound(int64_t, Site& site) const {
  site.adapters.mode().branches = branches();
}

void Method::PrepareTraining(int64_t, TrainOptions& train) const {
  train.train_mixer = false;
}

double Method::Weight(const Site&) const {
  return 1.0;
}

std::vector<float> Method::Contribution(const Site&) const {
  FEDALT_CHECK(false, "a method that sends something says what");
}

Status Method::Receive(const PublishedSum&, Site&) const {
  FEDALT_CHECK(false, "a method that receives something says what it does with it");
}

std::vector<std::string> MethodNames() {
  std::vector<std::string> names;
  for (const Registration& registration : Registry()) names.emplace_back(registration.name);
  return names;
}

StatusOr<std::unique_ptr<Method>> MakeMethod(const MethodOptions& options) {
  for (const Registration& registration : Registry())
    if (options.name == registration.name) return registration.make(options);
  return ConfigError(absl::StrCat("method is \"", options.name, "\"; those that work are ", absl::StrJoin(MethodNames(), ", ")));
}

std::vector<float> Flatten(const NamedTensors& tensors) {
  std::vector<float> values;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor flat = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
    values.insert(values.end(), flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel());
  }
  return values;
}

NamedTensors Unflatten(std::span<const float> values, const NamedTensors& like) {
  NamedTensors tensors;
  size_t begin = 0;
  for (const auto& [name, tensor] : like) {
    const auto count = static_cast<size_t>(tensor.numel());
    FEDALT_CHECK(begin + count <= values.size(), "the flat vector holds all tensors");
    at::Tensor copy = at::empty(tensor.sizes(), at::kFloat);
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(begin), count, copy.data_ptr<float>());
    tensors.emplace_back(name, copy.to(tensor.device()));
    begin += count;
  }
  FEDALT_CHECK(begin == values.size(), "the flat vector holds nothing else");
  return tensors;
}

}  // namespace fedalt
