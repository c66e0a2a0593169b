#include "text/unicode_class.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>

#include "base/check.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

template <size_t kCount>
bool IsIn(const unicode::Range (&ranges)[kCount], char32_t c) {
  const auto after = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                      [](char32_t value, const unicode::Range& range) { return value < range.first; });
  return after != std::begin(ranges) && c <= std::prev(after)->last;
}

// Characters without a decomposition in the original's tables (Unicode 9 to 12), which utf8proc would decompose.
constexpr unicode::Range kNotDecomposed[] = {{0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xab69, 0xab69},   {0x10781, 0x107ba},
                                             {0x11938, 0x11938}, {0x1e030, 0x1e06d}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9}};

// Lower cases that are younger than utf8proc's tables: {first, last, distance, step}.
struct LowerCaseRange {
  uint32_t first, last;
  int32_t distance;
  uint32_t step;
};
constexpr LowerCaseRange kAddedLowerCase[] = {
    {0x1c89, 0x1c89, 1, 1}, {0xa7cb, 0xa7cb, 0x264 - 0xa7cb, 1}, {0xa7cc, 0xa7ce, 1, 2},      {0xa7d2, 0xa7d4, 1, 2},
    {0xa7da, 0xa7da, 1, 1}, {0xa7dc, 0xa7dc, 0x19b - 0xa7dc, 1}, {0x10d50, 0x10d65, 0x20, 1}, {0x16ea0, 0x16eb8, 0x1b, 1},
};

void AppendNormalForm(std::string_view text, int options, std::string& out) {
  if (text.empty()) return;
  utf8proc_uint8_t* buffer = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()), &buffer,
                   static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(buffer, &std::free);
  FEDALT_CHECK(length >= 0, "text that is valid UTF-8 has a normal form");
  out.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(length));
}

}  // namespace

bool IsWhitespace(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsNumeric(char32_t c) {
  return c < 0x80 ? c >= '0' && c <= '9' : IsIn(unicode::kNumeric, c);
}
bool IsPunctuation(char32_t c) {
  return IsIn(unicode::kPunctuation, c);
}
bool IsWordCharacter(char32_t c) {
  return IsIn(unicode::kWord, c);
}
bool IsCombiningMark(char32_t c) {
  return c >= 0x300 && IsIn(unicode::kCombiningMark, c);
}

void AppendLowerCase(char32_t c, std::string& out) {
  if (c == 0x130) {  // the only character whose lower case has two
    out.append("i\xCC\x87");
    return;
  }
  for (const LowerCaseRange& range : kAddedLowerCase) {
    if (c >= range.first && c <= range.last && (c - range.first) % range.step == 0) {
      AppendUtf8(static_cast<char32_t>(static_cast<int32_t>(c) + range.distance), out);
      return;
    }
  }
  AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
}

std::string ToNormalForm(std::string_view text, NormalForm form) {
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const int options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compatible ? UTF8PROC_COMPAT : 0);
  std::string out;
  out.reserve(text.size());
  // The exceptions are starters that compose with nothing, so the text may be cut around them.
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0xE0) {
      ++i;
      continue;
    }
    const size_t start = i;
    const char32_t c = NextCodePoint(text, i);
    if (!IsIn(kNotDecomposed, c) || (!compatible && c != 0x11938)) continue;
    AppendNormalForm(text.substr(begin, start - begin), options, out);
    out.append(text.substr(start, i - start));
    begin = i;
  }
  AppendNormalForm(text.substr(begin), options, out);
  return out;
}

}  // namespace fedalt
