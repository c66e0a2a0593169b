#include "app/status_text.h"

#include <absl/strings/str_join.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "app/text_table.h"
#include "net/certificate_watch.h"

namespace fedalt {
namespace {

using nlohmann::ordered_json;

const char* PhaseName(RunPhase phase) {
  switch (phase) {
    case RunPhase::kEnrolling:
      return "enrolling";
    case RunPhase::kCollecting:
      return "collecting";
    case RunPhase::kBetweenRounds:
      return "between_rounds";
    case RunPhase::kPaused:
      return "paused";
    case RunPhase::kEnded:
      return "ended";
  }
  return "";
}

const char* WaitsForName(WaitsFor what) {
  switch (what) {
    case WaitsFor::kNothing:
      return "nothing";
    case WaitsFor::kOperator:
      return "operator";
    case WaitsFor::kReturn:
      return "return";
    case WaitsFor::kAggregation:
      return "aggregation";
    case WaitsFor::kEnrolment:
      return "enrolment";
    case WaitsFor::kContributions:
      return "contributions";
    case WaitsFor::kNextStep:
      return "next_step";
  }
  return "";
}

std::string PhaseText(const RunState& state, int64_t now_ms) {
  const std::string open = absl::StrCat("round ", state.round, ", attempt ", state.attempt);
  std::string text;
  switch (state.phase) {
    case RunPhase::kEnrolling:
      text = "enrolling";
      break;
    case RunPhase::kCollecting:
      text = absl::StrCat("collecting, ", open);
      break;
    case RunPhase::kBetweenRounds:
      text = "between two attempts";
      break;
    case RunPhase::kPaused:
      text = absl::StrCat("paused", state.round > 0 ? absl::StrCat(" in ", open) : "");
      break;
    case RunPhase::kEnded:
      text = "ended";
      break;
  }
  if (!state.cause.empty()) absl::StrAppend(&text, ": ", state.cause);
  return absl::StrCat(text, "; since ", TimeText(state.since_ms), " (", AgeText(now_ms - state.since_ms), ")");
}

std::vector<std::string> CertificateWarnings(const RunState& state, int64_t now_ms) {
  std::vector<std::string> warnings;
  for (const auto& [whose, not_after_s] : state.not_after_s)
    if (const auto warning = CertificateWarning(whose, not_after_s, now_ms / 1000)) warnings.push_back(*warning);
  return warnings;
}

/// Until when the certificates of those are valid that are no sites.
std::string CertificatesText(const RunState& state) {
  std::vector<std::string> texts;
  for (const char* whose : {kOfThisServer, kOfAuthority})
    if (const auto end = state.not_after_s.find(whose); end != state.not_after_s.end())
      texts.push_back(absl::StrCat(whose, " until ", DateOf(end->second)));
  return absl::StrJoin(texts, ", ");
}

std::string SitesText(const RunState& state, int64_t now_ms) {
  std::vector<TableRow> rows = {{"site", "state", "last heard", "certificate until"}};
  for (const SiteView& site : state.sites)
    rows.push_back(
        {site.name, StandingOf(site, state), LastHeard(site, now_ms), site.not_after_s ? DateOf(*site.not_after_s) : "-"});
  for (TableRow& row : rows)
    for (std::string& cell : row) cell = Printable(cell);
  return AlignTable(rows);
}

std::string DeadlineText(int64_t deadline_ms, int64_t now_ms) {
  const int64_t left = deadline_ms - now_ms;
  return absl::StrCat(TimeText(deadline_ms), left >= 0 ? " (in " : " (", AgeText(std::abs(left)), left >= 0 ? ")" : " ago)");
}

}  // namespace

std::string StandingOf(const SiteView& site, const RunState& state) {
  if (site.revoked) return "revoked";
  if (site.awaited) return "awaited";
  if (site.left) return "has left";
  if (!site.enrolled) return "not enrolled";
  if (site.left_out) return "left out";
  if (site.contributed) return "has contributed";
  const bool open = state.round > 0 && state.phase != RunPhase::kEnded;
  return open && !site.in_cohort ? "outside the cohort" : "enrolled";
}

std::string LastHeard(const SiteView& site, int64_t now_ms) {
  return site.heard_ms ? absl::StrCat(TimeText(*site.heard_ms), " (", AgeText(now_ms - *site.heard_ms), " ago)") : "-";
}

std::string StatusText(const RunState& state, int64_t now_ms) {
  const auto line = [](const char* name, const std::string& text) { return absl::StrFormat("%-12s%s\n", name, Printable(text)); };
  std::string text = line("run", state.run);
  text += line("server", absl::StrCat(state.server_at_work ? "at work" : "not at work", ", start ", state.starts, " at ",
                                      TimeText(state.last_start_ms), state.program.empty() ? "" : ", ", state.program));
  text += line("phase", PhaseText(state, now_ms));
  text += line("waits for", state.waiting_text);
  if (state.deadline_ms) text += line("deadline", DeadlineText(*state.deadline_ms, now_ms));
  for (const SiteView& site : state.sites) {
    if (site.left) text += line("left", absl::StrCat(site.name, ": ", *site.left));
    if (site.left_out) text += line("left out", absl::StrCat(site.name, ": ", *site.left_out));
  }
  text += line("published", state.published_round == 0 ? "nothing yet"
                                                       : absl::StrCat("round ", state.published_round, ", ",
                                                                      AgeText(now_ms - state.published_ms), " ago"));
  text += line("audit log", absl::StrCat(state.log_entries, " entries, the first ", state.signed_entries, " signed"));
  if (state.requests_waiting > 0)
    text += line("asked for", absl::StrCat(state.requests_waiting, " not done yet, see fedalt list --what requests"));
  if (const std::string ends = CertificatesText(state); !ends.empty()) text += line("certificate", ends);
  for (const std::string& warning : CertificateWarnings(state, now_ms)) text += line("warning", warning);
  return absl::StrCat(text, "\n", SitesText(state, now_ms));
}

ordered_json SiteJson(const SiteView& site, const RunState& state) {
  return {{"name", site.name},
          {"state", StandingOf(site, state)},
          {"enrolled", site.enrolled},
          {"revoked", site.revoked},
          {"in_cohort", site.in_cohort},
          {"train_examples", site.train_examples},
          {"contributed", site.contributed},
          {"awaited", site.awaited},
          {"left_out", OrNull(site.left_out)},
          {"last_round", site.last_round},
          {"last_weight", site.last_weight},
          {"left", OrNull(site.left)},
          {"adopted_round", site.adopted_round},
          {"heard_ms", OrNull(site.heard_ms)},
          {"certificate_not_after_s", OrNull(site.not_after_s)}};
}

ordered_json StatusJson(const RunState& state, int64_t now_ms) {
  ordered_json sites = ordered_json::array();
  for (const SiteView& site : state.sites) sites.push_back(SiteJson(site, state));
  const auto end_of = [&](const char* whose) {
    const auto end = state.not_after_s.find(whose);
    return end == state.not_after_s.end() ? ordered_json() : ordered_json(end->second);
  };
  return {{"run", state.run},
          {"server_at_work", state.server_at_work},
          {"starts", state.starts},
          {"last_start_ms", state.last_start_ms},
          {"program", state.program},
          {"roster_sha256", state.roster_sha256},
          {"phase", PhaseName(state.phase)},
          {"since_ms", state.since_ms},
          {"cause", state.cause},
          {"waits_for", WaitsForName(state.waits_for)},
          {"waiting_text", state.waiting_text},
          {"round", state.round},
          {"attempt", state.attempt},
          {"deadline_ms", OrNull(state.deadline_ms)},
          {"sites", std::move(sites)},
          {"published_round", state.published_round},
          {"published_ms", state.published_ms},
          {"log_entries", state.log_entries},
          {"signed_entries", state.signed_entries},
          {"requests_waiting", state.requests_waiting},
          {"certificate_not_after_s", end_of(kOfThisServer)},
          {"authority_not_after_s", end_of(kOfAuthority)},
          {"warnings", CertificateWarnings(state, now_ms)}};
}

}  // namespace fedalt
