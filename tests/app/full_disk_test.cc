// label: slow
// A run of the real program on a disk that fills up in the middle of each file that a run writes, and what is there after space was
// made.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "app/cli_process.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ProcessResult;
using testing::RunFedalt;

json Sites(const ProcessResult& result) {
  EXPECT_EQ(result.code, 0) << result.err;
  json sites = json::parse(result.out, nullptr, false).value("sites", json::array());
  EXPECT_FALSE(sites.empty()) << result.out;
  for (json& site : sites) site.erase("tokens_per_s");
  return sites;
}

TEST(FullDisk, NothingIsHalfWrittenAndNothingIsLost) {
  const testing::TestFolder folder;
  testing::WriteTinyRun(folder);
  const std::vector<std::string> tail = {"--format", "json", "--quiet"};
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), tail.begin(), tail.end());
    return RunFedalt(folder, arguments);
  };
  const json undisturbed = Sites(run({"run", "config.yaml", "--out", "out"}));
  std::set<uintmax_t> limits;  // half of each file fits; without its report a run is whole (app/cli_report)
  for (const auto& entry : fs::recursive_directory_iterator(folder.path() / "out"))
    if (entry.is_regular_file() && entry.file_size() > 1 && entry.path().filename() != "report.html")
      limits.insert(entry.file_size() / 2);
  ASSERT_GT(limits.size(), 5u);
  for (const uintmax_t limit : limits) {
    SCOPED_TRACE(limit);
    fs::remove_all(folder.path() / "full");
    const ProcessResult full = RunFedalt(folder, {"run", "config.yaml", "--out", "full", "--quiet"}, "", "", limit);
    EXPECT_EQ(full.code, 6) << full.err;
    // stderr is such a file, too.
    EXPECT_EQ(full.err.substr(0, 8), "fedalt: ");
    if (limit > 300) {
      EXPECT_NE(full.err.find("File too large"), std::string::npos) << full.err;
    }
    for (const auto& entry : fs::recursive_directory_iterator(folder.path() / "full")) {
      const std::string name = entry.path().filename().string();
      EXPECT_TRUE(name.find(".part-") == name.npos && name.find(".tmp") == name.npos) << entry.path();
    }
    const bool begun = fs::exists(folder.path() / "full/config.yaml");
    EXPECT_EQ(Sites(begun ? run({"run", "--resume", "full"}) : run({"run", "config.yaml", "--out", "full"})), undisturbed);
  }
}

}  // namespace
}  // namespace fedalt
