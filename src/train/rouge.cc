#include "train/rouge.h"

#include <algorithm>
#include <map>
#include <utility>

namespace fedalt {
namespace {

using Tokens = std::vector<std::string>;

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
  Tokens tokens;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) tokens.push_back(word.size() > 3 ? PorterStem(word) : word);
    word.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      word += c;
    } else if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c - 'A' + 'a');
    } else if (text.substr(i, 3) == "\xe2\x84\xaa") {  // the Kelvin sign: one of the two characters outside ASCII
      word += 'k';                                     // whose lower case begins with an ASCII letter
      i += 2;
    } else if (text.substr(i, 2) == "\xc4\xb0") {  // I with a dot: "i" and a combining dot, which ends the word
      word += 'i';
      end_word();
      i += 1;
    } else {
      end_word();
    }
  }
  end_word();
  return tokens;
}

}  // namespace fedalt
