// What sites read of the others has versions: the round that published it. A site takes in the version of each round, or decides
// not to (Site::refused_round), or goes back to an older one.
#pragma once

#include <cstdint>

#include "fed/method.h"
#include "fed/round_journal.h"

namespace fedalt {

/// w lambda^age, the same bits everywhere: `age` rounds after it was sent. Precondition: age >= 0.
double AgedWeight(double weight, double staleness, int64_t age);

/// The site takes in what a round published: Method::Receive, with its own contribution weighed as in that sum.
Status TakeIn(const Method& method, const Published& published, Site& site);

/// Makes the site, as it stands after `closed_round`, one that has read nothing of rounds after `pinned_round`: its rest of world
/// becomes the one of a checkpoint before. `site` is overwritten. Errors: kConfig (no checkpoint has it any more; says which there
/// are), those of the journal.
Status RollBack(int64_t pinned_round, int64_t closed_round, RoundJournal& journal, Site& site);

}  // namespace fedalt
