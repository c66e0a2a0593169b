#include "base/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"

namespace fedalt {
namespace {

class LogTest : public testing::Test {
 protected:
  void TearDown() override {
    CloseLogFile();
    SetLogLevel(LogLevel::kInfo);
    std::filesystem::remove(path_);
  }
  // What `body` writes to stderr; nothing may go to stdout.
  template <typename Body>
  std::string StderrOf(const Body& body) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    body();
    std::string text = testing::internal::GetCapturedStderr();
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
    return text;
  }
  const std::filesystem::path path_ = std::filesystem::path(testing::TempDir()) / absl::StrCat("log_test-", ::getpid());
};

TEST_F(LogTest, LevelsOnStderr) {
  const auto all = [] {
    LogDebug("d");
    LogInfo("i {}");  // braces are text
    LogWarning("w");
    LogError("e");
  };
  EXPECT_EQ(StderrOf(all), "i {}\nwarning: w\nerror: e\n");
  SetLogLevel(LogLevel::kDebug);
  EXPECT_EQ(StderrOf(all), "d\ni {}\nwarning: w\nerror: e\n");
  SetLogLevel(LogLevel::kError);
  EXPECT_EQ(StderrOf(all), "error: e\n");
}

TEST_F(LogTest, TheFileGetsEveryLevelWithTimeAndIsAppendedTo) {
  ASSERT_TRUE(WriteFileAtomic(path_, "earlier\n").ok());
  ASSERT_TRUE(LogToFile(path_).ok());
  SetLogLevel(LogLevel::kError);
  EXPECT_EQ(StderrOf([] {
              LogDebug("one");
              LogWarning("two");
            }),
            "");
  CloseLogFile();
  LogWarning("not in the file");
  const std::string text = *ReadFile(path_, ErrorKind::kData);
  const std::string time = R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d )";
  EXPECT_TRUE(std::regex_match(text, std::regex("earlier\n" + time + "debug one\n" + time + "warning two\n"))) << text;
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsAnOutputError) {
  const Status status = LogToFile("/dev/null/log.txt");
  EXPECT_EQ(KindOf(status), ErrorKind::kOutput);
  EXPECT_NE(status.message().find("/dev/null/log.txt"), absl::string_view::npos);
}

TEST_F(LogTest, AFullDiskIsReportedOnceAndMessagesGoOn) {
  ASSERT_TRUE(LogToFile("/dev/full").ok());
  const std::string text = StderrOf([] {
    LogInfo("one");
    LogInfo("two");
  });
  EXPECT_TRUE(std::regex_match(text, std::regex("one\nwarning: /dev/full: the log file cannot be written .*\ntwo\n"))) << text;
}

TEST_F(LogTest, MessagesStandAboveTheStatusLine) {
  EXPECT_EQ(StderrOf([] {
              SetStatusLine("1/2");
              LogInfo("message");
              SetStatusLine("2/2");
              SetStatusLine("2/2");
              SetStatusLine("");
              LogInfo("after");
            }),
            "1/2\r\033[Kmessage\n1/2\r\033[K2/2\r\033[Kafter\n");
}

TEST_F(LogTest, LinesOfThreadsStayWhole) {
  const std::string text = StderrOf([] {
    std::vector<std::thread> threads;
    for (char name : {'a', 'b', 'c', 'd'}) {
      threads.emplace_back([name] {
        for (int i = 0; i < 200; ++i) LogInfo(std::string(50, name));
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 800);
  EXPECT_TRUE(std::regex_match(text.substr(0, 51 * 20), std::regex("((a{50}|b{50}|c{50}|d{50})\n)*")));
  EXPECT_EQ(text.size(), 800u * 51);
}

}  // namespace
}  // namespace fedalt
