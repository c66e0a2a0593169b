#include "net/clock.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/interrupt.h"

namespace fedalt {

int64_t SystemClock::NowMs() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

int64_t SystemClock::MonotonicMs() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Status SystemClock::Sleep(int64_t ms) {
  constexpr int64_t kPieceMs = 100;
  for (int64_t left = ms; left > 0; left -= kPieceMs) {
    if (InterruptRequested()) return InterruptedError("stopped while waiting for the server");
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(left, kPieceMs)));
  }
  return InterruptRequested() ? InterruptedError("stopped while waiting for the server") : absl::OkStatus();
}

}  // namespace fedalt
