#include "train/rouge.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace fedalt {
namespace {

// rouge_score's own numbers (tests/golden/rouge.py); they are written with 12 digits and the arithmetic is the same.
constexpr double kTolerance = 1e-9;

std::ifstream Open(const std::string& name) {
  std::ifstream file(std::string(FEDALT_TEST_DATA) + "/rouge/" + name);
  EXPECT_TRUE(file.good()) << name;
  return file;
}

TEST(Rouge, AgreesWithRougeScore) {
  std::ifstream file = Open("pairs.jsonl");
  std::string line;
  std::getline(file, line);  // versions
  int pairs = 0, non_trivial = 0, beyond_latin = 0;
  while (std::getline(file, line)) {
    const auto pair = nlohmann::json::parse(line);
    const auto reference = pair[0].get<std::string>(), prediction = pair[1].get<std::string>();
    ++pairs;
    if (HasWordsBeyondLatin(reference) || HasWordsBeyondLatin(prediction)) {  // the package drops them: SeesOtherScripts
      ++beyond_latin;
      continue;
    }
    const RougeScores scores = Rouge(reference, prediction);
    EXPECT_NEAR(scores.rouge1, pair[2].get<double>(), kTolerance) << line;
    EXPECT_NEAR(scores.rouge2, pair[3].get<double>(), kTolerance) << line;
    EXPECT_NEAR(scores.rougeL, pair[4].get<double>(), kTolerance) << line;
    non_trivial += scores.rouge2 > 0.0 && scores.rouge2 < 1.0 ? 1 : 0;
  }
  EXPECT_EQ(pairs, 500);
  EXPECT_EQ(beyond_latin, 7);
  EXPECT_GT(non_trivial, 100);
}

// Words by Unicode properties, scores by rouge_score with these words (tests/golden/rouge_scripts.py).
TEST(Rouge, SeesOtherScripts) {
  std::ifstream file = Open("scripts.jsonl");
  std::string line;
  std::getline(file, line);  // versions
  std::set<std::string> languages;
  while (std::getline(file, line)) {
    const auto row = nlohmann::json::parse(line);
    const auto reference = row["reference"].get<std::string>(), answer = row["answer"].get<std::string>();
    EXPECT_EQ(RougeTokens(answer), row["words"].get<std::vector<std::string>>()) << line;
    const RougeScores scores = Rouge(reference, answer);
    EXPECT_NEAR(scores.rouge1, row["scores"][0].get<double>(), kTolerance) << line;
    EXPECT_NEAR(scores.rouge2, row["scores"][1].get<double>(), kTolerance) << line;
    EXPECT_NEAR(scores.rougeL, row["scores"][2].get<double>(), kTolerance) << line;
    if (answer == reference) EXPECT_EQ(scores.rouge1, 1.0) << line;
    EXPECT_TRUE(HasWordsBeyondLatin(reference)) << line;
    languages.insert(row["language"]);
  }
  EXPECT_GE(languages.size(), 20u);
}

TEST(Rouge, LatinTextIsThatOfRougeScore) {
  for (const char* text : {"na\xc3\xafve caf\xc3\xa9",
                           "Stra\xc3\x9f"
                           "e",
                           "300 \xe2\x84\xaa", "x\xc2\xb2 \xc2\xb5m", "\xf0\x9f\x98\x80 ok", "e\xcc\x81t\xc3\xa9", ""})
    EXPECT_FALSE(HasWordsBeyondLatin(text)) << text;
  EXPECT_EQ(RougeTokens("e\xcc\x81t\xc3\xa9 \xe2\x85\xa7"), (std::vector<std::string>{"e", "t"}));  // as the package's own
}

TEST(PorterStem, AgreesWithNltk) {
  std::ifstream file = Open("stems.txt");
  std::string line;
  std::getline(file, line);  // versions
  int words = 0;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string word, stem;
    fields >> word >> stem;
    EXPECT_EQ(PorterStem(word), stem) << word;
    ++words;
  }
  EXPECT_GE(words, 3000);
}

TEST(RougeTokens, LowersSplitsAndStemsWordsLongerThanThree) {
  EXPECT_EQ(RougeTokens("The Running-man's 22nd  cats, was"),
            (std::vector<std::string>{"the", "run", "man", "s", "22nd", "cat", "was"}));
  EXPECT_EQ(RougeTokens("\xe2\x84\xaa\xc4\xb0x"), (std::vector<std::string>{"ki", "x"}));
  EXPECT_EQ(RougeTokens(" \xff... "), std::vector<std::string>{});
}

}  // namespace
}  // namespace fedalt
