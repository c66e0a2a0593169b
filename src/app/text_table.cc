#include "app/text_table.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>

#include <algorithm>

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

}  // namespace fedalt
