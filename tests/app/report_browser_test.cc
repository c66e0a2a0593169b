// label: slow
// Reports of a run and of a comparison, both with hostile names, in a real browser, where there is one
// (tests/browser/report_check.mjs).
#include <gtest/gtest.h>

#include <cstdlib>

#include "app/cli_process.h"

namespace fedalt {
namespace {

bool Has(const std::string& program) {
  return std::system(("command -v " + program + " >/dev/null").c_str()) == 0;
}

TEST(ReportBrowser, NoErrorsNoRequestsBothWidths) {
  if (!Has("chromium") || !Has("node")) GTEST_SKIP() << "needs the packages chromium and nodejs";
  const testing::TestFolder folder;
  testing::WriteTinyRun(folder);
  const std::string hostile = R"(</script><img src=x onerror=alert(1)>)";
  folder.Write("test_0.jsonl", R"({"instruction": ")" + hostile +
                                   R"(", "output": "<b>bold</b>"})"
                                   "\n");
  ASSERT_EQ(testing::RunFedalt(folder, {"run", "config.yaml", "--out", "run", "--quiet"}).code, 0);
  std::string comparison = testing::Slurp(std::filesystem::path(FEDALT_TEST_DATA) / "report/comparison.json");
  for (size_t place; (place = comparison.find("\"fedit_ft\"")) != comparison.npos;)
    comparison.replace(place, 10, "\"" + hostile + "\"");
  folder.Write("comparison/comparison.json", comparison);
  ASSERT_EQ(testing::RunFedalt(folder, {"report", "comparison"}).code, 0);
  const std::string command = "node " FEDALT_SOURCE "/tests/browser/report_check.mjs " +
                              (folder.path() / "run/report.html").string() + " " +
                              (folder.path() / "comparison/report.html").string();
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace fedalt
