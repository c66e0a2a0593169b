// UTF-8: checking, reading code points, and the replacement of invalid bytes. Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace fedalt {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

/// What stands at the start of a piece of bytes: a character, or (valid = false) the longest part that cannot become one. The
/// length of an invalid part is the one that the Unicode standard recommends to replace by a single U+FFFD ("maximal subpart").
struct Utf8Step {
  char32_t code_point = kReplacementCharacter;
  size_t length = 0;
  bool valid = false;
};

/// Precondition: `text` is not empty.
Utf8Step ReadUtf8(std::string_view text);

/// The code point at `position`, which is moved behind it. Precondition: valid UTF-8, position on a boundary before the end.
inline char32_t NextCodePoint(std::string_view text, size_t& position) {
  const Utf8Step step = ReadUtf8(text.substr(position));
  position += step.length;
  return step.code_point;
}

/// The code point that ends at `end`, and where it starts. Precondition: valid UTF-8, end > 0 on a boundary.
char32_t PreviousCodePoint(std::string_view text, size_t end, size_t& start);

void AppendUtf8(char32_t code_point, std::string& out);

/// Where the first invalid byte is, if there is one.
std::optional<size_t> FirstInvalidUtf8(std::string_view text);

/// Every invalid part replaced by U+FFFD.
std::string LossyUtf8(std::string_view bytes);

}  // namespace fedalt
