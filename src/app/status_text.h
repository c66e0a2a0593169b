// What fedalt status says of a run, for people and for programs. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "store/run_view.h"

namespace fedalt {

/// Where a site stands in the run: "awaited", "has contributed", "left out", "outside the cohort", "enrolled", "not enrolled",
/// "has left" or "revoked".
std::string StandingOf(const SiteView& site, const RunState& state);
/// "2026-11-23T09:00:00.123Z (12 s ago)"; "-" if it was never heard.
std::string LastHeard(const SiteView& site, int64_t now_ms);

/// Lines, then a table of the sites. `now_ms`: Unix time.
std::string StatusText(const RunState& state, int64_t now_ms);
nlohmann::ordered_json StatusJson(const RunState& state, int64_t now_ms);
nlohmann::ordered_json SiteJson(const SiteView& site, const RunState& state);

}  // namespace fedalt
