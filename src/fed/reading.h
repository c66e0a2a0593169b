// What sites read of the others has versions: the round that published it. A site takes in the version of each round, or decides
// not to (Site::refused_round), or goes back to an older one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "fed/exchange.h"
#include "fed/method.h"
#include "fed/round_journal.h"

namespace fedalt {

/// w lambda^age, the same bits everywhere: `age` rounds after it was sent. Precondition: age >= 0.
double AgedWeight(double weight, double staleness, int64_t age);

/// The site takes in what a round published: Method::Receive, with its own contribution weighed as in that sum. Errors:
/// kFederation (what was published does not fit), those of Receive.
Status TakeIn(const Method& method, const Published& published, Site& site);

/// How a site decides whether it takes in what a round published.
struct ReadingRules {
  double guard = -1.0;                                            ///< RestOfWorldOptions::guard
  std::optional<int64_t> pinned_round;                            ///< FederationInputs::pinned_round
  std::function<StatusOr<double>(bool swapped)> validation_loss;  ///< of the site in this round, before and after the swap
};

/// Why the site, as it was saved in `round`, does not take in what that round published; empty: it does. The decision is saved with
/// the site. It does not if it cannot (a server elsewhere counts something of it that it does not have any more), is pinned to an
/// older version, or its guard finds the new one worse. `site` is overwritten. Errors: those of journal, transport and validation.
StatusOr<std::string> DecideOnReading(int64_t round, const ReadingRules& rules, const Exchange& exchange, Transport& transport,
                                      RoundJournal& journal, Site& site);

/// Makes the site, as it stands after `closed_round`, one that has read nothing of rounds after `pinned_round`: its rest of world
/// becomes the one of a checkpoint before. `site` is overwritten. Errors: kConfig (no checkpoint has it any more; says which there
/// are), those of the journal.
Status RollBack(int64_t pinned_round, int64_t closed_round, RoundJournal& journal, Site& site);

}  // namespace fedalt
