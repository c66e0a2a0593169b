// ROUGE as the Python package rouge_score computes it (Lin 2004; tokenizer and Porter stemmer of that package), F-measure; and
// words of other scripts than Latin, which that package drops.
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

/// As rouge_score: lower case, all but a-z and 0-9 to spaces, split; words longer than 3 characters are stemmed. And where it sees
/// nothing: letters and digits of other scripts than Latin make words of their own, with their marks, in lower case; in scripts
/// written without spaces (Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar) each character is one. Latin letters beyond a-z
/// stay unseen, so that the scores of texts in Latin script are the package's. Bytes that are not UTF-8 end a word.
std::vector<std::string> RougeTokens(std::string_view text);
/// Whether a text has words that rouge_score would drop and RougeTokens gives.
bool HasWordsBeyondLatin(std::string_view text);

/// Porter's stemmer in the variant that rouge_score uses (NLTK's default mode, NLTK_EXTENSIONS).
std::string PorterStem(std::string_view word);

}  // namespace fedalt
