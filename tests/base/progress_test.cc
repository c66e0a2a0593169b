#include "base/progress.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace fedalt {
namespace {

class ProgressTest : public testing::Test {
 protected:
  ProgressOutput Output(bool terminal) {
    ProgressOutput output;
    output.terminal = terminal;
    output.now = [this] { return now_; };
    output.status_line = [this](std::string_view line) { status_lines_.emplace_back(line); };
    output.line = [this](std::string_view line) { lines_.emplace_back(line); };
    return output;
  }
  double now_ = 1000;
  std::vector<std::string> status_lines_, lines_;
};

using Lines = std::vector<std::string>;

TEST_F(ProgressTest, PlainLinesAreSecondsApart) {
  Progress progress(100, "train", 0, Output(false));
  for (int i = 1; i <= 100; ++i) {
    now_ += 0.11;
    progress.Update(i, "loss 2.0");
  }
  progress.Finish("loss 1.0");
  EXPECT_EQ(lines_, (Lines{"train  46/100 (46%), 9.1/s, 0:06 left, loss 2.0", "train  92/100 (92%), 9.1/s, 0:01 left, loss 2.0",
                           "train  100 in 0:11, 9.1/s, loss 1.0"}));
  EXPECT_EQ(status_lines_, Lines{});
}

TEST_F(ProgressTest, ATerminalsLineIsRepaintedAndRemoved) {
  Progress progress(4, "eval", 0, Output(true));
  progress.Update(1);  // too early
  now_ += 4;
  progress.Update(2);
  now_ += 0.05;
  progress.Update(3);  // too early
  now_ += 3.95;
  progress.Update(4);
  progress.Finish();
  EXPECT_EQ(status_lines_, (Lines{"eval  2/4 (50%), 2.0 s each, 0:04 left", "eval  4/4 (100%), 2.0 s each", ""}));
  EXPECT_EQ(lines_, Lines{"eval  4 in 0:08, 2.0 s each"});
}

TEST_F(ProgressTest, WorkDoneBeforeDoesNotCountForTheRate) {
  Progress progress(100, "train", 80, Output(false));
  now_ += 10;
  progress.Update(90);
  EXPECT_EQ(lines_, Lines{"train  90/100 (90%), 1.0/s, 0:10 left"});
}

TEST_F(ProgressTest, AnUnknownTotalShowsNoShare) {
  Progress progress(0, "read", 0, Output(false));
  now_ += 10;
  progress.Update(1000);
  EXPECT_EQ(lines_, Lines{"read  1000, 100/s"});
}

TEST_F(ProgressTest, AnAbandonedLineIsRemoved) {
  {
    Progress progress(10, "train", 0, Output(true));
    now_ += 1;
    progress.Update(1);
  }
  ASSERT_EQ(status_lines_.size(), 2u);
  EXPECT_EQ(status_lines_.back(), "");
  EXPECT_EQ(lines_, Lines{});
}

TEST_F(ProgressTest, NothingAfterFinishAndNothingBackwards) {
  Progress progress(10, "train", 0, Output(false));
  now_ += 10;
  progress.Update(5);
  now_ += 10;
  progress.Update(4);
  EXPECT_EQ(lines_.size(), 1u);
  progress.Finish();
  progress.Finish();
  now_ += 10;
  progress.Update(9);
  EXPECT_EQ(lines_.size(), 2u);
}

TEST_F(ProgressTest, ThreadsMayReport) {
  ProgressOutput output = Output(false);
  output.plain_interval_seconds = 0;
  Progress progress(4000, "train", 0, output);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&progress, t] {
      for (int i = 1; i <= 1000; ++i) progress.Update(i * 4 - t);
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_FALSE(lines_.empty());
  EXPECT_EQ(lines_.back(), "train  4000/4000 (100%)");
}

TEST(DurationText, FromSecondsToDays) {
  EXPECT_EQ(DurationText(0), "0:00");
  EXPECT_EQ(DurationText(6.6), "0:07");
  EXPECT_EQ(DurationText(750), "12:30");
  EXPECT_EQ(DurationText(3 * 3600 + 300), "3:05:00");
  EXPECT_EQ(DurationText(2 * 86400 + 4 * 3600 + 59), "2 d 4 h");
}

}  // namespace
}  // namespace fedalt
