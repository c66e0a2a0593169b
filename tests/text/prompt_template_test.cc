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

TEST(PromptTemplate, NoneIsTheInstructionAndItsInput) {
  const auto made = PromptTemplate::Named("none");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->Render("Say {input}. ", ""), "Say {input}. ");
  EXPECT_EQ(made->Render("Translate.", "Bonjour"), "Translate.\nBonjour");
  EXPECT_EQ(made->name(), "none");
}

TEST(PromptTemplate, ATextOfOnesOwn) {
  const auto made = PromptTemplate::Named("Q: {instruction}\nA:");
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->Render("Who?", ""), "Q: Who?\nA:");
  EXPECT_EQ(made->Render("Who {input}?", "{instruction}"), "Q: Who {input}?\n{instruction}\nA:");  // what is put in stays as it is
  EXPECT_EQ(made->name(), "Q: {instruction}\nA:");
  const auto with_input = PromptTemplate::Named("{input}|{instruction}|{instruction}");
  ASSERT_TRUE(with_input.ok()) << with_input.status();
  EXPECT_EQ(with_input->Render("a", ""), "|a|a");
  EXPECT_EQ(with_input->Render("a", "b"), "b|a|a");
}

// As in Python's str.format, which defines {{ and }}.
TEST(PromptTemplate, DoubledBracesAreBraces) {
  const auto made = PromptTemplate::Named("{{\"q\": \"{instruction}\", \"a\": {{}}}} {{input}} {{{input}}}");
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->Render("x", "y"), "{\"q\": \"x\", \"a\": {}} {input} {y}");
}

TEST(PromptTemplate, WhatIsNoTemplateIsRefused) {
  const auto message = [](const std::string& text) {
    const auto made = PromptTemplate::Named(text);
    EXPECT_EQ(KindOf(made.status()), ErrorKind::kConfig) << text;
    return std::string(made.status().message());
  };
  for (const char* text : {"alpaca-short", "Q: A:", "{input}", "{{instruction}}"})  // nothing would be asked
    EXPECT_NE(message(text).find("alpaca_short, alpaca, plain, none"), std::string::npos) << message(text);
  EXPECT_NE(message("{question}").find("{question}"), std::string::npos);
  for (const char* text : {"{instruction", "{instruction} }", "{} {instruction}", "{ instruction}", "{instruction}{"})
    EXPECT_NE(message(text).find("{{ or }}"), std::string::npos) << message(text);
  message("{instruction} \xff");
  message(std::string(PromptTemplate::kMostBytes, 'x') + "{instruction}");
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
