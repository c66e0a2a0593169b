// Sets of characters over all of Unicode: what patterns match after their translation from Oniguruma's syntax to PCRE2's, what the
// tables say, and normal forms, against hashes made with the original library (tests/golden/tokenizer_unicode.py).
#include <functional>

#include "text/golden_data.h"
#include "text/regex.h"
#include "text/unicode_class.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

const Json& Golden() {
  static const Json golden = golden::ReadJson(golden::DataDirectory() / "golden" / "characters.json");
  return golden;
}

void ForEachCodePoint(const std::function<void(char32_t)>& visit) {
  for (char32_t c = 0; c < 0x110000; ++c)
    if (c < 0xD800 || c >= 0xE000) visit(c);
}

void AddNumber(char32_t c, std::string& bytes) {
  for (unsigned shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(c >> shift));
}

TEST(Characters, PatternsMatchTheSameSets) {
  std::string text;  // every code point on its own, in order
  ForEachCodePoint([&](char32_t c) { AppendUtf8(c, text); });
  ASSERT_GT(Golden()["patterns"].size(), 60u);
  for (const auto& [pattern, expected] : Golden()["patterns"].items()) {
    const StatusOr<Regex> regex = Regex::FromOniguruma(pattern);
    ASSERT_TRUE(regex.ok()) << regex.status();
    const auto spans = regex->FindAll(text);
    ASSERT_TRUE(spans.ok()) << spans.status();
    std::string matched;
    for (const auto& [begin, end] : *spans)
      for (size_t i = begin; i < end;) AddNumber(NextCodePoint(text, i), matched);
    EXPECT_EQ(HexOf(Sha256(matched)), expected.get<std::string>()) << pattern;
  }
}

TEST(Characters, ClassesAreThoseOfTheOriginal) {
  const std::vector<std::pair<std::string, bool (*)(char32_t)>> classes = {{"numeric", IsNumeric},
                                                                           {"punctuation", IsPunctuation},
                                                                           {"whitespace", IsWhitespace},
                                                                           {"word", IsWordCharacter},
                                                                           {"combining_mark", IsCombiningMark}};
  for (const auto& [name, function] : classes) {
    std::string members;
    ForEachCodePoint([&, is_member = function](char32_t c) {
      if (is_member(c)) AddNumber(c, members);
    });
    EXPECT_EQ(HexOf(Sha256(members)), Golden()["functions"][name].get<std::string>()) << name;
  }
}

TEST(Characters, NormalFormsAndLowerCaseAreThoseOfTheOriginal) {
  using Map = std::function<std::string(const std::string&)>;
  const auto form = [](NormalForm normal_form) -> Map {
    return [=](const std::string& text) { return ToNormalForm(text, normal_form); };
  };
  const std::vector<std::pair<std::string, Map>> maps = {{"nfc", form(NormalForm::kNfc)},
                                                         {"nfd", form(NormalForm::kNfd)},
                                                         {"nfkc", form(NormalForm::kNfkc)},
                                                         {"nfkd", form(NormalForm::kNfkd)},
                                                         {"lower", [](const std::string& text) {
                                                            std::string out;
                                                            size_t i = 0;
                                                            AppendLowerCase(NextCodePoint(text, i), out);
                                                            return out;
                                                          }}};
  for (const auto& [name, map] : maps) {
    Sha256Stream stream;
    ForEachCodePoint([&, apply = map](char32_t c) {
      std::string text;
      AppendUtf8(c, text);
      const std::string mapped = apply(text);
      if (mapped == text) return;
      stream.Add(text);
      stream.Add(mapped);
    });
    EXPECT_EQ(HexOf(stream.Finish()), Golden()["maps"][name].get<std::string>()) << name;
  }
}

}  // namespace
}  // namespace fedalt
