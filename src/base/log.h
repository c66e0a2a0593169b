// Messages for people: on stderr, and in the log file of a run. Never on stdout, which belongs to results.
//
// On stderr a message is plain text ("warning: ..." and "error: ..." name their level); the file adds time and level, and gets
// every level. All functions may be called from any thread. A file that cannot be written any more is reported once and costs
// nothing else.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/status.h"

namespace fedalt {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// The least level that stderr shows; kInfo at start.
void SetLogLevel(LogLevel level);

/// From now on messages are also appended to this file (in place of an earlier one). Errors: kOutput.
Status LogToFile(const std::filesystem::path& path);
/// Flushes and closes the log file.
void CloseLogFile();

void Log(LogLevel level, std::string_view message);
/// Only into the file: what stderr is told in another way.
void LogInFile(LogLevel level, std::string_view message);
inline void LogDebug(std::string_view message) {
  Log(LogLevel::kDebug, message);
}
inline void LogInfo(std::string_view message) {
  Log(LogLevel::kInfo, message);
}
inline void LogWarning(std::string_view message) {
  Log(LogLevel::kWarning, message);
}
inline void LogError(std::string_view message) {
  Log(LogLevel::kError, message);
}

/// Whether messages on stderr begin with the time, as in 2026-11-30T22:01:30+0100: for programs that run for long.
void SetLogTimes(bool shown);

/// A line that stays below all messages on a terminal (progress); empty removes it. Only for a stderr that is a terminal.
void SetStatusLine(std::string_view line);

}  // namespace fedalt
