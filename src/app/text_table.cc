#include "app/text_table.h"

#include <algorithm>

namespace fedalt {

std::string AlignTable(const std::vector<TableRow>& rows) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const TableRow& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const TableRow& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string fill(widths[i] - row[i].size(), ' ');
      text += i == 0 ? row[i] + fill : "  " + fill + row[i];
    }
    text += '\n';
  }
  return text;
}

}  // namespace fedalt
