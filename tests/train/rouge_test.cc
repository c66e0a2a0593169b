#include "train/rouge.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
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
  int pairs = 0, non_trivial = 0;
  while (std::getline(file, line)) {
    const auto pair = nlohmann::json::parse(line);
    const RougeScores scores = Rouge(pair[0].get<std::string>(), pair[1].get<std::string>());
    EXPECT_NEAR(scores.rouge1, pair[2].get<double>(), kTolerance) << line;
    EXPECT_NEAR(scores.rouge2, pair[3].get<double>(), kTolerance) << line;
    EXPECT_NEAR(scores.rougeL, pair[4].get<double>(), kTolerance) << line;
    ++pairs;
    non_trivial += scores.rouge2 > 0.0 && scores.rouge2 < 1.0 ? 1 : 0;
  }
  EXPECT_EQ(pairs, 500);
  EXPECT_GT(non_trivial, 100);
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
