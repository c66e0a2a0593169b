// Who calls a server: whether the site takes part, which of its processes speaks, when it was heard last, and how many calls it has
// left. Thread-safe, and waits for nothing, so that polls can be answered from it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "base/status.h"
#include "net/clock.h"

namespace fedalt {

class Callers {
 public:
  enum class Kind { kEnrolment, kFact, kChunk };

  /// Borrows the clock. `silent_ms`: net/budgets.h.
  Callers(const Clock& clock, int64_t silent_ms) : clock_(clock), silent_ms_(silent_ms) {}

  /// A call has come: it counts against the site's calls, and as hearing from its process, apart from an enrolment, which may be
  /// another one's. Errors: ResourceExhausted.
  Status Admit(int64_t site, Kind kind);
  /// The same, from a process that names itself. The first one that is heard, and whoever takes its place, is the site's; another
  /// one is noticed.
  Status AdmitProcess(int64_t site, const std::string& process);

  void SetMember(int64_t site, bool member);
  bool member(int64_t site) const;
  /// Clock::MonotonicMs of the last call of the site's process; -1: none yet.
  int64_t heard_ms(int64_t site) const;
  /// Clock::NowMs of the last call with each site's certificate, whatever process made it; not of sites that made none.
  std::map<int64_t, int64_t> LastCalls() const;

  /// Whether a process without state may take the place of the site's. Errors: Unavailable (that one, which may have the state, was
  /// heard not long ago; both are told).
  Status MayTakePlace(int64_t site, const std::string& process);
  /// The process speaks for the site from now on.
  void TakePlace(int64_t site, const std::string& process);
  /// Nobody speaks for it any more: an operator's word, or its own.
  void GiveUpPlace(int64_t site);
  /// What the operator of the site should look at; empty: nothing.
  std::string NoticeFor(int64_t site) const;

 private:
  struct Bucket {
    double left = 0.0;
    int64_t since_ms = 0;
    bool begun = false;
  };
  struct Caller {
    bool member = false;
    Bucket facts, chunks;
    std::optional<std::string> process;  ///< "": one that has not said its name to this server yet
    int64_t heard_ms = -1, other_heard_ms = -1;
    int64_t called_ms = -1;  ///< Unix time
  };
  bool IsSilent(const Caller& caller) const { return caller.heard_ms < 0 || clock_.MonotonicMs() >= caller.heard_ms + silent_ms_; }
  Status Spend(Bucket& bucket, int64_t per_minute) const;

  const Clock& clock_;
  const int64_t silent_ms_;
  mutable std::mutex mutex_;  // callers_
  std::map<int64_t, Caller> callers_;
};

}  // namespace fedalt
