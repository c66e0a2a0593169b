#include "net/callers.h"

#include <algorithm>

#include "net/budgets.h"

namespace fedalt {
namespace {

constexpr int64_t kMinuteMs = 60'000, kSecondMs = 1000;

}  // namespace

Status Callers::Spend(Bucket& bucket, int64_t per_minute) const {
  const int64_t now = clock_.MonotonicMs();
  const double full = static_cast<double>(per_minute);
  if (!bucket.begun) bucket.left = full;
  bucket.left = std::min(full, bucket.left + full * static_cast<double>(now - bucket.since_ms) / static_cast<double>(kMinuteMs));
  bucket.begun = true;
  bucket.since_ms = now;
  if (bucket.left < 1.0)
    return absl::ResourceExhaustedError(
        absl::StrCat("this site has made more than ", per_minute, " calls in a minute; it goes on when it calls less often"));
  bucket.left -= 1.0;
  return absl::OkStatus();
}

Status Callers::Admit(int64_t site, Kind kind) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Caller& caller = callers_[site];
  caller.called_ms = clock_.NowMs();
  if (kind != Kind::kEnrolment) caller.heard_ms = clock_.MonotonicMs();
  return kind == Kind::kChunk ? Spend(caller.chunks, budget::kChunkCallsPerMinute) : Spend(caller.facts, budget::kCallsPerMinute);
}

Status Callers::AdmitProcess(int64_t site, const std::string& process) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Caller& caller = callers_[site];
  caller.called_ms = clock_.NowMs();
  const bool another = caller.process && !caller.process->empty() && *caller.process != process;
  if (another && !IsSilent(caller)) {
    caller.other_heard_ms = clock_.MonotonicMs();
  } else {
    caller.process = process;
    caller.heard_ms = clock_.MonotonicMs();
  }
  return Spend(caller.facts, budget::kCallsPerMinute);
}

void Callers::SetMember(int64_t site, bool member) {
  const std::lock_guard<std::mutex> lock(mutex_);
  callers_[site].member = member;
}

bool Callers::member(int64_t site) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = callers_.find(site);
  return found != callers_.end() && found->second.member;
}

int64_t Callers::heard_ms(int64_t site) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = callers_.find(site);
  return found == callers_.end() ? -1 : found->second.heard_ms;
}

std::map<int64_t, int64_t> Callers::LastCalls() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::map<int64_t, int64_t> calls;
  for (const auto& [site, caller] : callers_)
    if (caller.called_ms >= 0) calls[site] = caller.called_ms;
  return calls;
}

Status Callers::MayTakePlace(int64_t site, const std::string& process) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Caller& caller = callers_[site];
  if ((caller.process && *caller.process == process) || IsSilent(caller)) return absl::OkStatus();
  const int64_t now = caller.other_heard_ms = clock_.MonotonicMs();
  return absl::UnavailableError(absl::StrCat(
      "another process with the keys of this site was heard ", (now - caller.heard_ms) / kSecondMs,
      " s ago: if it runs, stop this one; if the site's directory was lost, this one is let in when the other was not heard for ",
      silent_ms_ / kSecondMs, " s, or when the server's operator erases the site"));
}

void Callers::TakePlace(int64_t site, const std::string& process) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Caller& caller = callers_[site];
  caller.process = process;
  caller.heard_ms = clock_.MonotonicMs();
}

void Callers::GiveUpPlace(int64_t site) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Caller& caller = callers_[site];
  caller.process.reset();
  caller.heard_ms = -1;
}

std::string Callers::NoticeFor(int64_t site) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = callers_.find(site);
  if (found == callers_.end() || found->second.other_heard_ms < 0) return {};
  if (clock_.MonotonicMs() >= found->second.other_heard_ms + silent_ms_) return {};
  return "another process uses the keys of this site; find it and stop one of the two";
}

}  // namespace fedalt
