// How a server's run goes on: attempts are opened, closed, abandoned, and the run ends.
#include <absl/strings/str_join.h>

#include <algorithm>

#include "net/server_core.h"

namespace fedalt {

Status ServerCore::OpenAttempt(int64_t attempt) {
  const int64_t now = clock_.NowMs();
  RETURN_IF_ERROR(journal_.OpenAttempt(OpenRound(), attempt, now));
  position_.attempt = attempt;
  position_.opened_ms = now;
  uploads_.clear();
  refused_.clear();
  Changed();
  return absl::OkStatus();
}

Status ServerCore::EndLocked(const std::string& cause) {
  if (position_.ended) return absl::OkStatus();
  RETURN_IF_ERROR(journal_.SaveEnd(cause));
  position_.ended = cause;
  Changed();
  return absl::OkStatus();
}

Status ServerCore::End(const std::string& cause) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    RETURN_IF_ERROR(EndLocked(cause));
  }
  Notify();
  return absl::OkStatus();
}

Status ServerCore::Abandon(const std::string& reason) {
  RETURN_IF_ERROR(journal_.AbandonAttempt(OpenRound(), position_.attempt, reason));
  const bool last = position_.attempt >= options_.attempts;
  ++position_.attempt;
  position_.opened_ms = 0;
  position_.received.clear();
  Changed();
  if (last)
    return EndLocked(absl::StrCat("round ", OpenRound(), " was abandoned ", options_.attempts, " times, at last because ", reason));
  return absl::OkStatus();
}

/// Opens what is next where nothing is open.
Status ServerCore::NextAttempt() {
  const int64_t round = OpenRound();
  if (round == 0) return EndLocked(absl::StrCat("all rounds are done, the last exchange was in round ", position_.closed_round));
  if (position_.attempt > options_.attempts)  // the server died, or the disk failed, between the last abandonment and the end
    return EndLocked(absl::StrCat("round ", round, " was abandoned ", options_.attempts, " times"));
  const bool begun = position_.closed_round > 0 || position_.attempt > 1;
  const int64_t sites = static_cast<int64_t>(options_.sites.size()), enrolled = static_cast<int64_t>(position_.enrolled.size());
  if (begun || (enrolled >= options_.minimum_cohort && AwaitedForEnrolment().empty())) return OpenAttempt(position_.attempt);
  if (clock_.NowMs() < recovered_ms_ + options_.deadline_ms) return absl::OkStatus();
  if (enrolled >= options_.minimum_cohort) return OpenAttempt(position_.attempt);
  return EndLocked(absl::StrCat("only ", enrolled, " of ", sites, " sites enrolled before the deadline; at least ",
                                options_.minimum_cohort, " are needed"));
}

Status ServerCore::Do(const OperatorRequest& request, std::string& outcome) {
  outcome = "done";
  switch (request.kind) {
    case OperatorRequest::Kind::kPause:
      RETURN_IF_ERROR(journal_.SavePause(request.cause));
      position_.paused = request.cause;
      break;
    case OperatorRequest::Kind::kResume: {
      const int64_t now = clock_.NowMs();
      RETURN_IF_ERROR(journal_.SaveResume(now));
      position_.paused.reset();
      if (position_.opened_ms != 0) position_.opened_ms = now;
      recovered_ms_ = now;
      break;
    }
    case OperatorRequest::Kind::kStop:
      RETURN_IF_ERROR(EndLocked(absl::StrCat("stopped by an operator", request.cause.empty() ? "" : ": ", request.cause)));
      break;
    case OperatorRequest::Kind::kErase: {
      const auto found = std::find(options_.sites.begin(), options_.sites.end(), request.site);
      if (found == options_.sites.end()) {
        outcome = "there is no such site";
      } else {
        RETURN_IF_ERROR(Depart(found - options_.sites.begin(),
                               absl::StrCat("erased by an operator", request.cause.empty() ? "" : ": ", request.cause)));
      }
      break;
    }
  }
  Changed();
  return absl::OkStatus();
}

Status ServerCore::DoRequests() {
  ASSIGN_OR_RETURN(const std::vector<OperatorRequest> requests, journal_.OperatorRequests());
  for (const OperatorRequest& request : requests) {
    std::string outcome = "the run has ended";
    if (!position_.ended) RETURN_IF_ERROR(Do(request, outcome));
    RETURN_IF_ERROR(journal_.FinishRequest(request.id, outcome));
  }
  return absl::OkStatus();
}

StatusOr<std::optional<ClosingRound>> ServerCore::Tick() {
  std::optional<ClosingRound> closing;
  int64_t before = 0, after = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!superseded_.empty()) return FederationError(superseded_);
    if (aggregating_) return closing;
    before = version_;
    RETURN_IF_ERROR(DoRequests());
    if (position_.ended || position_.paused) {
      // Nothing goes on.
    } else if (position_.opened_ms == 0) {
      RETURN_IF_ERROR(NextAttempt());
    } else {
      const std::vector<int64_t> cohort = Cohort(OpenRound());
      const bool all = std::all_of(cohort.begin(), cohort.end(), [&](int64_t site) { return position_.received.contains(site); });
      // While no server was there, no site could contribute.
      const bool late = clock_.NowMs() >= std::max(position_.opened_ms, recovered_ms_) + options_.deadline_ms;
      const int64_t received = static_cast<int64_t>(position_.received.size());
      if (received >= options_.minimum_cohort && (all || late)) {
        closing.emplace();
        closing->round = OpenRound();
        for (const auto& [site, contribution] : position_.received) closing->received.push_back(contribution);
        if (options_.ledger_policy == LedgerPolicy::kKeepAbsent)
          for (const auto& [site, contribution] : position_.ledger)
            if (!position_.received.contains(site)) closing->absent.push_back(contribution);
        for (const auto& [site, contribution] : position_.ledger)
          if (options_.ledger_policy == LedgerPolicy::kKeepAbsent || contribution.round == position_.closed_round)
            closing->before.push_back(contribution);
        closing->before_round = position_.closed_round;
        aggregating_ = true;
        Changed();
      } else if (late) {
        RETURN_IF_ERROR(
            Abandon(absl::StrCat("only ", received, " of ", cohort.size(), " sites contributed before the deadline; at least ",
                                 options_.minimum_cohort, " are needed")));
      }
    }
    after = version_;
  }
  if (after != before) Notify();
  return closing;
}

Status ServerCore::Finish(const ClosingRound& closing, const StatusOr<PublishedObject>& result) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    aggregating_ = false;
    Changed();
    if (!result.ok()) {
      if (KindOf(result.status()) == ErrorKind::kOutput) return result.status();  // the disk's; Tick hands the round out again
      RETURN_IF_ERROR(Abandon(std::string(result.status().message())));
    } else {
      RETURN_IF_ERROR(journal_.CloseRound(*result));
      for (const SiteContribution& contribution : closing.received) position_.ledger[contribution.site] = contribution;
      position_.closed_round = closing.round;
      position_.received.clear();
      have_read_.clear();
      have_reported_.clear();
      position_.attempt = 1;
      position_.opened_ms = 0;
      RETURN_IF_ERROR(NextAttempt());
    }
  }
  Notify();
  return absl::OkStatus();
}

}  // namespace fedalt
