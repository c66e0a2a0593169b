// Search, then compare: what is chosen from a search, by what, and that it is chosen once.
#include "app/compare_choice.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "app/cli_process.h"
#include "app/comparison_json.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ProcessResult;
using testing::ReadJson;
using testing::RowOf;
using testing::RunFedalt;
using testing::Slurp;
using testing::TestFolder;

// One search and one comparison chosen by it serve all tests of this file.
class CompareChoice : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TestFolder;
    testing::WriteTinyRun(*folder_);
    search_ = new ProcessResult(RunFedalt(*folder_, {"compare", "config.yaml", "--methods", "local,fedalt:mixer=none", "--search",
                                                     "--set", "train.lr=0.03,1e-6", "validation=0.25", "--out", "search"}));
    final_ = new ProcessResult(RunFedalt(*folder_, FinalArguments()));
  }
  static void TearDownTestSuite() {
    delete final_;
    delete search_;
    delete folder_;
  }
  static std::vector<std::string> FinalArguments() {
    return {"compare", "config.yaml",   "--methods",   "local,fedalt:mixer=none",
            "--set",   "train.steps=2", "--chosen-by", "search",
            "--out",   "final",         "--bootstrap", "50"};
  }
  static fs::path Path(const std::string& name) { return folder_->path() / name; }
  /// A search with the same spec and other results.
  static fs::path Altered(const std::string& name, const std::function<void(json&)>& alter) {
    json comparison = ReadJson(Path("search/comparison.json"));
    alter(comparison);
    folder_->Write(name + "/comparison-spec.json", Slurp(Path("search/comparison-spec.json")));
    folder_->Write(name + "/comparison.json", comparison.dump());
    return Path(name);
  }
  /// "word: settings of its choice; ..."
  static std::string Chosen(const fs::path& directory, const std::string& methods) {
    const auto search = Search::Open(directory);
    if (!search.ok()) return std::string(search.status().message());
    auto plans = PlanVariants(methods, {});
    EXPECT_TRUE(plans.ok()) << plans.status();
    if (const Status status = ChooseSettings(*search, *plans); !status.ok()) return std::string(status.message());
    std::string text;
    for (const VariantPlan& plan : *plans) {
      text += WordOf(plan) + ":";
      if (plan.choice)
        for (const auto& [key, value] : plan.choice->settings) text += " " + key + "=" + value;
      text += "; ";
    }
    return text;
  }

  static TestFolder* folder_;
  static ProcessResult *search_, *final_;
};
TestFolder* CompareChoice::folder_ = nullptr;
ProcessResult* CompareChoice::search_ = nullptr;
ProcessResult* CompareChoice::final_ = nullptr;

TEST_F(CompareChoice, ASearchTellsTheValidationLossOfItsRuns) {
  ASSERT_EQ(search_->code, 0) << search_->err;
  json comparison = ReadJson(Path("search/comparison.json"));
  EXPECT_EQ(comparison["metric"], "validation_loss");
  EXPECT_EQ(search_->out.find("test loss"), std::string::npos) << "whoever chooses does not see it: " << search_->out;
  ASSERT_EQ(comparison["rows"].size(), 4u) << "no controls that were not asked for";
  for (const json& row : comparison["rows"]) {
    double sum = 0.0;
    std::ifstream lines(Path("search") / row["runs"][0].get<std::string>() / "metrics.jsonl");
    for (std::string line; std::getline(lines, line);) {
      const json metrics = json::parse(line);
      if (metrics["round"] == 2 && metrics["site"] != "mean") sum += metrics["validation_loss"].get<double>();
    }
    EXPECT_NEAR(row["metrics"]["validation_loss"].get<double>(), sum / 2, 1e-12) << row["name"];
    EXPECT_NEAR(row["mean"]["value"].get<double>(), sum / 2, 1e-12) << row["name"];
    EXPECT_EQ(row["metrics"].size(), 1u) << "nothing of the test data";
    EXPECT_TRUE(row["chosen"].is_null());
  }
  for (const std::string method : {"local", "fedalt mixer=none"}) {
    const json &trained = RowOf(comparison, method + " train.lr=0.03"), &untrained = RowOf(comparison, method + " train.lr=1e-6");
    EXPECT_LT(trained["metrics"]["validation_loss"], untrained["metrics"]["validation_loss"]);
    EXPECT_EQ(trained["best_of_search"], true);
    EXPECT_EQ(untrained["best_of_search"], false);
    EXPECT_EQ(trained["searched"], json({{"train.lr", "0.03"}}));
  }
  EXPECT_NE(search_->out.find("  validation loss     "), std::string::npos) << search_->out;
  EXPECT_NE(search_->out.find(" best  "), std::string::npos) << search_->out;
  const std::string csv = Slurp(Path("search/comparison.csv"));
  EXPECT_NE(csv.find(",exact_match,validation_loss,train_steps,"), std::string::npos) << csv;
}

TEST_F(CompareChoice, WhatTheSearchFoundIsRunAndSaid) {
  ASSERT_EQ(final_->code, 0) << final_->err;
  json comparison = ReadJson(Path("final/comparison.json"));
  EXPECT_EQ(comparison["chosen_by"]["directory"], "search");
  EXPECT_EQ(comparison["chosen_by"]["spec_sha256"].get<std::string>().size(), 64u);
  const json lr = {{"train.lr", "0.03"}};
  for (const auto& [name, from] : {std::pair{"local train.steps=2", "local train.lr=0.03"},
                                   {"fedalt mixer=none train.steps=2", "fedalt mixer=none train.lr=0.03"},
                                   {"local-2r", "local train.lr=0.03"}}) {
    const json& row = RowOf(comparison, name);
    EXPECT_EQ(row["chosen"]["row"], from);
    EXPECT_EQ(row["chosen"]["settings"], lr);
    EXPECT_EQ(row["overrides"]["train.lr"], "0.03");
    EXPECT_TRUE(row["metrics"]["validation_loss"].is_null()) << "this configuration holds nothing out";
    const std::string config = Slurp(Path("final") / row["runs"][0].get<std::string>() / "config.yaml");
    EXPECT_NE(config.find("\n  lr: 0.03\n"), std::string::npos) << config;
    EXPECT_NE(final_->out.find(absl::StrCat("\n", name, " (train.lr=0.03)  ")), std::string::npos) << final_->out;
  }
  EXPECT_EQ(RowOf(comparison, "local-2r")["overrides"]["adapter.r"], "4");
  EXPECT_TRUE(RowOf(comparison, "pooled")["chosen"].is_null());
  EXPECT_NE(final_->out.find("\nin parentheses: settings with the least validation loss in search; as configured: pooled\n"),
            std::string::npos)
      << final_->out;
}

TEST_F(CompareChoice, TheLeastValidationLossDecidesNotTheLeastTestLoss) {
  // fedalt's row with the least validation loss has a failed run.
  const fs::path directory = Altered("other-results", [](json& comparison) {
    const auto set = [&](const std::string& name, double test, double validation) {
      json& row = RowOf(comparison, name);
      row["mean"]["value"] = row["metrics"]["loss"] = test;
      row["metrics"]["validation_loss"] = validation;
    };
    set("local train.lr=0.03", 1.0, 2.5);
    set("local train.lr=1e-6", 2.0, 2.25);
    set("fedalt mixer=none train.lr=0.03", 1.0, 3.0);
    set("fedalt mixer=none train.lr=1e-6", 1.0, 2.0);
    RowOf(comparison, "fedalt mixer=none train.lr=1e-6")["failed"] = {{{"seed", 1}, {"run", "r"}, {"reason", "diverged"}}};
  });
  EXPECT_EQ(Chosen(directory, "local,fedalt:mixer=none"),
            "base:; local: train.lr=1e-6; fedalt mixer=none: train.lr=0.03; local-2r: train.lr=1e-6; pooled:; ");
  const fs::path equal = Altered("equal-results", [](json& comparison) {
    for (json& row : comparison["rows"]) row["metrics"]["validation_loss"] = 1.0;
  });
  EXPECT_EQ(Chosen(equal, "base,local-2r"), "base:; local-2r: train.lr=0.03; pooled:; ") << "the first of equals";
}

TEST_F(CompareChoice, NothingIsChosenTwice) {
  ASSERT_EQ(final_->code, 0) << final_->err;
  const std::string results = Slurp(Path("search/comparison.json")), spec = Slurp(Path("search/comparison-spec.json"));
  const std::string csv = Slurp(Path("final/comparison.csv"));
  json other = json::parse(results);
  RowOf(other, "local train.lr=1e-6")["metrics"]["validation_loss"] = 0.0;
  folder_->Write("search/comparison.json", other.dump());
  ASSERT_EQ(Chosen(Path("search"), "local"), "base:; local: train.lr=1e-6; local-2r: train.lr=1e-6; pooled:; ");
  fs::remove_all(Path("final/runs/local_train.steps=2"));
  const ProcessResult same_command = RunFedalt(*folder_, FinalArguments());
  EXPECT_EQ(same_command.code, 0) << same_command.err;
  EXPECT_EQ(Slurp(Path("final/comparison.csv")), csv);
  // Of another search, or of none, it is another comparison.
  folder_->Write("search/comparison-spec.json", spec + "\n");
  const ProcessResult refused = testing::RunInProcess(*folder_, FinalArguments());
  EXPECT_EQ(refused.code, 6);
  EXPECT_NE(refused.err.find("final: holds another comparison (its settings were chosen by search (spec "), std::string::npos)
      << refused.err;
  std::vector<std::string> plain = FinalArguments();
  plain.erase(plain.begin() + 6, plain.begin() + 8);
  EXPECT_NE(testing::RunInProcess(*folder_, plain).err.find(", given is no search)"), std::string::npos);
  // --resume needs no search.
  fs::rename(Path("search"), Path("elsewhere"));
  fs::remove_all(Path("final/runs/local_train.steps=2"));
  const ProcessResult resumed = RunFedalt(*folder_, {"compare", "--resume", "final", "--quiet"});
  fs::rename(Path("elsewhere"), Path("search"));
  folder_->Write("search/comparison.json", results);
  folder_->Write("search/comparison-spec.json", spec);
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(Slurp(Path("final/comparison.csv")), csv);
}

TEST_F(CompareChoice, StagesAddUpAndControlsMayBeSearchedThemselves) {
  const std::vector<std::string> arguments = {"compare",  "config.yaml", "validation=0.25", "--methods", "local,local-2r",
                                              "--search", "--chosen-by", "search",          "--set",     "train.steps=1,2",
                                              "--out",    "stage-2",     "--quiet"};
  const ProcessResult result = RunFedalt(*folder_, arguments);
  ASSERT_EQ(result.code, 0) << result.err;
  json comparison = ReadJson(Path("stage-2/comparison.json"));
  RowOf(comparison, "local train.steps=1")["metrics"]["validation_loss"] = 0.0;
  RowOf(comparison, "local-2r train.steps=2")["metrics"]["validation_loss"] = 0.0;
  folder_->Write("stage-2/comparison.json", comparison.dump());
  EXPECT_EQ(Chosen(Path("stage-2"), "local"),
            "base:; local: train.lr=0.03 train.steps=1; local-2r: train.lr=0.03 train.steps=2; pooled:; ");
}

TEST_F(CompareChoice, ASearchThatCannotDecideIsRefused) {
  EXPECT_EQ(Chosen(Altered("no-losses",
                           [](json& comparison) {
                             for (json& row : comparison["rows"]) row["metrics"]["validation_loss"] = nullptr;
                           }),
                   "local"),
            Path("no-losses").string() +
                ": has no validation losses to choose by; make the search with validation data, such as validation=0.1 behind the "
                "configuration");
  const auto no_local = [](json& comparison) {
    for (const char* name : {"local train.lr=0.03", "local train.lr=1e-6"})
      RowOf(comparison, name)["metrics"]["validation_loss"] = nullptr;
  };
  EXPECT_NE(Chosen(Altered("no-local", no_local), "local").find("no row of \"local\" has a validation loss"), std::string::npos);
  for (const auto& alter : std::vector<std::function<void(json&)>>{
           [](json& c) { c["rows"].erase(0); }, [](json& c) { c["rows"][0]["name"] = "b"; }, [](json& c) { c = json::array({c}); }})
    EXPECT_NE(Chosen(Altered("damaged", alter), "local").find("is damaged or of another comparison"), std::string::npos);
  const fs::path unfinished = Altered("unfinished", [](json&) {});
  fs::remove(unfinished / "comparison.json");
  EXPECT_NE(Chosen(unfinished, "local").find("is not finished (it has no comparison.json)"), std::string::npos);
  json old = ReadJson(Path("search/comparison-spec.json"));
  for (json& variant : old["variants"]) variant.erase("word");
  old.erase("sha256");
  folder_->Write("old/comparison-spec.json", old.dump());
  EXPECT_NE(Chosen(Path("old"), "local").find("was begun by an older version"), std::string::npos);
}

TEST_F(CompareChoice, UsageErrorsAreOneSentence) {
  const auto chosen = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"compare", "config.yaml", "--chosen-by", "search", "--out", "x"});
    return more;
  };
  const auto search = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"compare", "config.yaml", "--search", "--methods", "local", "--out", "x"});
    return more;
  };
  folder_->Write("other_0.jsonl", Slurp(Path("test_0.jsonl")));
  folder_->Write("other_1.jsonl", Slurp(Path("test_1.jsonl")));
  for (const auto& [arguments, code, part] : std::vector<std::tuple<std::vector<std::string>, int, std::string>>{
           {chosen({"--methods", "local,fedit,fedalt,fedit"}), 2,
            "--chosen-by search: was not made with \"fedit\", \"fedalt\"; expected some of \"local\", \"fedalt mixer=none\", "
            "written"},
           {chosen({"--methods", "pooled"}), 2, "was not made with \"pooled\""},
           {chosen({"--methods", "local", "--set", "train.lr=1,2"}), 2,
            "--set train.lr: search has chosen train.lr=0.03 for \"local\""},
           {chosen({"--methods", "local", "sites=1"}), 2,
            "search: its sites are site-0, site-1, given are site-0; expected a search"},
           {chosen({"--methods", "local", "data.test=other_{site}.jsonl"}), 2, "other_0.jsonl was not among its inputs)"},
           {{"compare", "config.yaml", "--methods", "local", "--chosen-by", "model", "--out", "x"},
            2,
            "model: holds no comparison"},
           {{"compare", "--resume", "final", "--chosen-by", "search"}, 2, "--resume goes on with a comparison as it was begun"},
           {{"compare", "--resume", "final", "--search"}, 2, "--resume goes on with a comparison as it was begun"},
           {search({}), 2, "--search needs --set"},
           {search({"--set", "train.lr=1,2"}), 3, "config.yaml: site-0 has no validation data, by which --search"},
           {search({"--set", "validation=0.1,0.2"}), 2, "validation has to be the same in all variants"},
       }) {
    const ProcessResult result = testing::RunInProcess(*folder_, arguments);
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err << "lacks: " << part;
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(fs::exists(Path("x/comparison-spec.json")));
  }
}

}  // namespace
}  // namespace fedalt
