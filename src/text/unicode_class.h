// Classes of characters and normal forms as the original `tokenizers` library sees them.
//
// That library is built from several parts, each frozen at its own version of Unicode; tables made from the original
// (tests/golden/tokenizers.py --unicode-tables) keep our answers the same, whatever version the installed libraries know.
#pragma once

#include <string>
#include <string_view>

namespace fedalt {

bool IsWhitespace(char32_t c);
/// General category N.
bool IsNumeric(char32_t c);
/// ASCII punctuation and symbols, and general category P.
bool IsPunctuation(char32_t c);
/// \w of the original's matching of whole words: letters, marks, digits, connectors, joiners.
bool IsWordCharacter(char32_t c);
bool IsCombiningMark(char32_t c);

/// The lower case of one character, appended (it may have several characters).
void AppendLowerCase(char32_t c, std::string& out);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
/// Precondition: valid UTF-8.
std::string ToNormalForm(std::string_view text, NormalForm form);

}  // namespace fedalt
