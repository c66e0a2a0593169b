#include "fed/method.h"

#include <absl/strings/str_join.h>

#include <algorithm>
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
      {"base", MakeBase},   {"local", MakeLocal},   {"fedit", MakeFedit},   {"fedit_ft", MakeFeditFt}, {"ffa", MakeFfa},
      {"fedsa", MakeFedsa}, {"feddpa", MakeFeddpa}, {"fdlora", MakeFdlora}, {"flora", MakeFlora},      {"flexlora", MakeFlexlora},
      {"fedex", MakeFedex}, {"rolora", MakeRolora}, {"fedalt", MakeFedalt}, {"pooled", MakePooled},
  };
  return registry;
}

}  // namespace

bool Method::ExchangesIn(int64_t, int64_t) const {
  return needs() != TransportNeed::kNothing;
}

Status Method::Check(const FederationOptions&) const {
  if (!options_.site_ranks.empty() && !allows_ranks())
    return ConfigError(absl::StrCat("method ", name(),
                                    " needs the same rank at every site; leave r out of sites, or use flexlora, flora, fedit, "
                                    "fedit_ft or local"));
  return absl::OkStatus();
}

void Method::Configure(AdapterConfig& adapter) const {
  adapter.mixer = MixerKind::kNone;
  adapter.rest_of_world_gain = 1.0;
}

void Method::BeginRound(int64_t, Site& site) const {
  site.adapters.mode().branches = branches();
}

void Method::PreparePass(int64_t, int64_t, Site&, TrainOptions& train) const {
  train.train_mixer = false;
}

double Method::Weight(int64_t train_examples) const {
  return options_.average_weights == SiteWeights::kSamples ? static_cast<double>(train_examples) : 1.0;
}

at::Tensor Method::Contribution(int64_t, const Site&) const {
  FEDALT_CHECK(false, "a method that sends something says what");
}

bool Method::Fits(const Published& published, const Site& site) const {
  return published.values.numel() == Contribution(published.round, site).numel();
}

Status Method::Receive(const Published&, Site&) const {
  FEDALT_CHECK(false, "a method that receives something says what it does with it");
}

std::function<at::Tensor(int64_t reader)> Method::Aggregator(const RoundUploads&) const {
  FEDALT_CHECK(false, "a method that needs the uploads says what becomes of them");
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

Status CheckMethod(const FederationOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Method> method, MakeMethod(options.method));
  return method->Check(options);
}

int64_t LargestRank(const MethodOptions& method, const AdapterConfig& adapter) {
  const std::vector<int64_t>& ranks = method.site_ranks;
  return ranks.empty() ? adapter.r : *std::max_element(ranks.begin(), ranks.end());
}

at::Tensor Flatten(const NamedTensors& tensors) {
  std::vector<at::Tensor> parts;
  for (const auto& [name, tensor] : tensors) parts.push_back(tensor.detach().to(at::kCPU).reshape({-1}));
  return parts.empty() ? at::empty({0}, at::kFloat) : at::cat(parts);
}

NamedTensors Unflatten(const at::Tensor& values, const NamedTensors& like) {
  NamedTensors tensors;
  int64_t begin = 0;
  for (const auto& [name, tensor] : like) {
    FEDALT_CHECK(begin + tensor.numel() <= values.numel(), "the flat vector holds all tensors");
    tensors.emplace_back(name, values.narrow(0, begin, tensor.numel()).view(tensor.sizes()).clone().to(tensor.device()));
    begin += tensor.numel();
  }
  FEDALT_CHECK(begin == values.numel(), "the flat vector holds nothing else");
  return tensors;
}

at::Tensor Divided(const at::Tensor& values, double divisor) {
  return (values.to(at::kDouble) / divisor).to(values.scalar_type());
}

}  // namespace fedalt
