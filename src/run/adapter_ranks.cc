#include "run/adapter_ranks.h"

#include <absl/strings/match.h>
#include <absl/strings/strip.h>

#include <algorithm>

#include "model/safetensors.h"

namespace fedalt {
namespace {

/// As adapters find their linears in the loaded model (adapter/site_adapters.h): within the layers, by the end of the name.
bool IsAdapted(const std::string& module, const std::vector<std::string>& targets) {
  if (!absl::StrContains(module, "layers.") && !absl::StrContains(module, "h.")) return false;  // embeddings, the head
  return std::any_of(targets.begin(), targets.end(), [&](const std::string& target) {
    return target == "all-linear" || module == target || absl::EndsWith(module, absl::StrCat(".", target));
  });
}

}  // namespace

StatusOr<std::string> RankBeyondWidth(const RunConfig& config) {
  const FederationOptions& federation = config.federation;
  if (federation.method.name == "base") return std::string();
  const std::vector<int64_t>& ranks = federation.method.site_ranks;
  const int64_t r = ranks.empty() ? federation.adapter.r : *std::max_element(ranks.begin(), ranks.end());
  ASSIGN_OR_RETURN(const auto files, TensorFiles::OpenModelDirectory(config.model));
  int64_t adapted = 0, narrow = 0, narrowest = r;
  std::string example;
  for (const std::string& name : files->Names()) {
    const std::string module(absl::StripSuffix(name, ".weight"));
    ASSIGN_OR_RETURN(const TensorEntry entry, files->Describe(name));
    if (module == name || entry.shape.size() != 2 || !IsAdapted(module, federation.adapter.target_modules)) continue;
    ++adapted;
    const int64_t width = std::min(entry.shape[0], entry.shape[1]);
    narrow += width < r ? 1 : 0;
    if (width >= narrowest) continue;
    narrowest = width;
    example = absl::StrCat(module, " is ", entry.shape[0], " x ", entry.shape[1]);
  }
  if (narrow == 0) return std::string();
  return absl::StrCat("adapter.r is ", r, ", but ", example, ", where no adapter can have a rank above ", narrowest, " (", narrow,
                      " of ", adapted, " adapted layers are narrower than the rank); lower adapter.r");
}

}  // namespace fedalt
