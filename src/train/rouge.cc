#include "train/rouge.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "text/unicode_class.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

using Tokens = std::vector<std::string>;

struct CodePoints {
  char32_t first, last;
  bool Has(char32_t c) const { return c >= first && c <= last; }
};

// Blocks of Latin letters, of marks, and of symbols that count as alphabetic: rouge_score sees nothing in them.
constexpr CodePoints kUnseen[] = {{0x0, 0x36f},       {0x1ab0, 0x1aff},   {0x1d00, 0x1dff},   {0x1e00, 0x1eff},  {0x2000, 0x2bff},
                                  {0x2c60, 0x2c7f},   {0xa720, 0xa7ff},   {0xab30, 0xab6f},   {0xfb00, 0xfb06},  {0xfe00, 0xfe0f},
                                  {0x10780, 0x107bf}, {0x1df00, 0x1dfff}, {0x1f100, 0x1f1ff}, {0xe0000, 0xe0fff}};

// Scripts whose words are not set apart by spaces (Unicode, UAX #29, section 4.1): Thai and Lao, Myanmar, Khmer, the Tai scripts,
// Hiragana, Katakana, Han.
constexpr CodePoints kWithoutSpaces[] = {{0xe00, 0xeff},   {0x1000, 0x109f}, {0x1780, 0x17ff},   {0x1950, 0x19df},
                                         {0x1a20, 0x1aaf}, {0x3005, 0x3007}, {0x3021, 0x3029},   {0x3031, 0x30ff},
                                         {0x31f0, 0x31ff}, {0x3400, 0x9fff}, {0xa9e0, 0xa9ff},   {0xaa60, 0xaadf},
                                         {0xf900, 0xfaff}, {0xff66, 0xff9f}, {0x1aff0, 0x1b16f}, {0x20000, 0x3ffff}};

template <size_t kCount>
bool IsIn(const CodePoints (&ranges)[kCount], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges), [c](const CodePoints& range) { return range.Has(c); });
}

/// A letter or digit of another script than Latin.
bool IsBeyondLatin(char32_t c) {
  return !IsIn(kUnseen, c) && IsWordCharacter(c) && !IsCombiningMark(c);
}

/// Cuts a text into words, character by character.
class WordCollector {
 public:
  void Add(char32_t c) {
    constexpr char32_t kKelvin = 0x212a, kDottedI = 0x130;  // the two others whose lower case begins with a letter of ASCII
    if (c == kKelvin || c == kDottedI) {
      AddLatin(c == kKelvin ? 'k' : 'i');
      if (c == kDottedI) EndWord();  // its dot is a mark of its own
    } else if (c < 0x80) {
      const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
      if (absl::ascii_isalnum(static_cast<unsigned char>(lower))) {
        AddLatin(lower);
      } else {
        EndWord();
      }
    } else if (IsBeyondLatin(c)) {
      const Kind kind = IsIn(kWithoutSpaces, c) ? Kind::kCharacter : Kind::kWord;
      if (kind_ != kind || kind == Kind::kCharacter) EndWord();
      kind_ = kind;
      constexpr char32_t kFinalSigma = 0x3c2, kSigma = 0x3c3;  // one letter, whose form depends on its place
      AppendLowerCase(c == kFinalSigma ? kSigma : c, word_);
    } else if (kind_ != Kind::kLatin && !word_.empty() && IsJoining(c)) {
      AppendUtf8(c, word_);
    } else {
      EndWord();
    }
  }
  void EndWord() {
    if (!word_.empty()) tokens_.push_back(kind_ == Kind::kLatin && word_.size() > 3 ? PorterStem(word_) : word_);
    word_.clear();
  }
  Tokens Take() { return std::move(tokens_); }

 private:
  enum class Kind { kLatin, kWord, kCharacter };

  /// Vowel signs and the like, and the joiners inside words of Persian and Indic scripts.
  static bool IsJoining(char32_t c) {
    constexpr CodePoints kJoiners = {0x200c, 0x200d};
    return IsCombiningMark(c) || kJoiners.Has(c);
  }
  void AddLatin(char c) {
    if (kind_ != Kind::kLatin) EndWord();
    kind_ = Kind::kLatin;
    word_ += c;
  }

  Kind kind_ = Kind::kLatin;
  std::string word_;
  Tokens tokens_;
};

// The package's arithmetic, operation for operation, so that the last bits agree too.
double FMeasure(int64_t common, int64_t in_reference, int64_t in_prediction) {
  const double precision = static_cast<double>(common) / static_cast<double>(std::max<int64_t>(in_prediction, 1));
  const double recall = static_cast<double>(common) / static_cast<double>(std::max<int64_t>(in_reference, 1));
  return precision + recall > 0.0 ? 2.0 * precision * recall / (precision + recall) : 0.0;
}

double RougeN(const Tokens& reference, const Tokens& prediction, size_t n) {
  const auto count = [n](const Tokens& tokens) {
    std::map<Tokens, int64_t> counts;
    for (size_t i = 0; i + n <= tokens.size(); ++i) ++counts[Tokens(tokens.begin() + i, tokens.begin() + i + n)];
    return counts;
  };
  const std::map<Tokens, int64_t> in_reference = count(reference);
  const std::map<Tokens, int64_t> in_prediction = count(prediction);
  int64_t common = 0;
  for (const auto& [ngram, times] : in_reference) {
    const auto it = in_prediction.find(ngram);
    if (it != in_prediction.end()) common += std::min(times, it->second);
  }
  const auto total = [n](const Tokens& tokens) { return static_cast<int64_t>(tokens.size() + 1 - std::min(n, tokens.size() + 1)); };
  return FMeasure(common, total(reference), total(prediction));
}

/// Length of the longest common subsequence, with two rows of the table.
int64_t LongestCommonSubsequence(const Tokens& a, const Tokens& b) {
  std::vector<int64_t> above(b.size() + 1, 0), row(b.size() + 1, 0);
  for (const std::string& token : a) {
    for (size_t j = 0; j < b.size(); ++j) row[j + 1] = token == b[j] ? above[j] + 1 : std::max(above[j + 1], row[j]);
    std::swap(above, row);
  }
  return above.back();
}

}  // namespace

RougeScores Rouge(std::string_view reference, std::string_view prediction) {
  const Tokens in_reference = RougeTokens(reference);
  const Tokens in_prediction = RougeTokens(prediction);
  RougeScores scores;
  scores.rouge1 = RougeN(in_reference, in_prediction, 1);
  scores.rouge2 = RougeN(in_reference, in_prediction, 2);
  scores.rougeL = FMeasure(LongestCommonSubsequence(in_reference, in_prediction), static_cast<int64_t>(in_reference.size()),
                           static_cast<int64_t>(in_prediction.size()));
  return scores;
}

std::vector<std::string> RougeTokens(std::string_view text) {
  WordCollector words;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = ReadUtf8(text.substr(i));
    i += step.length;
    if (step.valid) {
      words.Add(step.code_point);
    } else {
      words.EndWord();
    }
  }
  words.EndWord();
  return words.Take();
}

bool HasWordsBeyondLatin(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = ReadUtf8(text.substr(i));
    i += step.length;
    if (step.valid && IsBeyondLatin(step.code_point)) return true;
  }
  return false;
}

}  // namespace fedalt
