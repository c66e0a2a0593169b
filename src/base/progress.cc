#include "base/progress.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "base/log.h"

namespace fedalt {
namespace {

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A line that wraps cannot be rewritten, so it is cut at the terminal's width (and never inside a UTF-8 sequence).
std::string CutToTerminal(std::string_view line) {
  winsize size{};
  size_t width = 80;
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) width = size.ws_col;
  if (line.size() < width) return std::string(line);
  size_t end = width - 1;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xC0) == 0x80) --end;
  return std::string(line.substr(0, end));
}

// Enough digits to see a change: "12/s" or "3.4/s"; slow work as time per unit.
std::string RateText(double units, double seconds) {
  if (units <= 0 || seconds <= 0) return "";
  const double rate = units / seconds;
  if (rate >= 10) return absl::StrFormat("%.0f/s", rate);
  if (rate >= 1) return absl::StrFormat("%.1f/s", rate);
  return absl::StrFormat("%.1f s each", 1 / rate);
}

}  // namespace

std::string DurationText(double seconds) {
  const auto s = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e12)));
  if (s < 3600) return absl::StrFormat("%d:%02d", s / 60, s % 60);
  if (s < 48 * 3600) return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  return absl::StrFormat("%d d %d h", s / 86400, s / 3600 % 24);
}

ProgressOutput ProgressOutput::Standard() {
  ProgressOutput output;
  const char* term = std::getenv("TERM");
  output.terminal = ::isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
  output.now = SteadySeconds;
  output.status_line = [](std::string_view text) { SetStatusLine(CutToTerminal(text)); };
  output.line = LogInfo;
  return output;
}

Progress::Progress(int64_t total, std::string label, int64_t start, ProgressOutput output)
    : total_(total),
      label_(std::move(label)),
      start_(start),
      output_(std::move(output)),
      started_at_(output_.now()),
      done_(start),
      shown_at_(started_at_) {}

Progress::~Progress() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!finished_ && output_.terminal) output_.status_line("");
}

std::string Progress::Line(double now) const {
  const double elapsed = now - started_at_;
  std::string line = label_;
  if (total_ > 0) {
    absl::StrAppendFormat(&line, "  %d/%d (%d%%)", done_, total_, done_ * 100 / total_);
  } else {
    absl::StrAppend(&line, "  ", done_);
  }
  const auto units = static_cast<double>(done_ - start_);
  if (const std::string rate = RateText(units, elapsed); !rate.empty()) absl::StrAppend(&line, ", ", rate);
  if (total_ > done_ && units > 0) {
    absl::StrAppend(&line, ", ", DurationText(elapsed / units * static_cast<double>(total_ - done_)), " left");
  }
  if (!note_.empty()) absl::StrAppend(&line, ", ", note_);
  return line;
}

void Progress::Update(int64_t done, std::string_view note) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_ || done < done_) return;
  done_ = done;
  note_ = note;
  const double now = output_.now();
  if (now - shown_at_ < (output_.terminal ? output_.terminal_interval_seconds : output_.plain_interval_seconds)) return;
  shown_at_ = now;
  (output_.terminal ? output_.status_line : output_.line)(Line(now));
}

void Progress::Finish(std::string_view note) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  finished_ = true;
  const double elapsed = output_.now() - started_at_;
  std::string line = absl::StrCat(label_, "  ", done_, " in ", DurationText(elapsed));
  if (const std::string rate = RateText(static_cast<double>(done_ - start_), elapsed); !rate.empty()) {
    absl::StrAppend(&line, ", ", rate);
  }
  if (!note.empty()) absl::StrAppend(&line, ", ", std::string(note));
  if (output_.terminal) output_.status_line("");
  output_.line(line);
}

}  // namespace fedalt
