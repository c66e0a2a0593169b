// Text for people: aligned columns, and long texts on one line.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fedalt {

using TableRow = std::vector<std::string>;

/// Rows of equally many cells, the first to the left and the others to the right, two spaces apart, each row with its newline.
/// Widths are counted in characters. At least one row.
std::string AlignTable(const std::vector<TableRow>& rows);

/// At most `bytes` of `text` (whole characters), newlines as \n, "..." behind what was cut.
std::string Preview(const std::string& text, size_t bytes);

}  // namespace fedalt
