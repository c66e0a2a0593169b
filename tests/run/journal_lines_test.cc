// A journal that a crash or a hand has damaged ends in one sentence, never in an exception or a wrong round.
#include "run/journal_lines.h"

#include <gtest/gtest.h>

namespace fedalt {
namespace {

constexpr char kSite[] = R"({"event":"site","round":1,"site":0,"report":{"steps":2}})"
                         "\n";
constexpr char kRound[] = R"({"event":"round","round":1,"metrics_bytes":10,"csv_bytes":5,"best":true,"validation_loss":0.5})"
                          "\n";

TEST(JournalLinesTest, ARunIsReadAsItWasWritten) {
  const std::string text = std::string(kSite) + kRound + R"({"event":"site","round":2,"site":3,"report":{"steps":7}})" + "\n{\"eve";
  const auto journal = ReadJournalLines(text, "j");
  ASSERT_TRUE(journal.ok()) << journal.status();
  EXPECT_EQ(journal->closed_round, 1);
  EXPECT_EQ(journal->best_round, 1);
  EXPECT_EQ(journal->best_validation_loss, 0.5);
  EXPECT_EQ(journal->metrics_bytes, 10);
  EXPECT_EQ(journal->csv_bytes, 5);
  ASSERT_EQ(journal->reports.size(), 1u);
  EXPECT_EQ(journal->reports.at(3)["steps"], 7);
  EXPECT_EQ(journal->bytes, static_cast<int64_t>(text.size()) - 5);  // without the torn line
}

TEST(JournalLinesTest, ASiteMayJoinLate) {
  const auto journal = ReadJournalLines(R"({"event":"round","round":4,"metrics_bytes":0,"csv_bytes":0,"best":false,"joined":true})"
                                        "\n",
                                        "j");
  ASSERT_TRUE(journal.ok()) << journal.status();
  EXPECT_EQ(journal->joined_round, 4);
  EXPECT_EQ(journal->closed_round, 4);
}

TEST(JournalLinesTest, ALossThatIsNoNumberIsNeverTheBest) {
  for (const char* loss : {"null", "\"nan\""}) {
    const auto journal = ReadJournalLines(
        absl::StrCat(R"({"event":"round","round":1,"metrics_bytes":0,"csv_bytes":0,"best":true,"validation_loss":)", loss, "}\n"),
        "j");
    ASSERT_TRUE(journal.ok()) << journal.status();
    EXPECT_EQ(journal->closed_round, 1);
    EXPECT_EQ(journal->best_round, 0);
  }
}

TEST(JournalLinesTest, WhatDoesNotContinueTheRunIsRefusedWithItsLine) {
  for (const char* line :
       {R"({"event":5,"round":1})",                // another kind of value
        R"({"event":"site","round":1,"site":0})",  // no report
        R"({"event":"site","round":1,"site":0,"report":[]})", R"({"event":"site","round":1,"site":-1,"report":{}})",
        R"({"event":"site","round":2,"site":0,"report":{}})",               // a round ahead
        R"({"event":"round","round":1,"metrics_bytes":-1,"csv_bytes":0})",  // no size
        R"({"event":"round","round":1,"csv_bytes":0})",
        R"({"event":"round","round":18446744073709551615,"metrics_bytes":0,"csv_bytes":0,"joined":true})",
        R"({"event":"round","round":3,"metrics_bytes":0,"csv_bytes":0,"joined":"yes"})", "[]", "7", "{", "\x01"}) {
    const auto journal = ReadJournalLines(std::string("\n") + line + "\n", "j");
    EXPECT_EQ(KindOf(journal.status()), ErrorKind::kOutput) << line;
    EXPECT_NE(std::string(journal.status().message()).find("j, line 2"), std::string::npos) << journal.status();
  }
}

}  // namespace
}  // namespace fedalt
