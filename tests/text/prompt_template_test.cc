#include "text/prompt_template.h"

#include <gtest/gtest.h>

namespace fedalt {
namespace {

TEST(PromptTemplate, AlpacaShortIsThatOfTheAlgorithm) {
  const auto made = PromptTemplate::Named("alpaca_short");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->Render("Say {hello}.", ""), "### Instruction:\nSay {hello}.\n\n### Response:\n");
  EXPECT_EQ(made->Render("Translate.", "Bonjour"), "### Instruction:\nTranslate.\n\n### Input:\nBonjour\n\n### Response:\n");
  EXPECT_EQ(made->name(), "alpaca_short");
}

TEST(PromptTemplate, AlpacaHasThePreamble) {
  const auto made = PromptTemplate::Named("alpaca");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->Render("Say.", ""),
            "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
            "### Instruction:\nSay.\n\n### Response:\n");
  EXPECT_EQ(
      made->Render("Say.", "x"),
      "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that "
      "appropriately completes the request.\n\n### Instruction:\nSay.\n\n### Input:\nx\n\n### Response:\n");
}

TEST(PromptTemplate, PlainJoinsBySpaces) {
  const auto made = PromptTemplate::Named("plain");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->Render("a b", ""), "a b ");
  EXPECT_EQ(made->Render("a b", "c"), "a b c ");
}

TEST(PromptTemplate, UnknownNameNamesTheKnownOnes) {
  const auto made = PromptTemplate::Named("vicuna");
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(KindOf(made.status()), ErrorKind::kConfig);
  EXPECT_NE(std::string(made.status().message()).find("expected one of alpaca_short, alpaca, plain"), std::string::npos)
      << made.status();
}

}  // namespace
}  // namespace fedalt
