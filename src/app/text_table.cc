#include "app/text_table.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_replace.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "data/data_statistics.h"

namespace fedalt {

std::string AlignTable(const std::vector<TableRow>& rows) {
  std::vector<size_t> widths(rows.front().size(), 0);
  const auto width = [](const std::string& cell) { return static_cast<size_t>(Characters(cell)); };
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string fill(widths[i] - width(row[i]), ' ');
      text += i == 0 ? row[i] + fill : "  " + fill + row[i];
    }
    text += '\n';
  }
  return text;
}

std::string Preview(const std::string& text, size_t bytes) {
  std::string shown = text.substr(0, bytes);
  while (shown.size() < text.size() && !shown.empty() && (static_cast<unsigned char>(text[shown.size()]) & 0xC0) == 0x80)
    shown.pop_back();
  return absl::StrCat(absl::StrReplaceAll(shown, {{"\n", "\\n"}}), shown.size() < text.size() ? "..." : "");
}

std::string TimeText(int64_t time_ms) {
  constexpr int64_t kYear10000 = 253'402'300'800'000;
  const std::time_t seconds = static_cast<std::time_t>(time_ms / 1000);
  std::tm parts{};
  char text[32];
  if (time_ms < 0 || time_ms >= kYear10000 || ::gmtime_r(&seconds, &parts) == nullptr ||
      std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts) == 0)
    return std::to_string(time_ms);
  return absl::StrFormat("%s.%03dZ", text, time_ms % 1000);
}

std::string AgeText(int64_t ms) {
  const int64_t seconds = std::max<int64_t>(ms, 0) / 1000;
  if (seconds < 120) return absl::StrCat(seconds, " s");
  if (seconds < 7200) return absl::StrCat(seconds / 60, " min");
  if (seconds < 172'800) return absl::StrCat(seconds / 3600, " h");
  return absl::StrCat(seconds / 86'400, " d");
}

std::string Printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

std::string JsonLine(const nlohmann::ordered_json& object) {
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace fedalt
