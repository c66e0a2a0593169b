// Whole comparisons of a tiny federation by the real program: the same twice, continued, refused, with failures.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "app/cli_process.h"
#include "app/comparison_json.h"
#include "base/directory_lock.h"

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
using testing::WithoutTimes;

/// Without what the clock says: the last column of the first table.
std::string TableWithoutTimes(const std::string& table) {
  return std::regex_replace(table, std::regex(" +(\\d+:\\d\\d|time)\\n"), "\n");
}

// One comparison of every method serves all tests of this file.
class Compare : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TestFolder;
    testing::WriteTinyRun(*folder_);
    result_ = new ProcessResult(RunFedalt(*folder_, Arguments("one")));
  }
  static void TearDownTestSuite() {
    delete result_;
    delete folder_;
  }
  static std::vector<std::string> Arguments(const std::string& out) {
    return {"compare",       "config.yaml", "--methods",   "local,fedit,fedit_ft,fedalt",
            "--seeds",       "2",           "--bootstrap", "200",
            "train.steps=8", "--out",       out,           "--quiet"};
  }
  static ProcessResult Run(const std::vector<std::string>& arguments) { return RunFedalt(*folder_, arguments); }

  static TestFolder* folder_;
  static ProcessResult* result_;
};
TestFolder* Compare::folder_ = nullptr;
ProcessResult* Compare::result_ = nullptr;

TEST_F(Compare, TwiceTheSameGivesTheSame) {
  ASSERT_EQ(result_->code, 0) << result_->err;
  EXPECT_EQ(result_->err, "");
  const ProcessResult two = Run(Arguments("two"));
  ASSERT_EQ(two.code, 0) << two.err;
  EXPECT_EQ(std::regex_replace(TableWithoutTimes(two.out), std::regex("in two\n$"), "in one\n"), TableWithoutTimes(result_->out));
  EXPECT_EQ(WithoutTimes(ReadJson(folder_->path() / "two/comparison.json")),
            WithoutTimes(ReadJson(folder_->path() / "one/comparison.json")));
  EXPECT_EQ(Slurp(folder_->path() / "two/comparison.csv"), Slurp(folder_->path() / "one/comparison.csv"));
}

TEST_F(Compare, EveryVariantIsThere) {
  const json comparison = ReadJson(folder_->path() / "one/comparison.json");
  std::vector<std::string> names;
  for (const json& row : comparison["rows"]) {
    names.push_back(row["name"]);
    for (const char* key :
         {"method", "preset", "overrides", "seeds_done", "mean", "worst", "per_site", "versus_reference", "metrics", "bytes_up",
          "bytes_down", "steps", "trained_parameters", "seconds", "train_seconds", "curve", "runs"})
      EXPECT_TRUE(row.contains(key)) << key;
    EXPECT_EQ(row["per_site"].size(), 2u);
    EXPECT_EQ(row["seeds_done"], row["name"] == "base" ? 1 : 2);
    for (const json& run : row["runs"]) EXPECT_TRUE(fs::exists(folder_->path() / "one" / run.get<std::string>() / "summary.json"));
    EXPECT_NE(result_->out.find("\n" + row["name"].get<std::string>() + "  "), std::string::npos) << result_->out;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"base", "local", "fedit", "fedit_ft", "fedalt", "local-2r", "pooled"}));
  EXPECT_EQ(comparison["seeds"], json({0, 1}));
  EXPECT_EQ(comparison["reference"], "local");
  EXPECT_TRUE(RowOf(comparison, "local")["versus_reference"].is_null());
  EXPECT_TRUE(RowOf(comparison, "fedalt")["versus_reference"]["p_holm"].is_number());
}

TEST_F(Compare, NumbersAreThoseOfTheRuns) {
  const json comparison = ReadJson(folder_->path() / "one/comparison.json");
  for (const json& row : comparison["rows"]) {
    json mean_of_runs = {{"rouge1", 0.0}, {"loss", 0.0}};
    for (const json& run : row["runs"]) {
      const json summary = ReadJson(folder_->path() / "one" / run.get<std::string>() / "summary.json");
      for (auto& [metric, sum] : mean_of_runs.items())
        sum = sum.get<double>() + summary["mean"][metric].get<double>() / static_cast<double>(row["runs"].size());
    }
    EXPECT_NEAR(row["mean"]["value"].get<double>(), mean_of_runs["rouge1"].get<double>(), 1e-12) << row["name"];
    EXPECT_NEAR(row["metrics"]["rouge1"].get<double>(), mean_of_runs["rouge1"].get<double>(), 1e-12) << row["name"];
    EXPECT_NEAR(row["metrics"]["loss"].get<double>(), mean_of_runs["loss"].get<double>(), 1e-12) << row["name"];
    EXPECT_LE(row["mean"]["low"].get<double>(), row["mean"]["value"].get<double>());
    EXPECT_GE(row["mean"]["high"].get<double>(), row["mean"]["value"].get<double>());
  }
  // Rank 2 on q_proj and v_proj of the tiny model: each adapter (2 x in + out x 2), for fedalt the mixers beside them.
  const int64_t one = RowOf(comparison, "local")["trained_parameters"];
  EXPECT_GT(one, 0);
  EXPECT_EQ(RowOf(comparison, "base")["trained_parameters"], 0);
  EXPECT_EQ(RowOf(comparison, "local-2r")["trained_parameters"], 2 * one);
  EXPECT_GT(RowOf(comparison, "fedalt")["trained_parameters"], one);
  EXPECT_EQ(RowOf(comparison, "fedit")["bytes_up"], 2 * 4 * one) << "two rounds, four bytes a value";
  EXPECT_EQ(RowOf(comparison, "local")["bytes_up"], 0);
  EXPECT_EQ(RowOf(comparison, "fedalt")["curve"].size(), 2u);
  const std::string csv = Slurp(folder_->path() / "one/comparison.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 2 * (1 + 6 * 2));
}

TEST_F(Compare, SaysWhoTookOtherSteps) {
  const json comparison = ReadJson(folder_->path() / "one/comparison.json");
  EXPECT_TRUE(RowOf(comparison, "base")["equal_budget"].is_null());
  EXPECT_EQ(RowOf(comparison, "fedalt")["equal_budget"], true);
  EXPECT_EQ(RowOf(comparison, "pooled")["equal_budget"], false);
  EXPECT_NE(result_->out.find("every site took 16 steps of 2 examples in local, fedit, fedit_ft, fedalt, local-2r\n"
                              "* not equal: pooled (32 steps of 2 examples)\n"),
            std::string::npos)
      << result_->out;
}

TEST_F(Compare, AnOverrideOfTheBudgetIsMarkedAndOneSeedIsSaid) {
  const ProcessResult result = Run(
      {"compare", "config.yaml", "--methods", "local,fedalt:train.steps=3", "--set", "train.batch_size=2,1", "--out", "unequal"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(
      result.out.find("* not equal: local train.batch_size=1 (4 steps of 1 examples), fedalt train.steps=3 train.batch_size=2 (6 "
                      "steps of 2 examples), fedalt train.steps=3 train.batch_size=1 (6 steps of 1 examples), pooled (8 "),
      std::string::npos)
      << result.out;
  EXPECT_NE(result.out.find("reference: local train.batch_size=2\n"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("with one seed, what another seed would change is not covered"), std::string::npos) << result.out;
  EXPECT_NE(result.err.find("run 7 of 7, pooled, seed 0, about 0:0"), std::string::npos) << result.err;
}

TEST_F(Compare, ALossHasIntervalsOfSeedsOnly) {
  const auto arguments = [](const char* seeds, const char* out) {
    return std::vector<std::string>{"compare",
                                    "config.yaml",
                                    "eval.metrics=[loss]",
                                    "eval.generate=false",
                                    "--methods",
                                    "local",
                                    "--seeds",
                                    seeds,
                                    "--out",
                                    out,
                                    "--format",
                                    "json",
                                    "--quiet"};
  };
  const json one = json::parse(Run(arguments("1", "loss-1")).out, nullptr, false);
  const json two = json::parse(Run(arguments("2", "loss-2")).out, nullptr, false);
  ASSERT_TRUE(one.is_object() && two.is_object());
  EXPECT_EQ(one["out"], (folder_->path() / "loss-1").string());
  EXPECT_EQ(one["higher_is_better"], false);
  EXPECT_TRUE(RowOf(one, "local")["mean"]["low"].is_null());
  EXPECT_TRUE(RowOf(one, "pooled")["versus_reference"]["p"].is_null());
  EXPECT_TRUE(RowOf(two, "base")["mean"]["low"].is_null()) << "one run has no spread";
  EXPECT_LT(RowOf(two, "local")["mean"]["low"], RowOf(two, "local")["mean"]["high"]);
  const json& sites = RowOf(two, "local")["per_site"];
  EXPECT_EQ(RowOf(two, "local")["worst"]["value"], std::max(sites[0]["value"].get<double>(), sites[1]["value"].get<double>()));
}

TEST_F(Compare, WhatIsDoneIsNotRepeated) {
  const fs::path summary = folder_->path() / "one/runs/fedalt/seed-1/summary.json";
  const auto written = fs::last_write_time(summary);
  fs::remove(folder_->path() / "one/comparison.json");
  const ProcessResult result = Run({"compare", "--resume", "one"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out, result_->out);
  EXPECT_NE(result.err.find("is finished"), std::string::npos) << result.err;
  EXPECT_EQ(fs::last_write_time(summary), written);
  // Half a run and a whole one are missing.
  fs::remove(summary);
  fs::remove_all(folder_->path() / "one/runs/pooled/seed-0");
  const ProcessResult again = Run(Arguments("one"));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(TableWithoutTimes(again.out), TableWithoutTimes(result_->out));
}

TEST_F(Compare, StatisticsMayBeChosenAnew) {
  const ProcessResult result =
      Run({"compare", "--resume", "one", "--reference", "base", "--bootstrap", "50", "--format", "json", "--quiet"});
  const json comparison = json::parse(result.out, nullptr, false);
  ASSERT_TRUE(comparison.is_object()) << result.err;
  EXPECT_EQ(comparison["bootstrap"], 50);
  EXPECT_TRUE(RowOf(comparison, "base")["versus_reference"].is_null());
  EXPECT_TRUE(RowOf(comparison, "local")["versus_reference"].is_object());
  ASSERT_EQ(Run({"compare", "--resume", "one", "--reference", "local", "--bootstrap", "200", "--quiet"}).code, 0);
}

TEST_F(Compare, AnotherComparisonInTheSamePlaceIsRefused) {
  std::vector<std::string> arguments = Arguments("one");
  arguments[5] = "3";
  const ProcessResult seeds = Run(arguments);
  EXPECT_EQ(seeds.code, 6);
  EXPECT_EQ(seeds.err, "fedalt: one: holds another comparison (its seeds are 0, 1, given are 0, 1, 2); choose another --out\n");
  const ProcessResult unrelated = Run({"compare", "config.yaml", "--methods", "local", "--out", "model"});
  EXPECT_EQ(unrelated.code, 6);
  EXPECT_NE(unrelated.err.find("is not empty and holds no comparison"), std::string::npos) << unrelated.err;
}

TEST_F(Compare, TwoAtOnceInOnePlaceAreRefused) {
  const auto lock = DirectoryLock::Take(folder_->path() / "one", "comparison");
  ASSERT_TRUE(lock.ok()) << lock.status();
  for (const ProcessResult& result : {Run(Arguments("one")), Run({"compare", "--resume", "one"})}) {
    EXPECT_EQ(result.code, 2);
    EXPECT_NE(result.err.find("another fedalt is at work in this comparison"), std::string::npos) << result.err;
  }
}

TEST_F(Compare, ChangedInputsAreRefused) {
  TestFolder folder;
  testing::WriteTinyRun(folder);
  const std::vector<std::string> arguments = {"compare", "config.yaml", "--methods", "local", "--out", "out", "--quiet"};
  ASSERT_EQ(RunFedalt(folder, arguments).code, 0);
  folder.Write("test_1.jsonl", "{\"instruction\": \"a\", \"output\": \"b\"}\n");
  const ProcessResult same_command = RunFedalt(folder, arguments);
  EXPECT_EQ(same_command.code, 5);
  EXPECT_NE(same_command.err.find("test_1.jsonl has changed"), std::string::npos) << same_command.err;
  EXPECT_EQ(RunFedalt(folder, {"compare", "--resume", "out", "--quiet"}).code, 0) << "nothing is left to run";
  fs::remove_all(folder.path() / "out/runs/pooled");
  EXPECT_EQ(RunFedalt(folder, {"compare", "--resume", "out", "--quiet"}).code, 5);
}

TEST_F(Compare, ChangedResultsAreRefused) {
  TestFolder folder;
  testing::WriteTinyRun(folder);
  ASSERT_EQ(RunFedalt(folder, {"compare", "config.yaml", "--methods", "local", "--out", "out", "--quiet"}).code, 0);
  const fs::path predictions = folder.path() / "out/runs/local/seed-0/predictions/002/site-0.jsonl";
  std::string text = Slurp(predictions);
  const size_t answer = text.find("\"prediction\":\"") + 14;
  text.replace(answer, text.find('"', answer) - answer, "meow woof");
  std::ofstream(predictions, std::ios::binary) << text;
  const ProcessResult result = RunFedalt(folder, {"compare", "--resume", "out", "--quiet"});
  EXPECT_EQ(result.code, 6);
  EXPECT_NE(result.err.find("where the run recorded"), std::string::npos) << result.err;
}

TEST_F(Compare, AFailedRunIsRecordedAndTheOthersGoOn) {
  // A decay of more than the weights themselves: they grow until they overflow.
  const ProcessResult result = Run({"compare", "config.yaml", "--methods", "local", "--set", "train.weight_decay=0,10", "--out",
                                    "failed", "--quiet", "train.lr=10", "train.steps=40", "train.schedule=constant"});
  EXPECT_EQ(result.code, 8);
  EXPECT_NE(
      result.err.find("fedalt: 1 of 5 runs failed, the first of them runs/local_train.weight_decay=10/seed-0: round 1/2, site"),
      std::string::npos)
      << result.err;
  EXPECT_NE(result.out.find("\nfailed: local train.weight_decay=10, seed 0: round 1/2, site "), std::string::npos) << result.out;
  const json comparison = ReadJson(folder_->path() / "failed/comparison.json");
  const json& row = RowOf(comparison, "local train.weight_decay=10");
  EXPECT_EQ(row["seeds_done"], 0);
  EXPECT_TRUE(row["mean"]["value"].is_null());
  EXPECT_EQ(row["failed"].size(), 1u);
  EXPECT_EQ(RowOf(comparison, "pooled")["seeds_done"], 1);
  const ProcessResult again = Run({"compare", "--resume", "failed"});
  EXPECT_EQ(again.code, 8);
  EXPECT_EQ(again.out, result.out);
}

TEST_F(Compare, UsageErrorsAreOneSentence) {
  for (const auto& [arguments, code, part] : std::vector<std::tuple<std::vector<std::string>, int, const char*>>{
           {{"compare"}, 2, "needs a configuration file"},
           {{"compare", "config.yaml", "--out", "x"}, 2, "needs --methods"},
           {{"compare", "config.yaml", "--methods", "local"}, 2, "needs --out DIR"},
           {{"compare", "--resume", "one", "--out", "x"}, 2, "--resume goes on with a comparison as it was begun"},
           {{"compare", "--resume", "model"}, 2, "holds no comparison"},
           {{"compare", "config.yaml", "--methods", "fedal", "--out", "x"}, 2, "unknown method \"fedal\""},
           {{"compare", "config.yaml", "--methods", "local", "--set", "train.lrr=1", "--out", "x"},
            3,
            "nearest known key is \"train.lr\""},
           {{"compare", "config.yaml", "--methods", "local", "--seeds", "0", "--out", "x"}, 2, "--seeds"},
           {{"compare", "config.yaml", "--methods", "local", "--reference", "b", "--out", "x"}, 2, "expected one of \"base\""},
           {{"compare", "absent.yaml", "--methods", "local", "--out", "x"}, 3, "absent.yaml"},
       }) {
    const ProcessResult result = testing::RunInProcess(*folder_, arguments);
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(fs::exists(folder_->path() / "x"));
  }
}

}  // namespace
}  // namespace fedalt
