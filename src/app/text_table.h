// Text for people: aligned columns, and long texts on one line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace fedalt {

using TableRow = std::vector<std::string>;

/// Rows of equally many cells, the first to the left and the others to the right, two spaces apart, each row with its newline.
/// Widths are counted in characters. At least one row.
std::string AlignTable(const std::vector<TableRow>& rows);

/// At most `bytes` of `text` (whole characters), newlines as \n, "..." behind what was cut.
std::string Preview(const std::string& text, size_t bytes);

/// "2026-11-23T09:00:00.123Z" of Unix time in milliseconds; the number where it is no date of ours.
std::string TimeText(int64_t time_ms);
/// "12 s", "3 min", "5 h", "4 d".
std::string AgeText(int64_t ms);
/// Without what a terminal would obey; a database that somebody has changed may hold anything.
std::string Printable(std::string text);
template <typename Value>
nlohmann::ordered_json OrNull(const std::optional<Value>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}
/// A JSON object on one line, with its newline.
std::string JsonLine(const nlohmann::ordered_json& object);

}  // namespace fedalt
