// What somebody else said, to be quoted in a message or a log.
#pragma once

#include <algorithm>
#include <string>

namespace fedalt {

/// At most so many bytes of a text, cut between two letters of UTF-8, since logs take nothing else.
inline std::string Quoted(const std::string& text, size_t longest) {
  size_t end = std::min(text.size(), longest);
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end);
}

}  // namespace fedalt
