// How the sites of a federation are listed changes nothing: each has the same adapters and results, bit by bit, under every method
// and preset.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "app/presets.h"
#include "base/hash.h"
#include "data/packed_batch.h"
#include "fed/all_ways.h"
#include "fed/cohort.h"
#include "run/results_json.h"

namespace fedalt {
namespace {

using testing::MemoryJournal;
using testing::RunTiny;
using testing::TinyOptions;
using testing::TinySite;
using testing::TinySource;

using Ways = std::vector<std::pair<std::string, FederationOptions>>;

constexpr int64_t kSites = 4;

/// What a run left, by name of the site.
struct Left {
  std::map<std::pair<int64_t, std::string>, std::map<std::string, std::string>> adapters;  ///< by round and site
  std::map<std::string, OrderedJson> results;                                              ///< lines of metrics.jsonl
  std::map<int64_t, std::string> published;
  std::vector<double> validation;
  int64_t best_round = 0;
};

class SiteOrder : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    model_ = testing::TinyModel();
    ASSERT_NE(model_, nullptr);
  }

  /// The federation of sites 0 to 3, listed in this order. Site k has rank k + 1 where ranks differ.
  Left Run(FederationOptions options, const std::vector<int64_t>& order) const {
    std::vector<SiteData> sites;
    for (const int64_t k : order) sites.push_back(TinySite(k, 12 + 4 * k, model_->config().vocab_size));
    if (std::vector<int64_t>& ranks = options.method.site_ranks; !ranks.empty())
      for (size_t i = 0; i < order.size(); ++i) ranks[i] = order[i] + 1;
    options.eval.every = 1;
    MemoryJournal journal;
    const TinySource source(std::move(sites));
    const auto summary = RunTiny(*model_, source, options, journal);
    EXPECT_TRUE(summary.ok()) << summary.status();
    return LeftBy(journal, source, options.method.name == "pooled");
  }

 private:
  static Left LeftBy(const MemoryJournal& journal, const TinySource& source, bool pooled) {
    Left left;
    for (const auto& [key, bytes] : journal.sites)
      left.adapters[{key.first, pooled ? kPooledSite : source.sites()[static_cast<size_t>(key.second)].name}] = bytes;
    for (const auto& [round, result] : journal.results) {
      std::vector<OrderedJson> lines;
      for (const SiteRoundResult& site : result.sites) lines.push_back(SiteToJson(site));
      lines.push_back(MeanOf(lines));
      for (OrderedJson& line : lines) {
        line.erase("tokens_per_s");  // a time
        left.results[absl::StrCat(round, " ", line["site"].get<std::string>())] = line;
      }
      left.validation.push_back(result.mean_validation_loss);
    }
    for (const auto& [round, sum] : journal.sums) left.published[round] = absl::StrCat(sum.total_weight, " ", HashOf(sum.values));
    left.best_round = journal.best_round;
    return left;
  }
  static std::string HashOf(const at::Tensor& values) {
    return HexOf(Sha256({static_cast<const char*>(values.data_ptr()), values.nbytes()}));
  }

 protected:
  std::shared_ptr<const Transformer> model_;
};

Ways WaysAndPresets() {
  Ways ways = testing::AllWays();
  const auto add = [&](const std::string& what, const FederationOptions& options) { ways.emplace_back(what, options); };
  for (const std::string& preset : PresetNames()) {
    RunConfig config;
    config.federation = TinyOptions("fedalt");
    ApplyPreset(preset, kSites, config);
    config.federation.train.steps = 3;
    add(absl::StrCat("preset ", preset), config.federation);
  }
  for (const char* method : {"local", "fedit", "fedit_ft", "flora", "flexlora"}) {
    FederationOptions ranks = TinyOptions(method);
    ranks.method.site_ranks.assign(kSites, 1);
    add(absl::StrCat(method, ", ranks"), ranks);
  }
  FederationOptions per_site = TinyOptions("fedalt");
  per_site.method.init_shared_a = false;
  per_site.adapter.lora_dropout = 0.1;
  per_site.keep_optimizer = true;
  per_site.method.deploy = Deploy::kValidation;
  per_site.method.rest_of_world.guard = 0.01;
  per_site.method.rest_of_world.weights = SiteWeights::kSamples;
  add("fedalt, per site", per_site);
  return ways;
}

/// Every way as it is, with few sites in a round, and with another upload format.
Ways AllCases() {
  Ways cases;
  for (const auto& [what, options] : WaysAndPresets()) {
    cases.emplace_back(what, options);
    FederationOptions partial = options;
    partial.participation.count = 2;
    partial.rounds = 4;
    partial.method.rest_of_world.staleness = 0.7;
    partial.upload = UploadFormat::kInt8;
    cases.emplace_back(what + ", partial, int8", partial);
  }
  FederationOptions half = TinyOptions("fedalt");
  half.upload = UploadFormat::kBFloat16;
  cases.emplace_back("fedalt, bfloat16", half);
  return cases;
}

TEST_F(SiteOrder, ChangesNoBit) {
  for (const auto& [what, options] : AllCases()) {
    SCOPED_TRACE(what);
    const Left listed = Run(options, {0, 1, 2, 3}), otherwise = Run(options, {2, 3, 1, 0});
    EXPECT_FALSE(listed.results.empty());
    EXPECT_TRUE(listed.adapters == otherwise.adapters);
    EXPECT_TRUE(listed.published == otherwise.published);
    EXPECT_EQ(listed.validation, otherwise.validation);
    EXPECT_EQ(listed.best_round, otherwise.best_round);
    ASSERT_EQ(listed.results.size(), otherwise.results.size());
    for (const auto& [line, result] : listed.results) EXPECT_EQ(result.dump(), otherwise.results.at(line).dump()) << line;
  }
}

}  // namespace
}  // namespace fedalt
