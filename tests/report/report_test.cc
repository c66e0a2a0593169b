// The report's data are those of the files, and whatever the files hold stays text.
#include "report/report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "report/page_parts.h"
#include "report/run_files.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string Slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

constexpr std::string_view kDataBegin = "<script type=\"application/json\" id=\"data\">";

/// What a browser would take for the text of the element with the data: up to the first end tag of a script, in any case of
/// letters.
std::string DataElement(const std::string& page) {
  const size_t begin = page.find(kDataBegin) + kDataBegin.size();
  std::string lower = page;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return page.substr(begin, lower.find("</script", begin) - begin);
}

class Report : public ::testing::Test {
 protected:
  Report() {
    std::string pattern = (fs::temp_directory_path() / "fedalt-report-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  ~Report() override { fs::remove_all(root_); }

  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name, std::ios::binary) << text;
  }

  /// A line of metrics.jsonl of an evaluated round.
  static json Line(const std::string& site, int64_t round, double loss) {
    return {{"round", round},
            {"site", site},
            {"participated", true},
            {"train_loss", 2 * loss},
            {"train_tokens", 1000},
            {"tokens_per_s", 500.0},
            {"bytes_up", 100},
            {"bytes_down", 50},
            {"deployed", "before_swap"},
            {"loss", loss},
            {"rouge1", 1.0 / loss},
            {"exact_match", 0.25},
            {"rouge_beyond_latin", 2},
            {"mixer", {{"model.layers.10.q_proj", 0.75}, {"model.layers.2.mlp.up_proj", 0.25}, {"model.layers.2.q_proj", 0.5}}}};
  }

  void WriteRun(int64_t sites, int64_t rounds) const {
    Write("config.yaml",
          "model: \"/models/tiny\"\nmethod: fedalt\npreset: none\neval:\n  metrics: [exact_match, rouge1]\nseed: 7\n");
    std::string lines;
    for (int64_t round = 1; round <= rounds; ++round) {
      for (int64_t site = 0; site < sites; ++site)
        lines += Line("site-" + std::to_string(site), round, 1.0 + static_cast<double>(site) / 10).dump() + "\n";
      lines += Line("mean", round, 1.5).dump() + "\n";
    }
    Write("metrics.jsonl", lines);
  }

  json Data() const {
    const auto report = WriteReport(root_);
    EXPECT_TRUE(report.ok()) << report.status();
    const std::string page = Slurp(root_ / "report.html");
    EXPECT_EQ(static_cast<int64_t>(page.size()), report.ok() ? report->bytes : 0);
    return json::parse(DataElement(page), nullptr, false);
  }

  /// The failure: its kind, and that it is one sentence which holds `part`.
  void ExpectError(ErrorKind kind, const std::string& part) const {
    const auto report = WriteReport(root_);
    ASSERT_FALSE(report.ok()) << part;
    const std::string message(report.status().message());
    EXPECT_EQ(KindOf(report.status()), kind) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(root_ / "report.html"));
  }

  fs::path root_;
};

TEST_F(Report, EmbeddedFilesAreThoseOfTheSource) {
  const fs::path source = fs::path(FEDALT_SOURCE) / "src/report";
  EXPECT_EQ(kPageHtml, Slurp(source / "page.html"));
  EXPECT_EQ(kPageCss, Slurp(source / "page.css"));
  std::string script;
  for (const char* name : {"page.js", "page_charts.js", "page_tables.js", "page_run.js", "page_run_parts.js", "page_comparison.js"})
    script += Slurp(source / name);
  EXPECT_EQ(kPageJs, script);
  EXPECT_EQ(kChartJs, Slurp(FEDALT_CHART_FILE));
  for (const std::string_view part : {kPageCss, kPageJs, kChartJs}) {
    EXPECT_EQ(part.find("</script"), part.npos) << "would end its element";
    EXPECT_EQ(part.find("</style"), part.npos) << "would end its element";
  }
}

TEST_F(Report, HoldsTheNumbersOfTheFiles) {
  WriteRun(3, 4);
  Write("cross_site.json",
        R"({"round": 4, "examples": 2, "models": ["site-0"], "tests": ["site-0", "site-1"], "loss": [[1.5, null]]})");
  const json data = Data();
  EXPECT_EQ(data["kind"], "run");
  EXPECT_EQ(data["method"], "fedalt");
  EXPECT_EQ(data["model"], "tiny");
  EXPECT_EQ(data["seed"], "7");
  EXPECT_EQ(data["finished"], false);
  EXPECT_EQ(data["metrics"], json({"exact_match", "rouge1"}));
  EXPECT_EQ(data["final"][0]["rouge_beyond_latin"], 2);
  EXPECT_EQ(data["sites"], json({"site-0", "site-1", "site-2"}));
  EXPECT_EQ(data["curves"]["rounds"], json({1, 2, 3, 4}));
  for (size_t k = 0; k < 3; ++k) {
    const json line = Line("", 4, 1.0 + static_cast<double>(k) / 10);
    EXPECT_EQ(data["final"][k]["loss"], line["loss"]);
    EXPECT_EQ(data["final"][k]["rouge1"], line["rouge1"]);
    EXPECT_EQ(data["curves"]["sites"][k]["rouge1"], json::array({line["rouge1"], line["rouge1"], line["rouge1"], line["rouge1"]}));
    EXPECT_FALSE(data["curves"]["sites"][k].contains("after_swap.loss")) << "never measured";
    EXPECT_EQ(data["mixer"]["sites"][k][3], json({0.5, 0.25, 0.75}));
  }
  EXPECT_EQ(data["curves"]["mean"]["loss"][0], 1.5);
  EXPECT_EQ(data["mixer"]["layers"], json({"model.layers.2.q_proj", "model.layers.2.mlp.up_proj", "model.layers.10.q_proj"}))
      << "as a token meets them";
  EXPECT_EQ(data["traffic"]["bytes_up"], json({300.0, 300.0, 300.0, 300.0}));
  EXPECT_EQ(data["traffic"]["total"]["bytes_down"], 600.0);
  EXPECT_EQ(data["traffic"]["total"]["train_seconds"], 24.0) << "1000 tokens at 500 a second, 3 sites, 4 rounds";
  EXPECT_EQ(data["cross_site"]["loss"], json::parse("[[1.5, null]]"));
  for (const char* absent : {"influence", "predictions", "environment", "date", "worst"})
    EXPECT_TRUE(data[absent].is_null()) << absent;
}

TEST_F(Report, ARunOfAComparisonIsCalledByItsVariantAndSeed) {
  WriteRun(1, 1);
  const fs::path comparison = root_ / "comparison", run = comparison / "runs/fedalt_mixer=none/seed-3";
  fs::create_directories(run);
  for (const char* file : {"config.yaml", "metrics.jsonl"}) fs::copy_file(root_ / file, run / file);
  const auto title = [&] {
    EXPECT_TRUE(WriteReport(run).ok());
    return json::parse(DataElement(Slurp(run / "report.html")), nullptr, false)["directory"];
  };
  EXPECT_EQ(title(), "seed-3") << "no comparison is there";
  Write("comparison/comparison-spec.json", R"({"variants": [{"folder": "x", "name": "y"}, 3,
        {"folder": "fedalt_mixer=none", "name": "fedalt mixer=none"}]})");
  EXPECT_EQ(title(), "fedalt mixer=none, seed 3");
  Write("comparison/comparison-spec.json", "broken");
  EXPECT_EQ(title(), "seed-3");
}

TEST_F(Report, TheLastEvaluatedRoundIsTheResult) {
  WriteRun(2, 2);
  std::string lines = Slurp(root_ / "metrics.jsonl");
  json line = Line("site-0", 3, 9.0);
  line["loss"] = line["rouge1"] = nullptr;
  Write("metrics.jsonl", lines + line.dump() + "\n" + "{\"round\": 3, \"site\": \"si");  // and a line that a crash cut off
  const json data = Data();
  EXPECT_EQ(data["evaluated_round"], 2);
  EXPECT_EQ(data["rounds"], 3);
  EXPECT_EQ(data["final"][0]["loss"], 1.0);
  EXPECT_TRUE(data["curves"]["sites"][1]["loss"][2].is_null());
}

TEST_F(Report, SharesOfContributorsStandInTheOrderOfTheSites) {
  WriteRun(2, 1);
  json line = Line("site-1", 2, 1.0);
  line["rest_of_world_influence"] = {{"site-0", 0.75}, {"elsewhere", 0.25}};
  Write("metrics.jsonl", Slurp(root_ / "metrics.jsonl") + Line("site-0", 2, 1.0).dump() + "\n" + line.dump() + "\n");
  const json influence = Data()["influence"];
  EXPECT_EQ(influence["contributors"], json({"site-0", "site-1", "elsewhere"}));
  EXPECT_EQ(influence["shares"], json::parse("[[null, null, null], [0.75, null, 0.25]]"));
}

TEST_F(Report, ASiteOfAFederationSeesWhetherItsContributionWasUsed) {
  std::string lines;
  // Of round 1 it only reads; it is late for 3 to 5, absent in 7, and of 8 nothing counts any more.
  const std::vector<std::pair<bool, int64_t>> rounds = {{false, 0}, {true, 2}, {true, 2},  {true, 2},
                                                        {true, 2},  {true, 6}, {false, 6}, {true, 0}};
  for (size_t i = 0; i < rounds.size(); ++i) {
    const auto round = static_cast<int64_t>(i) + 1;
    json line = Line("site-0", round, 1.0);
    line["participated"] = rounds[i].first;
    line["counted"] = rounds[i].second == round;
    line["counted_round"] = rounds[i].second;
    lines += line.dump() + "\n";
  }
  WriteRun(1, 1);
  EXPECT_FALSE(Data().contains("contributions")) << "a run on one machine";
  Write("metrics.jsonl", lines);
  EXPECT_EQ(Data()["contributions"], json::parse(R"([{"site": "site-0", "rounds": 6, "counted": 2, "missed": [
      {"first": 3, "last": 5, "counted_round": 2}, {"first": 8, "last": 8, "counted_round": 0}]}])"));
  for (const char* broken : {"-1", "1.5", "1e300", "null", "\"x\"", "18446744073709551615"}) {
    Write("metrics.jsonl",
          R"({"round": 1, "site": "site-0", "participated": true, "counted_round": )" + std::string(broken) + "}\n");
    EXPECT_FALSE(Data().contains("contributions")) << broken;
  }
}

TEST_F(Report, HostileTextStaysText) {
  const std::string hostile = "</script><img src=x onerror=alert(1)><!-- \"quoted\" 'single' \\ {{script}} </SCRIPT>";
  WriteRun(1, 1);
  const json line = Line(hostile, 2, 1.0);
  Write("metrics.jsonl", line.dump() + "\n" + Line("site-1", 2, 1.0).dump() + "\n" + Line("../../config", 2, 1.0).dump() + "\n");
  json answer = {{"instruction", hostile}, {"reference", "a"}, {"prediction", " a\n"}};
  Write("predictions/002/site-1.jsonl",
        answer.dump() + "\n{\"instruction\": \"bad \xff byte\", \"reference\": \"\", \"prediction\": \"b\"}\n");
  const json data = Data();
  EXPECT_EQ(data["sites"], json({hostile, "site-1", "../../config"}));
  const json& answers = data["predictions"]["sites"][1];
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0]["instruction"], hostile);
  EXPECT_EQ(answers[0]["exact"], true) << "after trimming, as the score is counted";
  EXPECT_EQ(answers[1]["instruction"], "bad \xef\xbf\xbd byte");
  EXPECT_EQ(answers[1]["exact"], false);
  EXPECT_TRUE(data["predictions"]["sites"][2].empty()) << "a name leads to no other file";
  const std::string page = Slurp(root_ / "report.html");
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(DataElement(page).find('<'), std::string::npos);
}

TEST_F(Report, LongTextsAreCutBetweenCharacters) {
  WriteRun(1, 1);
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "\xc3\xa4";
  Write("predictions/001/site-0.jsonl", json{{"instruction", "x" + text}, {"reference", text}, {"prediction", text}}.dump() + "\n");
  const json answer = Data()["predictions"]["sites"][0][0];
  EXPECT_EQ(answer["instruction"].get<std::string>().size(), 399 + 4u) << "of 400 bytes the last would be half a character";
  EXPECT_EQ(answer["instruction"].get<std::string>().find("\xef\xbf\xbd"), std::string::npos);
  EXPECT_EQ(answer["exact"], true) << "decided on the whole text";
}

TEST_F(Report, AManySitedRunStaysSmall) {
  WriteRun(200, 100);
  const json data = Data();
  EXPECT_EQ(data["sites"].size(), 200u);
  const json& rounds = data["curves"]["rounds"];
  EXPECT_LE(rounds.size(), 30u);
  EXPECT_EQ(rounds.front(), 1);
  EXPECT_EQ(rounds.back(), 100);
  EXPECT_EQ(data["curves"]["of"], 100) << "the page says that rounds are left out";
  EXPECT_EQ(data["traffic"]["total"]["bytes_up"], 200 * 100 * 100.0) << "totals are of all rounds";
  EXPECT_LT(fs::file_size(root_ / "report.html"), 4'000'000u);
}

TEST_F(Report, NothingIsAskedOfANetwork) {
  WriteRun(1, 1);
  const json data = Data();
  const std::string page = Slurp(root_ / "report.html");
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  for (const char* part : {" src=", "@import", "url(", "fetch(", "XMLHttpRequest", "{{nonce}}"})
    EXPECT_EQ(page.find(part), std::string::npos) << part;
}

TEST_F(Report, TheSameFilesGiveTheSameBytes) {
  WriteRun(2, 2);
  Data();
  const std::string first = Slurp(root_ / "report.html");
  Data();
  EXPECT_EQ(Slurp(root_ / "report.html"), first);
}

TEST_F(Report, MissingAndDamagedFilesAreNamed) {
  ExpectError(ErrorKind::kUsage, "holds neither a run (config.yaml) nor a comparison (comparison.json)");
  Write("config.yaml", "method: fedalt\n");
  ExpectError(ErrorKind::kUsage, "no round of this run is recorded yet");
  Write("metrics.jsonl", "");
  ExpectError(ErrorKind::kUsage, "no round of this run is recorded yet");
  const std::string good = Line("site-0", 1, 1.0).dump() + "\n";
  Write("metrics.jsonl", good + "{\"round\": 1, \n");
  ExpectError(ErrorKind::kOutput, "metrics.jsonl: is damaged (line 2");
  Write("metrics.jsonl", good + "{\"round\": 1}\n");
  ExpectError(ErrorKind::kOutput, "line 2: it has no \"round\" and \"site\"");
  Write("metrics.jsonl", good);
  Write("summary.json", "[]");
  ExpectError(ErrorKind::kOutput, "summary.json: is damaged (it is not a JSON object)");
  fs::remove(root_ / "summary.json");
  Write("predictions/001/site-0.jsonl", "nonsense\n");
  ExpectError(ErrorKind::kOutput, "site-0.jsonl: is damaged");
  fs::remove_all(root_ / "predictions");
  for (const char* matrix :
       {"{}", R"({"models": ["a"], "tests": ["a", "b"], "loss": [[1]]})", R"({"models": ["a"], "tests": ["a"], "loss": [["x"]]})",
        R"({"models": [1], "tests": ["a"], "loss": [[1]]})"}) {
    Write("cross_site.json", matrix);
    ExpectError(ErrorKind::kOutput, "cross_site.json: is damaged (expected \"models\"");
  }
  fs::remove(root_ / "cross_site.json");
  Write("environment.json", "{");
  ExpectError(ErrorKind::kOutput, "environment.json: is damaged");
}

TEST_F(Report, AComparisonIsPassedOnWhole) {
  const std::string text = Slurp(fs::path(FEDALT_TEST_DATA) / "report/comparison.json");
  Write("comparison.json", text);
  Write("runs/local/seed-1/report.html", "x");
  const json data = Data();
  EXPECT_EQ(data["kind"], "comparison");
  EXPECT_EQ(data["comparison"], json::parse(text));
  ASSERT_EQ(data["links"].size(), 6u);
  EXPECT_EQ(data["links"][0], json::parse(R"([{"run": "runs/local/seed-0", "report": false},
      {"run": "runs/local/seed-1", "report": true}, {"run": "runs/local/seed-2", "report": false}])"));
}

TEST_F(Report, LinksOfAComparisonStayBelowIt) {
  json comparison = {{"metric", "loss"},
                     {"rows", json::array({json{{"name", "a"}, {"runs", {"../x", "/etc", "javascript:alert(1)", "", 3}}}})}};
  Write("comparison.json", comparison.dump());
  const json data = Data();
  for (const json& link : data["links"][0]) EXPECT_EQ(link["report"], false) << link;
}

TEST_F(Report, ADamagedComparisonIsNamed) {
  for (const auto& [text, part] : {std::pair{"{", "broken JSON"}, std::pair{"{}", "no \"metric\""},
                                   std::pair{R"({"metric": "loss", "rows": []})", "no \"rows\""},
                                   std::pair{R"({"metric": "loss", "rows": [{}]})", "a row has no \"name\""}}) {
    Write("comparison.json", text);
    ExpectError(ErrorKind::kOutput, part);
  }
}

TEST(ReportConfig, ReadsWhatTheProgramWrites) {
  const std::string yaml =
      "# x\nmodel: \"/a b\"\ntrain:\n  rounds: 5\n  seed: 9\neval:\n  rounds: 6\n  metrics: [loss, \"rouge1\"]\nseed: 1\n";
  EXPECT_EQ(ConfigValue(yaml, "model"), "/a b");
  EXPECT_EQ(ConfigValue(yaml, "train.rounds"), "5");
  EXPECT_EQ(ConfigValue(yaml, "eval.rounds"), "6");
  EXPECT_EQ(ConfigValue(yaml, "seed"), "1");
  EXPECT_EQ(ConfigValue(yaml, "keep.rounds"), "");
  EXPECT_EQ(ConfigList(yaml, "eval.metrics"), (std::vector<std::string>{"loss", "rouge1"}));
  EXPECT_TRUE(ConfigList(yaml, "seed").empty());
}

}  // namespace
}  // namespace fedalt
