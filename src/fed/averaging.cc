#include "fed/averaging.h"

#include <utility>

#include "base/check.h"

namespace fedalt {

bool IsA(std::string_view name) {
  return name.ends_with(".lora_A.weight");
}

NamedTensors AveragingMethod::Travelling(int64_t round, const Site& site) const {
  NamedTensors travelling;
  for (auto& entry : site.adapters.Individual())
    if (IsA(entry.first) ? TravelsA(round) : TravelsB(round)) travelling.push_back(std::move(entry));
  return travelling;
}

at::Tensor AveragingMethod::Contribution(int64_t round, const Site& site) const {
  return Flatten(Travelling(round, site));
}

Status AveragingMethod::Receive(const Published& published, Site& site) const {
  FEDALT_CHECK(published.total_weight > 0.0, "a cohort is never empty");
  NamedTensors renewed = site.adapters.Individual();
  const NamedTensors means = Unflatten(Divided(published.values, published.total_weight), Travelling(published.round, site));
  size_t next = 0;
  for (auto& [name, tensor] : renewed)
    if (next < means.size() && means[next].first == name) tensor = means[next++].second;
  return site.adapters.SetIndividual(renewed);
}

}  // namespace fedalt
