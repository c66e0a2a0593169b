// The tiny federation under every method, as it is and in its other ways.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "fed/method_names.h"
#include "fed/tiny_federation.h"

namespace fedalt::testing {

inline FederationOptions With(const std::string& method, const std::function<void(FederationOptions&)>& change) {
  FederationOptions options = TinyOptions(method);
  change(options);
  return options;
}

inline RestOfWorldOptions& RowOf(FederationOptions& options) {
  return options.method.rest_of_world;
}

/// Every method as it is, and those that have more than one way.
inline std::vector<std::pair<std::string, FederationOptions>> AllWays() {
  std::vector<std::pair<std::string, FederationOptions>> ways;
  for (const std::string& name : MethodNames()) ways.emplace_back(name, TinyOptions(name));
  const auto add = [&](const std::string& what, const std::string& method, const std::function<void(FederationOptions&)>& change) {
    ways.emplace_back(absl::StrCat(method, ", ", what), With(method, change));
  };
  add("server optimizer", "fedit", [](FederationOptions& o) { o.method.server = {0.7, 0.9}; });
  add("instance-wise", "feddpa", [](FederationOptions& o) { o.method.feddpa.instance_wise = true; });
  add("held out", "fedalt", [](FederationOptions& o) { o.method.mixer_held_out = true; });
  add("held out, later", "fedalt", [](FederationOptions& o) { o.method.mixer_held_out = true, o.method.mixer_start_round = 2; });
  add("svd", "fedalt", [](FederationOptions& o) { RowOf(o).aggregate = RestOfWorldAggregate::kSvd; });
  add("damped svd", "fedalt",
      [](FederationOptions& o) { RowOf(o).aggregate = RestOfWorldAggregate::kSvd, RowOf(o).damping = 0.3; });
  add("exact", "fedalt", [](FederationOptions& o) { RowOf(o).aggregate = RestOfWorldAggregate::kExact; });
  add("rescaled", "fedalt", [](FederationOptions& o) { RowOf(o).rescale = true, RowOf(o).damping = 0.5; });
  add("similarity", "fedalt", [](FederationOptions& o) { RowOf(o).weights = SiteWeights::kSimilarity; });
  add("similarity of frozen A", "fedalt", [](FederationOptions& o) {
    RowOf(o).weights = SiteWeights::kSimilarity;
    o.adapter.freeze_a = true;
  });
  add("kindred svd", "fedalt",
      [](FederationOptions& o) { RowOf(o).weights = SiteWeights::kKindred, RowOf(o).aggregate = RestOfWorldAggregate::kSvd; });
  add("off", "fedalt", [](FederationOptions& o) { RowOf(o).aggregate = RestOfWorldAggregate::kOff; });
  add("merged", "fedalt", [](FederationOptions& o) { o.adapter.mixer = MixerKind::kMerged; });
  return ways;
}

}  // namespace fedalt::testing
