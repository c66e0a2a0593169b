// GPT-2's way to write bytes as visible characters: every byte has a character, and byte level vocabularies are made of them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fedalt {

/// Every byte of `text` as its character.
std::string BytesToCharacters(std::string_view text);
/// The bytes of a token; nothing if it holds a character that stands for no byte. Precondition: valid UTF-8.
std::optional<std::string> CharactersToBytes(std::string_view token);

}  // namespace fedalt
