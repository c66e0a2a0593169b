// The model that eval, export, generate and the table across sites use is the one that the run evaluated: its loss is the recorded
// one, bit by bit, whatever a site decided about what was published.
#include <gtest/gtest.h>

#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "app/cli_process.h"
#include "app/config.h"
#include "app/open_run.h"
#include "fed/local_transport.h"
#include "fed/site_evaluation.h"
#include "run/run.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::TestFolder;

struct Case {
  std::string name;
  std::vector<std::string> settings;
  std::set<std::string> deployed;  ///< that the run has to have recorded, so that the case is one
  std::string refused;             ///< part of a reason that it has to have recorded; empty: none
  std::optional<int64_t> pin = {};
};

std::vector<Case> Cases() {
  return {
      {"swapped", {"deploy=swapped"}, {"after_swap"}, ""},
      {"by validation", {"deploy=validation", "validation=0.25"}, {}, ""},
      {"guard",
       {"deploy=swapped", "validation=0.25", "rest_of_world.guard=0.0", "rest_of_world.gain=40", "train.rounds=4"},
       {"after_swap"},
       "the guard"},
      {"pin", {"deploy=swapped", "train.rounds=4"}, {"after_swap"}, "pinned to round 1", 1},
      {"pin, trained together", {"train.rounds=4"}, {"before_swap"}, "pinned to round 1", 1},
      {"old contributions",
       {"deploy=swapped", "participation=1", "rest_of_world.staleness=0.5", "train.rounds=5"},
       {"after_swap"},
       ""},
      {"damped", {"deploy=swapped", "rest_of_world.damping=0.3", "rest_of_world.every=2", "train.rounds=4"}, {"after_swap"}, ""},
      {"svd", {"deploy=swapped", "rest_of_world.aggregate=svd", "participation=1", "train.rounds=4"}, {"after_swap"}, ""},
      {"late mixer", {"mixer_start_round=3", "train.rounds=3"}, {"before_swap"}, ""},
      {"fedit", {"method=fedit"}, {"after_swap"}, ""},
      {"fdlora", {"method=fdlora", "train.rounds=3"}, {"before_swap"}, ""},
      {"flora", {"method=flora"}, {"after_swap"}, ""},
      {"pooled", {"method=pooled"}, {"before_swap"}, ""},
      {"base", {"method=base"}, {"before_swap"}, ""},
  };
}

class ModelAfterTest : public ::testing::Test {
 protected:
  void SetUp() override { testing::WriteTinyRun(folder_); }

  fs::path Run(const Case& which) {
    std::vector<std::string> settings = {"eval.every=1", "keep.rounds=all", "eval.generate=false", "threads=1", "sites_at_once=1"};
    settings.insert(settings.end(), which.settings.begin(), which.settings.end());
    const auto parsed = LoadConfig(folder_.path() / "config.yaml", settings);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    const fs::path out = folder_.path() / which.name;
    const ConnectTransport pinned = [&](const LoadedRun& run) -> StatusOr<Elsewhere> {
      ASSIGN_OR_RETURN(const auto method, MakeMethod(run.config.federation.method));
      return Elsewhere{std::make_unique<LocalTransport>(method->ledger_policy(), method->needs()), which.pin};
    };
    const auto outcome =
        StartRun(parsed->config, RunConfigToYaml(parsed->config, {}), out, which.pin ? pinned : ConnectTransport());
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return out;
  }

  /// What was recorded of the rounds that are kept, by round.
  static std::map<int64_t, json> Recorded(const fs::path& out) {
    std::map<int64_t, json> rounds;
    for (const auto& entry : fs::directory_iterator(out / "rounds"))
      rounds[std::stoll(entry.path().filename())] = json::parse(testing::Slurp(entry.path() / "result.json"), nullptr, false);
    return rounds;
  }

  TestFolder folder_;
};

TEST_F(ModelAfterTest, IsTheModelThatWasEvaluated) {
  for (const Case& which : Cases()) {
    SCOPED_TRACE(which.name);
    const fs::path out = Run(which);
    auto run = OpenRun(out, "");
    ASSERT_TRUE(run.ok()) << run.status();
    const FederationInputs inputs{run->model.get(), run->tokenizer.get(), nullptr, nullptr};
    std::set<std::string> deployed;
    bool refused = false;
    const std::map<int64_t, json> rounds = Recorded(out);
    ASSERT_FALSE(rounds.empty());
    for (const auto& [round, sites] : rounds)
      for (const json& site : sites) {
        const auto model = LoadSiteModel(*run, out, site["site"], round);
        ASSERT_TRUE(model.ok()) << model.status();
        const auto data = LoadTestData(*run, site["site"], "");
        ASSERT_TRUE(data.ok()) << data.status();
        const auto scores =
            ScoreSite(inputs, *model->method, *model->site, *data, run->config.federation.eval.options, model->method->branches());
        ASSERT_TRUE(scores.ok()) << scores.status();
        EXPECT_EQ(scores->test.all.loss, site["loss"].get<double>()) << "round " << round << ", " << site["site"];
        EXPECT_EQ(model->swapped, site["deployed"] == "after_swap");
        deployed.insert(site["deployed"].get<std::string>());
        refused |= site.value("refused", "").find(which.refused) != std::string::npos && !which.refused.empty();
      }
    for (const std::string& moment : which.deployed) EXPECT_TRUE(deployed.contains(moment)) << moment;
    EXPECT_EQ(refused, !which.refused.empty()) << "the case is not what it is called";
    if (!fs::exists(out / "cross_site.json")) continue;
    const json table = json::parse(testing::Slurp(out / "cross_site.json"), nullptr, false);
    for (size_t k = 0; k < table["models"].size(); ++k)
      EXPECT_EQ(table["loss"][k][k], rounds.rbegin()->second[k]["loss"]) << "across sites, " << k;
  }
}

TEST_F(ModelAfterTest, OfARoundThatWasNotEvaluatedIsTheOneThatTheMethodDeploys) {
  for (const auto& [method, swapped] : {std::pair{"fedit", true}, {"fedalt", false}}) {
    const Case which{method, {absl::StrCat("method=", method), "eval.every=0", "train.rounds=3"}, {}, ""};
    const fs::path out = Run(which);
    auto run = OpenRun(out, "");
    ASSERT_TRUE(run.ok()) << run.status();
    const auto model = LoadSiteModel(*run, out, "site-1", 2);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->swapped, swapped) << method;
    EXPECT_EQ(Recorded(out).at(2)[1]["deployed"], swapped ? "after_swap" : "before_swap");
  }
}

}  // namespace
}  // namespace fedalt
