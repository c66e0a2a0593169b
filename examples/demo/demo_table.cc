// demo_table: one table of several runs. Reads the JSON that `fedalt run --format json` printed.
//
// A file is named ROW--SEED.json; the rows come out in the order given, each as the mean over its seeds.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"

namespace fedalt::demo {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Shares of right answers in one run, 0..1: means over sites, and the worst site.
struct Result {
  double mean = 0.0, seen = 0.0, unseen = 0.0, worst = 0.0;
};

StatusOr<double> ExactMatch(const Json& scores, const fs::path& file) {
  if (scores.is_object() && scores.contains("exact_match") && scores["exact_match"].is_number())
    return scores["exact_match"].get<double>();
  return DataError(absl::StrCat(file.string(),
                                " has a site without exact_match, all or by tag; expected the output of fedalt run "
                                "--format json on a world of the demo"));
}

StatusOr<Result> ReadResult(const fs::path& file) {
  constexpr size_t kMaxBytes = size_t{64} << 20;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, ErrorKind::kData, kMaxBytes));
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("sites") || !json["sites"].is_array() || json["sites"].empty())
    return DataError(absl::StrCat(file.string(), " lists no sites; expected the output of fedalt run --format json"));
  Result result;
  result.worst = 1.0;
  const auto share = 1.0 / static_cast<double>(json["sites"].size());
  const Json nothing;
  for (const Json& site : json["sites"]) {
    const Json& tags = site.is_object() && site.contains("by_tag") ? site["by_tag"] : nothing;
    const auto tag = [&](const char* name) -> const Json& {
      return tags.is_object() && tags.contains(name) ? tags[name] : nothing;
    };
    ASSIGN_OR_RETURN(const double all, ExactMatch(site, file));
    ASSIGN_OR_RETURN(const double seen, ExactMatch(tag("seen"), file));
    ASSIGN_OR_RETURN(const double unseen, ExactMatch(tag("unseen"), file));
    result.mean += share * all;
    result.seen += share * seen;
    result.unseen += share * unseen;
    result.worst = std::min(result.worst, all);
  }
  return result;
}

StatusOr<std::map<std::string, std::vector<Result>>> ReadAll(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error))
    if (entry.path().extension() == ".json" && entry.path().stem().string().find("--") != std::string::npos)
      files.push_back(entry.path());
  if (error) return DataError(absl::StrCat("cannot list ", directory.string(), ": ", error.message()));
  std::sort(files.begin(), files.end());
  std::map<std::string, std::vector<Result>> rows;
  for (const fs::path& file : files) {
    ASSIGN_OR_RETURN(const Result result, ReadResult(file));
    const std::string stem = file.stem().string();
    rows[stem.substr(0, stem.rfind("--"))].push_back(result);
  }
  return rows;
}

void PrintRow(const std::string& name, const std::vector<Result>& results) {
  Result sum;
  for (const Result& result : results) {
    sum.mean += result.mean;
    sum.seen += result.seen;
    sum.unseen += result.unseen;
    sum.worst += result.worst;
  }
  const double scale = 100.0 / static_cast<double>(results.size());
  std::printf("%s", absl::StrFormat("| %-28s | %5.1f | %5.1f | %6.1f | %10.1f | %5d |\n", name, sum.mean * scale, sum.seen * scale,
                                    sum.unseen * scale, sum.worst * scale, results.size())
                        .c_str());
}

Status PrintTable(const fs::path& directory, const std::vector<std::string>& order) {
  ASSIGN_OR_RETURN(const auto rows, ReadAll(directory));
  std::printf("| exact match, %%               |  mean |  seen | unseen | worst site | seeds |\n");
  std::printf("|------------------------------|-------|-------|--------|------------|-------|\n");
  for (const std::string& name : order) {
    const auto row = rows.find(name);
    if (row == rows.end())
      return DataError(absl::StrCat("there is no ", name, "--SEED.json in ", directory.string(), "; run that row first"));
    PrintRow(name, row->second);
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app{"Prints the table of the demo.\nExample: demo_table build/demo/results local fedalt-recommended"};
  std::string directory;
  std::vector<std::string> order;
  app.add_option("directory", directory, "holds ROW--SEED.json files")->required();
  app.add_option("rows", order, "rows to print, in this order")->required();
  CLI11_PARSE(app, argc, argv);
  const Status status = PrintTable(directory, order);
  if (status.ok()) return 0;
  std::fprintf(stderr, "demo_table: %s\n", std::string(status.message()).c_str());
  return static_cast<int>(KindOf(status));
}

}  // namespace
}  // namespace fedalt::demo

int main(int argc, char** argv) {
  return fedalt::demo::Main(argc, argv);
}
