// ROUGE as the Python package rouge_score computes it (Lin 2004; tokenizer and Porter stemmer of that package), F-measure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fedalt {

struct RougeScores {
  double rouge1 = 0.0, rouge2 = 0.0, rougeL = 0.0;
};

/// F-measures of `prediction` against `reference`, with Porter stemming.
RougeScores Rouge(std::string_view reference, std::string_view prediction);

/// Lower case, non-alphanumerics to spaces, split; words longer than 3 characters are stemmed (as rouge_score does).
std::vector<std::string> RougeTokens(std::string_view text);

/// Porter's stemmer in the variant that rouge_score uses (NLTK's default mode, NLTK_EXTENSIONS).
std::string PorterStem(std::string_view word);

}  // namespace fedalt
