#include "run/cross_site.h"

#include <algorithm>
#include <numeric>

#include "base/interrupt.h"
#include "fed/site_evaluation.h"
#include "fed/site_workers.h"

namespace fedalt {
namespace {

/// The first `examples` of a site's test data, and nothing else of it.
StatusOr<SiteData> CutTest(const SiteSource& sites, size_t site, int64_t examples) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const SiteData> data, sites.Load(site));
  std::vector<size_t> members(std::min(data->test.examples.size(), static_cast<size_t>(examples)));
  std::iota(members.begin(), members.end(), size_t{0});
  SiteData cut;
  cut.name = data->name;
  cut.test = SubsetOf(data->test, members);
  return cut;
}

}  // namespace

bool HasCrossSite(const LoadedRun& run) {
  constexpr size_t kMostSites = 64;
  const auto method = MakeMethod(run.config.federation.method);
  const size_t sites = run.config.sites.size();
  return run.config.federation.eval.cross_examples > 0 && sites > 1 && sites <= kMostSites && method.ok() && (*method)->trains() &&
         !(*method)->pools_data();
}

StatusOr<OrderedJson> CrossSiteLosses(const LoadedRun& run, const std::filesystem::path& directory) {
  const size_t n = run.config.sites.size();
  const int64_t examples = run.config.federation.eval.cross_examples;
  std::vector<SiteData> tests(n);
  for (size_t k = 0; k < n; ++k) {
    ASSIGN_OR_RETURN(tests[k], CutTest(*run.sites, k, examples));
  }
  EvalOptions options = run.config.federation.eval.options;
  options.generate_answers = false;
  const FederationInputs inputs{run.model.get(), run.tokenizer.get(), run.sites.get(), nullptr};
  std::vector<std::vector<double>> losses(n, std::vector<double>(n));
  std::vector<int64_t> all(n), rounds(n);
  std::iota(all.begin(), all.end(), int64_t{0});
  RETURN_IF_ERROR(ForEachSite(all, std::vector<int64_t>(n, 1), run.config.federation.sites_at_once, [&](int64_t site) -> Status {
    const auto k = static_cast<size_t>(site);
    ASSIGN_OR_RETURN(SiteModel model, LoadSiteModel(run, directory, run.config.sites[k].name, 0));
    rounds[k] = model.round;
    for (size_t t = 0; t < n; ++t) {
      if (InterruptRequested()) return InterruptedError("stopped while the sites' models were compared");
      ASSIGN_OR_RETURN(const SiteScores scores,
                       ScoreSite(inputs, *model.method, *model.site, tests[t], options, model.method->branches()));
      losses[k][t] = scores.test.all.loss;
    }
    return absl::OkStatus();
  }));
  OrderedJson json;
  json["round"] = rounds.front();
  json["examples"] = examples;
  for (const char* side : {"models", "tests"})
    for (const SiteFiles& site : run.config.sites) json[side].push_back(site.name);
  json["loss"] = losses;
  return json;
}

}  // namespace fedalt
