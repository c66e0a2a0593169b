// Warnings that strangers can cause, so that they cannot fill a log: some each minute, then how many more there were. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace fedalt {

class BoundedLog {
 public:
  static constexpr int64_t kMinuteMs = 60'000, kMostAMinute = 10;

  explicit BoundedLog(std::function<void(const std::string&)> tell) : tell_(std::move(tell)) {}

  void Tell(const std::string& what, int64_t now_ms) {
    Tick(now_ms);
    if (told_++ < kMostAMinute) tell_(what);
  }
  /// Ends a minute that is over. Call it now and then.
  void Tick(int64_t now_ms) {
    if (now_ms - begun_ms_ < kMinuteMs) return;
    if (told_ > kMostAMinute) tell_(std::to_string(told_ - kMostAMinute) + " more connections were refused within a minute");
    told_ = 0;
    begun_ms_ = now_ms;
  }

 private:
  std::function<void(const std::string&)> tell_;
  int64_t begun_ms_ = 0, told_ = 0;
};

}  // namespace fedalt
