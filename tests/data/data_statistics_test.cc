#include "data/data_statistics.h"

#include <gtest/gtest.h>

namespace fedalt {
namespace {

Example Make(const std::string& instruction, const std::string& input, const std::string& output, const std::string& tag = "") {
  return {0, instruction, input, output, tag};
}

TEST(Counts, TrimLabelsAndOrderByFrequency) {
  const std::vector<Example> examples = {Make("a", "", "yes\n", "x"), Make("b", "", " yes"), Make("c", "", "no"),
                                         Make("d", "", "maybe")};
  EXPECT_EQ(CountLabels(examples), (Counts{{"yes", 2}, {"no", 1}, {"maybe", 1}}));
  EXPECT_EQ(CountTags(examples), (Counts{{"x", 1}, {"", 3}}));
  const auto most = MostFrequent(CountLabels(examples), 2);
  ASSERT_EQ(most.size(), 2u);
  EXPECT_EQ(most[0], (std::pair<std::string, int64_t>("yes", 2)));
  EXPECT_EQ(most[1], (std::pair<std::string, int64_t>("maybe", 1)));
}

TEST(TotalVariation, ByHand) {
  EXPECT_DOUBLE_EQ(TotalVariation({{"a", 1}, {"b", 3}}, {{"a", 2}, {"b", 6}}), 0.0);
  EXPECT_DOUBLE_EQ(TotalVariation({{"a", 5}}, {{"b", 7}}), 1.0);
  EXPECT_DOUBLE_EQ(TotalVariation({{"a", 1}, {"b", 1}}, {{"a", 1}, {"c", 3}}), 0.75);  // (.25 + .5 + .75) / 2
  EXPECT_DOUBLE_EQ(TotalVariation({{"a", 1}, {"c", 3}}, {{"a", 1}, {"b", 1}}), 0.75);
  EXPECT_DOUBLE_EQ(TotalVariation({}, {{"a", 1}}), 0.0);
}

TEST(Summarize, NearestRanks) {
  std::vector<int64_t> lengths;
  for (int64_t i = 100; i >= 1; --i) lengths.push_back(i);
  const LengthSummary summary = Summarize(lengths);
  EXPECT_EQ(summary.count, 100);
  EXPECT_EQ(summary.shortest, 1);
  EXPECT_EQ(summary.median, 50);
  EXPECT_EQ(summary.p95, 95);
  EXPECT_EQ(summary.longest, 100);
  EXPECT_DOUBLE_EQ(summary.mean, 50.5);
  EXPECT_EQ(Summarize({7}).p95, 7);
  EXPECT_EQ(Summarize({}).count, 0);
}

TEST(Prompts, AreWholeInstructionAndInput) {
  EXPECT_EQ(PromptCharacters(Make("täst", "日本", "x")), 6);
  EXPECT_NE(PromptId(Make("ab", "c", "")), PromptId(Make("a", "bc", "")));
  EXPECT_EQ(PromptId(Make("a", "b", "c")), PromptId(Make("a", "b", "d")));
  const std::vector<Example> train = {Make("a", "b", "c"), Make("a", "b", "d"), Make("e", "", "f")};
  EXPECT_EQ(PromptsOf(train).size(), 2u);
  EXPECT_EQ(CountIn({Make("a", "b", "x"), Make("a", "b", "y"), Make("a", "", "z")}, PromptsOf(train)), 2);
}

}  // namespace
}  // namespace fedalt
