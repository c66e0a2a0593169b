#include "report/report.h"

#include <absl/strings/str_replace.h>

#include <algorithm>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "report/comparison_data.h"
#include "report/page_parts.h"
#include "report/run_data.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// Puts `parts` in the place of their names, "{{name}}"; what was put in is not looked at again.
std::string Fill(std::string_view page, const std::vector<std::pair<std::string_view, std::string_view>>& parts) {
  std::string text;
  while (!page.empty()) {
    const size_t begin = page.find("{{");
    text += page.substr(0, begin);
    if (begin == page.npos) break;
    const size_t end = page.find("}}", begin);
    FEDALT_CHECK(end != page.npos, "a placeholder of the page ends");
    const std::string_view name = page.substr(begin + 2, end - begin - 2);
    const auto part = std::find_if(parts.begin(), parts.end(), [name](const auto& known) { return known.first == name; });
    FEDALT_CHECK(part != parts.end(), "a placeholder of the page is known");
    text += part->second;
    page.remove_prefix(end + 2);
  }
  return text;
}

}  // namespace

std::string RenderPage(const nlohmann::ordered_json& data) {
  using Json = nlohmann::ordered_json;
  // Without a "<" the data can neither end their element nor begin a comment.
  const std::string json = absl::StrReplaceAll(data.dump(-1, ' ', false, Json::error_handler_t::replace), {{"<", "\\u003c"}});
  // Only scripts with this word run (the page's Content-Security-Policy). Text in the data cannot know it: it is their hash.
  const std::string nonce = HexOf(Sha256(json));
  return Fill(kPageHtml, {{"nonce", nonce}, {"css", kPageCss}, {"chart", kChartJs}, {"script", kPageJs}, {"data", json}});
}

StatusOr<WrittenReport> WriteReport(const fs::path& directory) {
  std::error_code error;
  const bool comparison = fs::exists(directory / "comparison.json", error);
  if (!comparison && !fs::exists(directory / "config.yaml", error))
    return UsageError(absl::StrCat(directory.string(),
                                   ": holds neither a run (config.yaml) nor a comparison (comparison.json); give the directory "
                                   "that --out named"));
  ASSIGN_OR_RETURN(const nlohmann::ordered_json data, comparison ? CollectComparison(directory) : CollectRun(directory));
  WrittenReport report{directory / "report.html", comparison ? "comparison" : "run", 0};
  const std::string page = RenderPage(data);
  report.bytes = static_cast<int64_t>(page.size());
  RETURN_IF_ERROR(WriteFileAtomic(report.path, page));
  return report;
}

void WriteReportOrWarn(const std::filesystem::path& directory) {
  if (const auto report = WriteReport(directory); !report.ok())
    LogWarning(absl::StrCat("everything is done, but the report was not written: ", report.status().message(),
                            "; make it with: fedalt report ", directory.string()));
}

}  // namespace fedalt
