#include "fed/waiting.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

namespace fedalt {

bool IsEnrolling(const ServerPosition& position) {
  return position.closed_round == 0 && position.attempt == 1 && position.opened_ms == 0;
}

std::vector<int64_t> Expected(const ServerPosition& position, const Surroundings& around) {
  std::vector<int64_t> expected;
  for (const int64_t site : around.cohort)
    if (position.enrolled.contains(site) && !around.revoked.contains(site)) expected.push_back(site);
  return expected;
}

std::vector<int64_t> NotEnrolled(const ServerPosition& position, const Surroundings& around) {
  std::vector<int64_t> absent;
  for (int64_t site = 0; site < around.sites; ++site)
    if (!position.enrolled.contains(site) && !around.revoked.contains(site)) absent.push_back(site);
  return absent;
}

Waiting WaitingIn(const ServerPosition& position, const Surroundings& around) {
  if (position.ended) return {WaitsFor::kNothing, {}};
  if (position.paused) return {position.paused_for_sites ? WaitsFor::kReturn : WaitsFor::kOperator, {}};
  if (around.aggregating) return {WaitsFor::kAggregation, {}};
  Waiting waiting;
  if (IsEnrolling(position)) {
    waiting.sites = NotEnrolled(position, around);
    if (!waiting.sites.empty()) waiting.what = WaitsFor::kEnrolment;
  } else if (position.opened_ms != 0) {
    for (const int64_t site : Expected(position, around))
      if (!position.received.contains(site) && !position.left_out.contains(site)) waiting.sites.push_back(site);
    if (!waiting.sites.empty()) waiting.what = WaitsFor::kContributions;
  }
  return waiting;
}

std::string WaitingText(const Waiting& waiting, const ServerPosition& position, const std::vector<std::string>& names) {
  switch (waiting.what) {
    case WaitsFor::kNothing:
      return "nothing";
    case WaitsFor::kReturn:
      return absl::StrCat("the return of sites, or an operator; the run has paused by itself: ", position.paused.value_or(""));
    case WaitsFor::kOperator: {
      const std::string cause = position.paused.value_or("");
      return absl::StrCat("an operator, who paused the run", cause.empty() ? "" : ": ", cause);
    }
    case WaitsFor::kAggregation:
      return "the aggregation";
    case WaitsFor::kNextStep:
      return "the next step";
    case WaitsFor::kEnrolment:
    case WaitsFor::kContributions:
      break;
  }
  constexpr size_t kShown = 10;  // the text goes to every site
  const bool all = waiting.sites.size() <= kShown + 1;
  std::vector<std::string> shown;
  for (size_t i = 0; i < (all ? waiting.sites.size() : kShown); ++i)
    shown.push_back(names.at(static_cast<size_t>(waiting.sites[i])));
  if (!all) shown.push_back(absl::StrCat(waiting.sites.size() - kShown, " others"));
  return absl::StrCat(waiting.what == WaitsFor::kEnrolment ? "the enrolment of " : "the contributions of ",
                      absl::StrJoin(shown, ", "));
}

}  // namespace fedalt
