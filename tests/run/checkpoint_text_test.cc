#include "run/checkpoint_text.h"

#include <gtest/gtest.h>

namespace fedalt {
namespace {

TEST(CheckpointText, ReadsWhatItWrites) {
  for (const int64_t round : {int64_t{0}, int64_t{7}, INT64_MAX}) {
    const auto read = ReadingFromText(ReadingToText({round, 3}), "reading.json");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->read, round);
    EXPECT_EQ(read->refused, 3);
  }
  EXPECT_EQ(ReadingToText({3, 4}), "{\"read_round\":3,\"refused_round\":4}\n") << "as checkpoints have it";
}

TEST(CheckpointText, RoundsThatCannotBeAreRefused) {
  for (const char* round : {"-1", "18446744073709551615", "1.0", "1e300", "null", "\"3\"", "[]"}) {
    const auto read = ReadingFromText("{\"read_round\": 1, \"refused_round\": " + std::string(round) + "}", "reading.json");
    EXPECT_EQ(KindOf(read.status()), ErrorKind::kOutput) << round;
    EXPECT_NE(read.status().message().find("reading.json"), absl::string_view::npos) << read.status();
  }
  for (const char* text : {"", "{}", "[]", "3", "{\"read_round\": 1}", "{\"read_round\": 1,"})
    EXPECT_EQ(KindOf(ReadingFromText(text, "reading.json").status()), ErrorKind::kOutput) << text;
}

TEST(CheckpointText, NumbersAreFiniteAndCountsWhole) {
  EXPECT_EQ(CountFromText("12", "round").value_or(-1), 12);
  EXPECT_EQ(NumberFromText("0.25", "weight").value_or(-1.0), 0.25);
  for (const char* text : {"", "-1", "1.5", "1e300", "nan", "9223372036854775808", "12x"})
    EXPECT_EQ(KindOf(CountFromText(text, "round").status()), ErrorKind::kModel) << text;
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "x"})
    EXPECT_EQ(KindOf(NumberFromText(text, "weight").status()), ErrorKind::kModel) << text;
}

}  // namespace
}  // namespace fedalt
