// Sets of characters in Oniguruma's sense, written as PCRE2 classes. Used by the translation of patterns only.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fedalt {

/// A set of characters. A PCRE2 class cannot hold the complement of a class; such parts stand beside it as alternatives.
struct CharacterSet {
  std::string items;                      ///< what stands between the brackets
  std::vector<std::string> alternatives;  ///< patterns that each match one character
  bool negated = false;

  bool IsEmpty() const { return items.empty() && alternatives.empty(); }
  /// Union with another set.
  void Add(const CharacterSet& other);
  /// A pattern that matches one character of the set.
  std::string Pcre() const;
};

/// One character, escaped so that it stands for itself inside and outside of a class.
std::string PcreCharacter(char32_t c);

/// \s \S \d \D \w \W \h \H; nothing for other letters. \w means one thing inside of a class and another outside.
std::optional<CharacterSet> EscapeSet(char letter, bool in_class);
/// \p{name}: general categories, Any, Alphabetic, scripts. Scripts other than Han, Hiragana and Katakana lack what Unicode added to
/// them after the version that PCRE2 knows.
std::optional<CharacterSet> PropertySet(std::string_view name);
/// [:name:] and [:^name:].
std::optional<CharacterSet> PosixSet(std::string_view name);

}  // namespace fedalt
