#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace fedalt {
namespace {

struct Tables {
  std::array<std::string, 256> characters;
  std::array<int, 0x144> bytes;  // by code point; -1: no byte

  Tables() {
    bytes.fill(-1);
    char32_t next = 0x100;  // characters for the bytes that are not visible themselves
    for (size_t byte = 0; byte < 256; ++byte) {
      const bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const char32_t character = visible ? static_cast<char32_t>(byte) : next++;
      AppendUtf8(character, characters[byte]);
      bytes[character] = static_cast<int>(byte);
    }
  }
};

const Tables& GetTables() {
  static const Tables tables;
  return tables;
}

}  // namespace

std::string BytesToCharacters(std::string_view text) {
  const Tables& tables = GetTables();
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  for (unsigned char byte : text) out += tables.characters[byte];
  return out;
}

std::optional<std::string> CharactersToBytes(std::string_view token) {
  const Tables& tables = GetTables();
  std::string out;
  out.reserve(token.size());
  for (size_t i = 0; i < token.size();) {
    const char32_t c = NextCodePoint(token, i);
    if (c >= tables.bytes.size() || tables.bytes[c] < 0) return std::nullopt;
    out.push_back(static_cast<char>(static_cast<unsigned char>(tables.bytes[c])));
  }
  return out;
}

}  // namespace fedalt
