// Time as the network layer sees it, so that a simulation can make its own.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace fedalt {

class Clock {
 public:
  virtual ~Clock() = default;
  /// Unix time in milliseconds, for people to read: it may be set back and forth. From any thread.
  virtual int64_t NowMs() const = 0;
  /// Milliseconds since some moment of this process; only differences mean something, and they are of time that passed. Whatever
  /// waits uses this. From any thread.
  virtual int64_t MonotonicMs() const = 0;
  /// Waits. Errors: kInterrupted (a stop was asked for meanwhile).
  virtual Status Sleep(int64_t ms) = 0;
};

/// The machine's. Sleep looks for a stop (base/interrupt.h) ten times a second.
class SystemClock : public Clock {
 public:
  int64_t NowMs() const override;
  int64_t MonotonicMs() const override;
  Status Sleep(int64_t ms) override;
};

}  // namespace fedalt
