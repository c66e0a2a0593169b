#include "report/run_files.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <fstream>
#include <system_error>

#include "base/file.h"
#include "base/strict_json.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kPredictions = 5;       // per site
constexpr size_t kLongestPrompt = 400;   // bytes
constexpr size_t kLongestAnswer = 1000;  // bytes

Status Damaged(const fs::path& path, const std::string& what) {
  return OutputError(absl::StrCat(path.string(), ": is damaged (", what, "); put the file of the run back, or remove it"));
}

/// At most `limit` bytes, cut between characters.
std::string Cut(std::string text, size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U) --limit;
  text.resize(limit);
  return text + " ...";
}

std::string Text(const json& line, const char* name) {
  const auto found = line.find(name);
  return found != line.end() && found->is_string() ? found->get<std::string>() : "";
}

StatusOr<ordered_json> PredictionsOfSite(const fs::path& path) {
  ordered_json shown = ordered_json::array();
  std::ifstream file(path, std::ios::binary);
  std::string line;
  for (int64_t number = 1; shown.size() < kPredictions && std::getline(file, line); ++number) {
    const StatusOr<json> parsed = ParseJson(RepairUtf8(line), {.kind = ErrorKind::kOutput, .first_line = number});
    if (!parsed.ok()) return Damaged(path, std::string(parsed.status().message()));
    if (!parsed->is_object()) return Damaged(path, absl::StrCat("line ", number, " is not an object"));
    const std::string reference = Text(*parsed, "reference"), prediction = Text(*parsed, "prediction");
    shown.push_back({{"instruction", Cut(Text(*parsed, "instruction"), kLongestPrompt)},
                     {"reference", Cut(reference, kLongestAnswer)},
                     {"prediction", Cut(prediction, kLongestAnswer)},
                     {"exact", absl::StripAsciiWhitespace(reference) == absl::StripAsciiWhitespace(prediction)}});
  }
  return shown;
}

bool AreNames(const json& list) {
  return list.is_array() && std::all_of(list.begin(), list.end(), [](const json& name) { return name.is_string(); });
}

/// Rows of numbers or nulls, each as long as there are columns.
bool IsMatrix(const json& matrix, size_t rows, size_t columns) {
  const auto is_cell = [](const json& cell) { return cell.is_number() || cell.is_null(); };
  const auto is_row = [&](const json& row) {
    return row.is_array() && row.size() == columns && std::all_of(row.begin(), row.end(), is_cell);
  };
  return matrix.is_array() && matrix.size() == rows && std::all_of(matrix.begin(), matrix.end(), is_row);
}

std::string Unquoted(std::string_view text) {
  std::string value(text);
  absl::StripAsciiWhitespace(&value);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') return value.substr(1, value.size() - 2);
  return value;
}

}  // namespace

std::string RepairUtf8(std::string_view text) {
  const std::string quoted = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  return json::parse(quoted).get<std::string>();
}

StatusOr<std::optional<json>> ReadJsonObject(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::optional<json>();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kOutput));
  StatusOr<json> parsed = ParseJson(RepairUtf8(text), {.kind = ErrorKind::kOutput});
  if (!parsed.ok()) return Damaged(path, std::string(parsed.status().message()));
  if (!parsed->is_object()) return Damaged(path, "it is not a JSON object");
  return std::optional<json>(*std::move(parsed));
}

std::string ConfigValue(std::string_view yaml, std::string_view name) {
  const size_t dot = name.find('.');
  const std::string group = dot == name.npos ? "" : std::string(name.substr(0, dot)) + ":";
  const std::string key = dot == name.npos ? std::string(name) + ":" : "  " + std::string(name.substr(dot + 1)) + ":";
  bool inside = group.empty();
  while (!yaml.empty()) {
    const size_t end = std::min(yaml.find('\n'), yaml.size() - 1);
    const std::string_view line = yaml.substr(0, yaml[end] == '\n' ? end : end + 1);
    yaml.remove_prefix(end + 1);
    if (!group.empty() && !line.starts_with(' ')) inside = line == group;
    if (inside && line.starts_with(key)) return Unquoted(line.substr(key.size()));
  }
  return "";
}

std::vector<std::string> ConfigList(std::string_view yaml, std::string_view name) {
  const std::string value = ConfigValue(yaml, name);
  if (!value.starts_with('[') || !value.ends_with(']')) return {};
  std::vector<std::string> elements;
  for (const std::string& element : std::vector<std::string>(absl::StrSplit(value.substr(1, value.size() - 2), ',')))
    if (std::string text = Unquoted(element); !text.empty()) elements.push_back(std::move(text));
  return elements;
}

StatusOr<ordered_json> ReadPredictions(const fs::path& root, int64_t round, const std::vector<std::string>& sites) {
  const fs::path directory = root / "predictions" / absl::StrFormat("%03d", round);
  ordered_json lists = ordered_json::array();
  bool any = false;
  for (const std::string& site : sites) {
    const fs::path path = directory / (site + ".jsonl");
    std::error_code error;
    // A name from metrics.jsonl is only a name: it leads nowhere else.
    const bool there = site.find('/') == site.npos && fs::is_regular_file(path, error);
    ordered_json list = ordered_json::array();
    if (there) {
      ASSIGN_OR_RETURN(list, PredictionsOfSite(path));
    }
    any = any || !list.empty();
    lists.push_back(std::move(list));
  }
  if (!any) return ordered_json(nullptr);
  return ordered_json{{"round", round}, {"sites", std::move(lists)}};
}

StatusOr<ordered_json> ReadCrossSite(const fs::path& root) {
  const fs::path path = root / "cross_site.json";
  ASSIGN_OR_RETURN(const std::optional<json> file, ReadJsonObject(path));
  if (!file) return ordered_json(nullptr);
  const json none;
  const auto member = [&](const char* name) -> const json& {
    const auto found = file->find(name);
    return found == file->end() ? none : *found;
  };
  const json &models = member("models"), &tests = member("tests"), &loss = member("loss");
  if (!AreNames(models) || !AreNames(tests) || models.empty() || tests.empty() || !IsMatrix(loss, models.size(), tests.size()))
    return Damaged(path, "expected \"models\" and \"tests\", lists of names, and \"loss\", a row of numbers for each model");
  return ordered_json{
      {"round", member("round")}, {"examples", member("examples")}, {"models", models}, {"tests", tests}, {"loss", loss}};
}

}  // namespace fedalt
