// The report of a real run: `fedalt run` leaves one, `fedalt report` makes the same again, and a disk without room for it costs
// nothing else.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "app/cli_process.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ProcessResult;
using testing::RunFedalt;
using testing::Slurp;

json DataOf(const fs::path& report) {
  const std::string page = Slurp(report), begin = "id=\"data\">";
  const size_t place = page.find(begin) + begin.size();
  return json::parse(page.substr(place, page.find("</script>", place) - place), nullptr, false);
}

TEST(CliReport, ARunLeavesItsReportAndItCanBeMadeAgain) {
  const testing::TestFolder folder;
  testing::WriteTinyRun(folder);
  const ProcessResult run = RunFedalt(folder, {"run", "config.yaml", "--out", "out", "--format", "json", "--quiet"});
  ASSERT_EQ(run.code, 0) << run.err;
  const json summary = json::parse(run.out, nullptr, false);
  const fs::path path = folder.path() / "out/report.html";
  const json data = DataOf(path);
  EXPECT_EQ(data["finished"], true);
  EXPECT_EQ(data["method"], summary["method"]);
  EXPECT_EQ(data["model"], "model");
  EXPECT_EQ(data["seed"], "0");
  EXPECT_EQ(data["worst"], summary["worst"]["site"]);
  EXPECT_EQ(data["rounds"], 2);
  EXPECT_EQ(data["rounds_planned"], "2");
  EXPECT_EQ(data["config"], Slurp(folder.path() / "out/config.yaml"));
  EXPECT_EQ(data["environment"], json::parse(Slurp(folder.path() / "out/environment.json")));
  EXPECT_TRUE(data["date"].is_string());
  ASSERT_EQ(data["final"].size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    for (const char* field : {"train_loss", "loss", "rouge1", "exact_match", "tokens_per_s", "deployed"})
      EXPECT_EQ(data["final"][i][field], summary["sites"][i][field]) << field;
    EXPECT_EQ(data["final"][i]["ablations"]["base"]["loss"], summary["sites"][i]["ablations"]["base"]["loss"]);
    EXPECT_EQ(data["curves"]["sites"][i]["after_swap.loss"][1], summary["sites"][i]["after_swap"]["loss"]);
    EXPECT_EQ(data["predictions"]["sites"][i].size(), 2u);
  }
  const std::string first = Slurp(path);
  fs::remove(path);
  const ProcessResult again = RunFedalt(folder, {"report", "out"});
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, "the report is out/report.html\n");
  EXPECT_EQ(Slurp(path), first);
  const json object = json::parse(RunFedalt(folder, {"report", "out", "--format", "json"}).out, nullptr, false);
  EXPECT_EQ(object, (json{{"report", "out/report.html"}, {"kind", "run"}, {"bytes", first.size()}}));
}

TEST(CliReport, ARunIsWholeWithoutItsReport) {
  const testing::TestFolder folder;
  testing::WriteTinyRun(folder);
  // Chart.js alone is larger than this; everything else of the run is smaller.
  const ProcessResult run =
      RunFedalt(folder, {"run", "config.yaml", "--out", "out", "--format", "json", "--quiet"}, "", "", 150'000);
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(json::parse(run.out, nullptr, false)["mean"]["loss"].is_number());
  EXPECT_NE(run.err.find("warning: everything is done, but the report was not written"), std::string::npos) << run.err;
  EXPECT_FALSE(fs::exists(folder.path() / "out/report.html"));
  EXPECT_EQ(RunFedalt(folder, {"report", "out"}, "", "", 150'000).code, 6);
  EXPECT_EQ(RunFedalt(folder, {"report", "out"}).code, 0);
}

TEST(CliReport, SaysWhatItCannotReport) {
  const testing::TestFolder folder;
  for (const auto& [name, code] : {std::pair{"absent", 2}, std::pair{".", 2}}) {
    const ProcessResult result = testing::RunInProcess(folder, {"report", name});
    EXPECT_EQ(result.code, code);
    EXPECT_NE(result.err.find("holds neither a run"), std::string::npos) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
  folder.Write("comparison.json", "{}");
  EXPECT_EQ(testing::RunInProcess(folder, {"report", "."}).code, 6);
}

}  // namespace
}  // namespace fedalt
