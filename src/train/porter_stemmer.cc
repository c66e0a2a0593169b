// Porter's stemmer (Porter 1980, "An algorithm for suffix stripping") with the changes of NLTK's default mode. The steps carry the
// numbers of the paper; a word is lower case, and whatever is neither a vowel nor a "y" counts as a consonant.
#include <algorithm>
#include <span>
#include <utility>

#include "train/rouge.h"

namespace fedalt {
namespace {

/// Irregular forms that NLTK looks up instead of computing.
constexpr std::pair<std::string_view, std::string_view> kIrregular[] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"}};

/// A suffix and what replaces it if the rest of the word satisfies the step's condition. The first rule whose suffix fits decides.
struct Rule {
  std::string_view suffix, replacement;
};

constexpr Rule kStep2[] = {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
                           {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
                           {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
                           {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
                           {"fulli", "ful"},   {"logi", "log"}};
constexpr Rule kStep3[] = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
                           {"ical", "ic"},  {"ful", ""},   {"ness", ""}};
constexpr std::string_view kStep4[] = {"al",  "ance", "ence", "er",  "ic",  "able", "ible", "ant", "ement", "ment",
                                       "ent", "ion",  "ou",   "ism", "ate", "iti",  "ous",  "ive", "ize"};

std::string_view Without(std::string_view word, size_t letters) {
  return word.substr(0, word.size() - letters);
}

/// Per letter: is it a consonant? A "y" is one unless it follows a consonant.
std::vector<bool> Consonants(std::string_view word) {
  std::vector<bool> flags(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    const bool is_vowel = std::string_view("aeiou").find(word[i]) != std::string_view::npos;
    flags[i] = !is_vowel && (word[i] != 'y' || i == 0 || !flags[i - 1]);
  }
  return flags;
}

/// The paper's m: how often a consonant follows a vowel.
int Measure(std::string_view stem) {
  const std::vector<bool> flags = Consonants(stem);
  int measure = 0;
  for (size_t i = 1; i < flags.size(); ++i) measure += !flags[i - 1] && flags[i] ? 1 : 0;
  return measure;
}

bool ContainsVowel(std::string_view stem) {
  const std::vector<bool> flags = Consonants(stem);
  return std::find(flags.begin(), flags.end(), false) != flags.end();
}

bool EndsInDoubleConsonant(std::string_view word) {
  return word.size() >= 2 && word.back() == word[word.size() - 2] && Consonants(word).back();
}

/// The paper's *o: consonant, vowel, consonant other than w, x, y. NLTK also takes a word that is vowel, consonant.
bool EndsInShortSyllable(std::string_view word) {
  const std::vector<bool> flags = Consonants(word);
  const size_t n = word.size();
  if (n == 2) return !flags[0] && flags[1];
  return n >= 3 && flags[n - 3] && !flags[n - 2] && flags[n - 1] && word[n - 1] != 'w' && word[n - 1] != 'x' && word[n - 1] != 'y';
}

/// Plurals.
std::string Step1a(std::string_view word) {
  if (word.ends_with("ies")) return std::string(Without(word, word.size() == 4 ? 1 : 2));  // NLTK: dies -> die, flies -> fli
  if (word.ends_with("sses")) return std::string(Without(word, 2));
  if (word.ends_with("s") && !word.ends_with("ss")) return std::string(Without(word, 1));
  return std::string(word);
}

/// -eed, -ed, -ing.
std::string Step1b(std::string_view word) {
  if (word.ends_with("ied")) return std::string(Without(word, word.size() == 4 ? 1 : 2));  // NLTK: died -> die, spied -> spi
  if (word.ends_with("eed")) return std::string(Measure(Without(word, 3)) > 0 ? Without(word, 1) : word);
  std::string_view stem;
  if (word.ends_with("ed") && ContainsVowel(Without(word, 2)))
    stem = Without(word, 2);
  else if (word.ends_with("ing") && ContainsVowel(Without(word, 3)))
    stem = Without(word, 3);
  else
    return std::string(word);
  if (stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz")) return std::string(stem) + "e";
  if (EndsInDoubleConsonant(stem)) {
    const bool stays = stem.back() == 'l' || stem.back() == 's' || stem.back() == 'z';
    return std::string(stays ? stem : Without(stem, 1));
  }
  return std::string(stem) + (Measure(stem) == 1 && EndsInShortSyllable(stem) ? "e" : "");
}

/// -y after a consonant that is not the first letter (NLTK's condition).
std::string Step1c(std::string word) {
  if (word.size() > 2 && word.back() == 'y' && Consonants(word)[word.size() - 2]) word.back() = 'i';
  return word;
}

std::string ApplyIfMeasured(std::string_view word, std::span<const Rule> rules) {
  for (const Rule& rule : rules) {
    if (!word.ends_with(rule.suffix)) continue;
    // NLTK counts the l of "logi" to the stem, so that short stems as in "geology" and "theology" are cut as well.
    const size_t outside = rule.suffix == "logi" ? 3 : rule.suffix.size();
    if (Measure(Without(word, outside)) == 0) return std::string(word);
    return std::string(Without(word, rule.suffix.size())) += rule.replacement;
  }
  return std::string(word);
}

std::string Step2(std::string_view word) {
  // NLTK: -alli first, and the result once more.
  if (word.ends_with("alli") && Measure(Without(word, 4)) > 0) return Step2(Without(word, 2));
  return ApplyIfMeasured(word, kStep2);
}

std::string Step4(std::string_view word) {
  for (const std::string_view suffix : kStep4) {
    if (!word.ends_with(suffix)) continue;
    const std::string_view stem = Without(word, suffix.size());
    const bool fits = Measure(stem) > 1 && (suffix != "ion" || stem.back() == 's' || stem.back() == 't');
    return std::string(fits ? stem : word);
  }
  return std::string(word);
}

/// A last -e, and -ll.
std::string Step5(std::string_view word) {
  if (word.ends_with("e")) {
    const std::string_view stem = Without(word, 1);
    const int measure = Measure(stem);
    if (measure > 1 || (measure == 1 && !EndsInShortSyllable(stem))) word = stem;
  }
  if (word.ends_with("ll") && Measure(Without(word, 1)) > 1) word = Without(word, 1);
  return std::string(word);
}

}  // namespace

std::string PorterStem(std::string_view word) {
  for (const auto& [form, stem] : kIrregular)
    if (word == form) return std::string(stem);
  if (word.size() <= 2) return std::string(word);
  return Step5(Step4(ApplyIfMeasured(Step2(Step1c(Step1b(Step1a(word)))), kStep3)));
}

}  // namespace fedalt
