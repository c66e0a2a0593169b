// For whom the server of a federation waits, as a function of what it has recorded: the server tells its sites by it, and whoever
// looks into its directory from outside says the same (store/run_view.h). Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "fed/server_journal.h"

namespace fedalt {

enum class WaitsFor {
  kNothing,        ///< the run has ended
  kOperator,       ///< who paused it
  kReturn,         ///< of sites, or an operator: it has paused by itself
  kAggregation,    ///< a round is being closed
  kEnrolment,      ///< of sites
  kContributions,  ///< of sites, in the open attempt
  kNextStep,       ///< nobody is missing
};

struct Waiting {
  WaitsFor what = WaitsFor::kNextStep;
  std::vector<int64_t> sites;  ///< by place, ascending; empty unless it is kEnrolment or kContributions
};

/// What is around a position and not in it.
struct Surroundings {
  int64_t sites = 0;            ///< of the roster
  std::set<int64_t> revoked;    ///< they cannot come, so nobody waits for them
  std::vector<int64_t> cohort;  ///< who was drawn for the open attempt, whether or not they take part
  bool aggregating = false;
};

/// Whether the run has not begun its first round yet.
bool IsEnrolling(const ServerPosition& position);
/// Those of a cohort that take part in the run and can come: whose contributions are expected.
std::vector<int64_t> Expected(const ServerPosition& position, const Surroundings& around);
/// Sites that could still enrol before the first round.
std::vector<int64_t> NotEnrolled(const ServerPosition& position, const Surroundings& around);

/// Looks at enrolled, opened_ms, closed_round, attempt, received (its keys), left_out, paused and ended.
Waiting WaitingIn(const ServerPosition& position, const Surroundings& around);
/// "the contributions of graz, osaka"; at most eleven names. `names`: of sites, by place.
std::string WaitingText(const Waiting& waiting, const ServerPosition& position, const std::vector<std::string>& names);

}  // namespace fedalt
