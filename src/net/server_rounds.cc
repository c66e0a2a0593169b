// How a server's run goes on: attempts are opened, closed, abandoned, and the run ends.
#include <absl/strings/str_join.h>

#include <algorithm>

#include "net/server_core.h"

namespace fedalt {

Status ServerCore::OpenAttempt(int64_t attempt) {
  const int64_t now = clock_.NowMs();
  RETURN_IF_ERROR(journal_.OpenAttempt(OpenRound(), attempt, now, Around().cohort));
  position_.attempt = attempt;
  position_.opened_ms = now;
  since_ms_ = clock_.MonotonicMs();
  uploads_.clear();
  used_.clear();
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

Status ServerCore::Abandon(const std::string& reason, bool failed_here) {
  RETURN_IF_ERROR(journal_.AbandonAttempt(OpenRound(), position_.attempt, reason));
  ++position_.attempt;
  ++abandoned_;
  abandoned_because_ = reason;
  failed_here_ = failed_here;
  position_.opened_ms = 0;
  position_.received.clear();
  position_.left_out.clear();
  uploads_.clear();
  CollectGarbage(std::nullopt);
  Changed();
  return absl::OkStatus();
}

/// Nothing goes on until sites return or an operator says so. `needs_operator`: only the latter.
Status ServerCore::PauseByItself(const std::string& cause, bool needs_operator) {
  RETURN_IF_ERROR(journal_.SavePause(cause, !needs_operator));
  position_.paused = cause;
  position_.paused_for_sites = !needs_operator;
  since_ms_ = clock_.MonotonicMs();
  Warn(absl::StrCat("the run pauses by itself: ", cause, "; it goes on ",
                    needs_operator ? "" : "when enough sites have returned, or ", "with: fedalt resume DIRECTORY"));
  Changed();
  return absl::OkStatus();
}

/// Sites that could take part in the next attempt: those heard since the pause began. Before the first round: those enrolled.
int64_t ServerCore::Present() const {
  if (IsEnrolling(position_)) return static_cast<int64_t>(position_.enrolled.size());
  const std::vector<int64_t> cohort = Cohort();
  return std::count_if(cohort.begin(), cohort.end(), [&](int64_t site) { return callers_.heard_ms(site) > since_ms_; });
}

Status ServerCore::GoOn() {
  const int64_t now = clock_.NowMs();
  RETURN_IF_ERROR(journal_.SaveResume(now));
  position_.paused.reset();
  position_.paused_for_sites = false;
  if (position_.opened_ms != 0) position_.opened_ms = now;
  since_ms_ = clock_.MonotonicMs();
  abandoned_ = 0;
  Changed();
  return absl::OkStatus();
}

/// Opens what is next where nothing is open.
Status ServerCore::NextAttempt() {
  const int64_t round = OpenRound();
  if (round == 0) return EndLocked(absl::StrCat("all rounds are done, the last exchange was in round ", position_.closed_round));
  if (abandoned_ >= options_.attempts)
    return PauseByItself(
        absl::StrCat("round ", round, " was abandoned ", abandoned_, " times, at last because ", abandoned_because_), failed_here_);
  const int64_t sites = static_cast<int64_t>(options_.sites.size()), enrolled = static_cast<int64_t>(position_.enrolled.size());
  if (!IsEnrolling(position_) || (enrolled >= options_.minimum_cohort && NotEnrolled(position_, Around()).empty()))
    return OpenAttempt(position_.attempt);
  if (clock_.MonotonicMs() < since_ms_ + options_.deadline_ms) return absl::OkStatus();
  if (enrolled >= options_.minimum_cohort) return OpenAttempt(position_.attempt);
  return PauseByItself(absl::StrCat("only ", enrolled, " of ", sites, " sites enrolled before the deadline; at least ",
                                    options_.minimum_cohort, " are needed"),
                       /*needs_operator=*/false);
}

Status ServerCore::Do(const OperatorRequest& request, std::string& outcome) {
  outcome = "done";
  switch (request.kind) {
    case OperatorRequest::Kind::kPause:
      RETURN_IF_ERROR(journal_.SavePause(request.cause, /*for_sites=*/false));
      position_.paused = request.cause;
      position_.paused_for_sites = false;
      break;
    case OperatorRequest::Kind::kResume:
      RETURN_IF_ERROR(GoOn());
      break;
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
    if (position_.paused && position_.paused_for_sites && !position_.ended && Present() >= options_.minimum_cohort)
      RETURN_IF_ERROR(GoOn());
    if (closing = MadeAgain(); closing) {
      aggregating_ = true;
      Changed();
    } else if (position_.ended || position_.paused) {
      // Nothing goes on.
    } else if (position_.opened_ms == 0) {
      RETURN_IF_ERROR(NextAttempt());
    } else {
      const std::vector<int64_t> cohort = Cohort();
      const bool all = std::all_of(cohort.begin(), cohort.end(), [&](int64_t site) {
        return position_.received.contains(site) || position_.left_out.contains(site);
      });
      // While no server was there, no site could contribute: the time begins anew with it.
      const bool late = clock_.MonotonicMs() >= since_ms_ + options_.deadline_ms;
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
        closing->left_out = position_.left_out;
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

/// What the last round published, to be made again from the contributions that are in it: the same bits. Empty: it is not damaged,
/// or they are not there any more.
std::optional<ClosingRound> ServerCore::MadeAgain() {
  const int64_t round = std::exchange(damaged_round_, 0);
  if (round == 0 || round == not_made_again_) return std::nullopt;
  not_made_again_ = round;  // until it is
  const auto published = journal_.LoadPublished(round);
  bool known = published.ok() && published->has_value();
  ClosingRound closing;
  closing.round = round;
  closing.again = true;
  if (known)
    for (const auto& [site, of_round] : (*published)->contributors) {
      const auto entry = position_.ledger.find(site);
      known = known && entry != position_.ledger.end() && entry->second.round == of_round;
      if (known) (of_round == round ? closing.received : closing.absent).push_back(entry->second);
    }
  if (known) return closing;
  Warn(absl::StrCat("what round ", round,
                    " published is damaged, and its contributions are not there any more: put its objects back ", "from a backup"));
  return std::nullopt;
}

void ServerCore::FinishMakingAgain(const ClosingRound& closing, const StatusOr<PublishedObject>& result) {
  const auto published = journal_.LoadPublished(closing.round);
  const bool same =
      result.ok() && published.ok() && published->has_value() && (*published)->chunks.digests == result->chunks.digests &&
      std::equal((*published)->per_site.begin(), (*published)->per_site.end(), result->per_site.begin(), result->per_site.end(),
                 [](const auto& a, const auto& b) { return a.second.digests == b.second.digests; });
  if (same) not_made_again_ = 0;
  Warn(absl::StrCat("what round ", closing.round, " published was damaged, and ",
                    same ? "was made again" : "could not be made again: put its objects back from a backup",
                    result.ok() ? "" : absl::StrCat(" (", result.status().message(), ")")));
}

Status ServerCore::Finish(const ClosingRound& closing, const StatusOr<PublishedObject>& result) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    aggregating_ = false;
    Changed();
    if (closing.again) {
      FinishMakingAgain(closing, result);
    } else if (result.ok()) {
      RETURN_IF_ERROR(Close(closing, *result));
    } else if (KindOf(result.status()) == ErrorKind::kOutput) {
      return result.status();  // the disk's; Tick hands the round out again
    } else {
      Warn(absl::StrCat("round ", closing.round, ": ", result.status().message()));
      const bool damaged = KindOf(result.status()) == ErrorKind::kIntegrity;  // its words are for sites, too
      RETURN_IF_ERROR(Abandon(damaged ? std::string(result.status().message()) : "the server could not add up what it had", true));
    }
  }
  Notify();
  return absl::OkStatus();
}

Status ServerCore::Close(const ClosingRound& closing, const PublishedObject& published) {
  const auto counted = static_cast<int64_t>(
      std::count_if(closing.received.begin(), closing.received.end(),
                    [&](const SiteContribution& contribution) { return !published.left_out.contains(contribution.site); }));
  for (const auto& [site, why] : published.left_out)
    Warn(absl::StrCat("round ", closing.round, ": the contribution of ", NameOf(site), " is left out: ", why));
  if (counted < options_.minimum_cohort)
    return Abandon(absl::StrCat("only ", counted, " of ", closing.received.size(), " contributions were within bounds; at least ",
                                options_.minimum_cohort, " are needed"));
  RETURN_IF_ERROR(journal_.CloseRound(published, RecordOf(closing, published, options_.run, options_.sites)));
  for (const SiteContribution& contribution : closing.received)
    if (!published.left_out.contains(contribution.site)) position_.ledger[contribution.site] = contribution;
  position_.closed_round = closing.round;
  position_.received.clear();
  position_.left_out.clear();
  uploads_.clear();
  have_read_.clear();
  have_answered_.clear();
  have_reported_.clear();
  position_.attempt = 1;
  position_.opened_ms = 0;
  abandoned_ = 0;
  CollectGarbage(std::nullopt);
  return NextAttempt();
}

}  // namespace fedalt
