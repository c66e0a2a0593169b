// How far a long job is: one line that is rewritten on a terminal, plain lines a few seconds apart elsewhere. All on stderr.
//
//   Progress progress(steps, "round 3, site osaka");
//   for (...) progress.Update(done, "loss 1.83");
//   progress.Finish();
//
// Update may be called from several threads; the one with the largest `done` is shown.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace fedalt {

/// Where progress goes. The default (empty functions) is stderr and the steady clock.
struct ProgressOutput {
  bool terminal = false;
  double plain_interval_seconds = 5.0;                ///< least distance of two plain lines
  double terminal_interval_seconds = 0.1;             ///< least distance of two repaints
  std::function<double()> now;                        ///< seconds, steady
  std::function<void(std::string_view)> status_line;  ///< replaces the line on a terminal; empty removes it
  std::function<void(std::string_view)> line;         ///< a line that stays

  /// stderr as it is: a terminal or not.
  static ProgressOutput Standard();
};

class Progress {
 public:
  /// `total` units of work, of which `start` were done before (a resumed job): they do not count for the rate.
  /// total <= 0: unknown; then no share and no time left are shown.
  Progress(int64_t total, std::string label, int64_t start = 0, ProgressOutput output = ProgressOutput::Standard());
  /// Removes the line if Finish was not called.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of `total` units are done; `note` is shown at the end of the line.
  void Update(int64_t done, std::string_view note = {});
  /// Leaves a last line with the total time. Later calls do nothing.
  void Finish(std::string_view note = {});

 private:
  std::string Line(double now) const;

  const int64_t total_;
  const std::string label_;
  const int64_t start_;
  const ProgressOutput output_;
  const double started_at_;

  std::mutex mutex_;
  int64_t done_;
  std::string note_;
  double shown_at_;
  bool finished_ = false;
};

/// "0:07", "12:30", "3:05:00", "2 d 4 h".
std::string DurationText(double seconds);

}  // namespace fedalt
