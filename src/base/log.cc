#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace fedalt {
namespace {

constexpr char kClearLine[] = "\r\033[K";

/// With the offset of the local time, so that logs of several places can be laid side by side.
std::string TimeNow() {
  const std::time_t now = std::time(nullptr);
  std::tm local = {};
  std::array<char, 32> text = {};
  if (::localtime_r(&now, &local) == nullptr || std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S%z ", &local) == 0)
    return "";
  return text.data();
}

// Writes messages above the status line.
class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  void SetTimes(bool shown) { times_ = shown; }
  void SetStatusLine(std::string_view line) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (line == status_line_) return;
    std::string text = status_line_.empty() ? "" : kClearLine;
    status_line_ = line;
    text += status_line_;
    Write(text);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    std::string text = status_line_.empty() ? "" : kClearLine;
    if (times_) text += TimeNow();
    if (message.level == spdlog::level::warn) text += "warning: ";
    if (message.level == spdlog::level::err) text += "error: ";
    text.append(message.payload.data(), message.payload.size());
    text += '\n';
    Write(text + status_line_);
  }
  void flush_() override {}

 private:
  // One write for the whole text, so that lines of several processes do not mix.
  static void Write(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }
  std::string status_line_;
  std::atomic<bool> times_ = false;
};

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

// The two destinations. Loggers are made anew when the file changes; the mutex guards the exchange, not the messages.
struct Destinations {
  std::mutex mutex;
  std::shared_ptr<StderrSink> stderr_sink = std::make_shared<StderrSink>();
  std::shared_ptr<spdlog::logger> file;  // null without a log file
  std::filesystem::path file_path;
  bool file_failed = false;
};

// Never destroyed: messages may come from destructors of static objects.
Destinations& Get() {
  static auto* destinations = [] {
    auto* made = new Destinations;
    made->stderr_sink->set_level(spdlog::level::info);
    return made;
  }();
  return *destinations;
}

void ToStderr(spdlog::level::level_enum level, std::string_view message) {
  StderrSink& sink = *Get().stderr_sink;
  if (sink.should_log(level)) sink.log(spdlog::details::log_msg("", level, spdlog::string_view_t(message.data(), message.size())));
}

void FileFailed(const std::string& reason) {
  Destinations& all = Get();
  std::string path;
  {
    const std::lock_guard<std::mutex> lock(all.mutex);
    if (std::exchange(all.file_failed, true)) return;
    path = all.file_path.string();
  }
  ToStderr(spdlog::level::warn, absl::StrCat(path, ": the log file cannot be written (", reason, "); messages go on here"));
}

}  // namespace

void SetLogLevel(LogLevel level) {
  Get().stderr_sink->set_level(SpdlogLevel(level));
}

Status LogToFile(const std::filesystem::path& path) {
  std::shared_ptr<spdlog::logger> logger;
  try {
    logger = std::make_shared<spdlog::logger>("file", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string()));
  } catch (const spdlog::spdlog_ex&) {
    return OutputError(absl::StrCat(path.string(), ": log file cannot be opened (", std::string(std::strerror(errno)),
                                    "); check the directory and its permissions"));
  }
  logger->set_level(spdlog::level::debug);
  logger->flush_on(spdlog::level::debug);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  logger->set_error_handler(FileFailed);
  Destinations& all = Get();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.file = std::move(logger);
  all.file_path = path;
  all.file_failed = false;
  return absl::OkStatus();
}

void CloseLogFile() {
  Destinations& all = Get();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.file.reset();
}

void Log(LogLevel level, std::string_view message) {
  ToStderr(SpdlogLevel(level), message);
  LogInFile(level, message);
}

void LogInFile(LogLevel level, std::string_view message) {
  Destinations& all = Get();
  std::shared_ptr<spdlog::logger> file;
  {
    const std::lock_guard<std::mutex> lock(all.mutex);
    file = all.file;
  }
  if (file) file->log(SpdlogLevel(level), spdlog::string_view_t(message.data(), message.size()));
}

void SetLogTimes(bool shown) {
  Get().stderr_sink->SetTimes(shown);
}

void SetStatusLine(std::string_view line) {
  Get().stderr_sink->SetStatusLine(line);
}

}  // namespace fedalt
