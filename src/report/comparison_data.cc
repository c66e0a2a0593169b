#include "report/comparison_data.h"

#include <algorithm>
#include <optional>
#include <string>
#include <system_error>

#include "report/run_files.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

/// What is wrong with the object; empty if the page can show it. The page leaves out what else is missing.
std::string Complaint(const json& comparison) {
  const auto is_text = [](const json& object, const char* name) { return object.contains(name) && object[name].is_string(); };
  if (!is_text(comparison, "metric")) return "it has no \"metric\"";
  if (!comparison.contains("rows") || !comparison["rows"].is_array() || comparison["rows"].empty()) return "it has no \"rows\"";
  for (const json& row : comparison["rows"])
    if (!row.is_object() || !is_text(row, "name")) return "a row has no \"name\"";
  return "";
}

/// Whether `run` names a place below the comparison's directory.
bool StaysBelow(const fs::path& run) {
  return !run.empty() && run.is_relative() && std::find(run.begin(), run.end(), "..") == run.end();
}

ordered_json LinksOf(const json& row, const fs::path& root) {
  ordered_json links = ordered_json::array();
  if (!row.contains("runs") || !row["runs"].is_array()) return links;
  for (const json& run : row["runs"]) {
    if (!run.is_string()) continue;
    const std::string name = run.get<std::string>();
    std::error_code error;
    links.push_back({{"run", name}, {"report", StaysBelow(name) && fs::is_regular_file(root / name / "report.html", error)}});
  }
  return links;
}

}  // namespace

StatusOr<ordered_json> CollectComparison(const fs::path& root) {
  const fs::path path = root / "comparison.json";
  ASSIGN_OR_RETURN(const std::optional<json> comparison, ReadJsonObject(path));
  const std::string complaint = comparison ? Complaint(*comparison) : "it is not there";
  if (!complaint.empty())
    return OutputError(
        absl::StrCat(path.string(), ": is damaged (", complaint, "); put the file of the comparison back, or make it again"));
  ordered_json links = ordered_json::array();
  for (const json& row : (*comparison)["rows"]) links.push_back(LinksOf(row, root));
  return ordered_json{{"kind", "comparison"}, {"comparison", *comparison}, {"links", std::move(links)}};
}

}  // namespace fedalt
