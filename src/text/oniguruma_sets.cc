#include "text/oniguruma_sets.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <array>
#include <utility>

#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr char kSpaceItems[] = "\\t-\\r\\x{85}\\p{Z}";

/// Characters of these categories (each a prefix: "L", "Nd") that PCRE2 may be too old to know.
std::string AddedItems(std::initializer_list<std::string_view> categories) {
  std::string items;
  for (const unicode::CategoryRange& range : unicode::kAddedCategories) {
    for (std::string_view category : categories) {
      if (!std::string_view(range.category).starts_with(category) || (category == "A") ||
          (category != "Al" && range.category[0] == 'A'))
        continue;
      absl::StrAppendFormat(&items, "\\x{%x}-\\x{%x}", range.first, range.last);
    }
  }
  return items;
}

CharacterSet Items(std::string items) {
  CharacterSet set;
  set.items = std::move(items);
  return set;
}

CharacterSet CategorySet(std::string_view category) {
  if (category == "C" || category == "Cn") {  // what the table adds is assigned by now
    CharacterSet set;
    set.alternatives.push_back(
        absl::StrCat("(?![", AddedItems({"L", "M", "N", "P", "S", "Z"}), "])\\p{", std::string(category), "}"));
    return set;
  }
  CharacterSet set = Items(absl::StrCat("\\p{", std::string(category), "}", AddedItems({category})));
  if (category != "Mn") return set;
  CharacterSet without;  // the one character that changed its category between Unicode 14 and 16
  without.alternatives.push_back(absl::StrCat("(?!\\x{1171e})", set.Pcre()));
  return without;
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 38> kCategories = {{
    {"letter", "L"},
    {"casedletter", "L&"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"privateuse", "Co"},
    {"unassigned", "Cn"},
}};

}  // namespace

void CharacterSet::Add(const CharacterSet& other) {
  if (other.negated) {
    alternatives.push_back(other.Pcre());
    return;
  }
  items += other.items;
  alternatives.insert(alternatives.end(), other.alternatives.begin(), other.alternatives.end());
}

std::string CharacterSet::Pcre() const {
  if (alternatives.empty()) return absl::StrCat(negated ? "[^" : "[", items, "]");
  std::string any = items.empty() ? "" : absl::StrCat("[", items, "]");
  for (const std::string& alternative : alternatives) absl::StrAppend(&any, any.empty() ? "" : "|", alternative);
  return negated ? absl::StrCat("(?:(?!", any, ")(?s:.))") : absl::StrCat("(?:", any, ")");
}

std::string PcreCharacter(char32_t c) {
  if (c < 0x20 || c == 0x7F) return absl::StrFormat("\\x{%x}", static_cast<uint32_t>(c));
  std::string text;
  const bool plain = c >= 0x80 || c == ' ' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  if (!plain) text = "\\";
  AppendUtf8(c, text);
  return text;
}

std::optional<CharacterSet> EscapeSet(char letter, bool in_class) {
  CharacterSet set;
  switch (letter) {
    case 's':
    case 'S':
      set = Items(kSpaceItems);
      break;
    case 'd':
    case 'D':
      set = CategorySet("Nd");
      break;
    case 'w':
    case 'W':
      set = Items(absl::StrCat("\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}", AddedItems({"L", "M", "Nd", "Pc", "Al"})));
      // Outside of classes Oniguruma takes the superscripts and fractions of Latin-1 for word characters, but no others.
      if (!in_class) set.items += "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
      break;
    case 'h':
    case 'H':
      set = Items("0-9a-fA-F");
      break;
    default:
      return std::nullopt;
  }
  set.negated = letter >= 'A' && letter <= 'Z';
  return set;
}

std::optional<CharacterSet> PropertySet(std::string_view name) {
  std::string key;
  for (char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    const bool upper = c >= 'A' && c <= 'Z';
    if (!upper && !(c >= 'a' && c <= 'z')) return std::nullopt;
    key += upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  for (const auto& [long_name, category] : kCategories) {
    std::string short_name(category);
    short_name[0] = static_cast<char>(short_name[0] - 'A' + 'a');
    if (key != long_name && key != short_name) continue;
    if (category == "L&") return Items(absl::StrCat("\\p{L&}", AddedItems({"Lu", "Ll", "Lt"})));
    return CategorySet(category);
  }
  if (key == "any") return Items("\\p{Any}");
  if (key == "alpha" || key == "alphabetic") return PosixSet("alpha");
  if (key.size() < 3 || key.size() > 40) return std::nullopt;
  // Scripts: PCRE2 knows the names; by itself it would also take characters that only extend a script.
  std::string items = absl::StrCat("\\p{sc:", key, "}");
  if (key == "han") items += "\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}";
  if (key == "hiragana") items += "\\x{1b132}";
  if (key == "katakana") items += "\\x{1b155}";
  return Items(std::move(items));
}

std::optional<CharacterSet> PosixSet(std::string_view name) {
  CharacterSet set;
  const bool negated = name.starts_with('^');
  if (negated) name.remove_prefix(1);
  if (name == "alpha") {
    set = Items(absl::StrCat("\\p{Alphabetic}", AddedItems({"Al"})));
  } else if (name == "digit") {
    set = CategorySet("Nd");
  } else if (name == "alnum") {
    set = Items(absl::StrCat("\\p{Alphabetic}\\p{Nd}", AddedItems({"Al", "Nd"})));
  } else if (name == "space") {
    set = Items(kSpaceItems);
  } else if (name == "punct") {
    set = Items(absl::StrCat("\\p{P}\\p{S}", AddedItems({"P", "S"})));
  } else if (name == "word") {
    set = *EscapeSet('w', /*in_class=*/true);
  } else if (name == "xdigit") {
    set = Items("0-9a-fA-F");
  } else if (name == "cntrl") {
    set = Items("\\p{Cc}");
  } else if (name == "blank") {
    set = Items("\\t\\p{Zs}");
  } else if (name == "ascii") {
    set = Items("\\x{0}-\\x{7f}");
  } else {
    return std::nullopt;
  }
  set.negated = negated;
  return set;
}

}  // namespace fedalt
