// Cells in columns, for tables on a terminal.
#pragma once

#include <string>
#include <vector>

namespace fedalt {

using TableRow = std::vector<std::string>;

/// One line per row: the first column to the left, all others to the right, two spaces between. Every row has as many cells as the
/// first.
std::string AlignTable(const std::vector<TableRow>& rows);

}  // namespace fedalt
