// Which model a site has after a round: the one place that says so. Training, evaluation, export, generation and every report use
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "fed/federation.h"
#include "fed/round_journal.h"

namespace fedalt {

/// The two moments of a round; in a round without an exchange they are the same.
enum class Moment { kBeforeSwap, kAfterSwap };

/// Where models are found. Borrowed; any thread, if `journal` and `received` may be used so.
struct ModelSource {
  const FederationInputs& inputs;
  const FederationOptions& options;
  const Method& method;
  RoundJournal& journal;
  /// What a round published to a site.
  std::function<StatusOr<Published>(int64_t round, const std::string& site)> received;
};

/// Site `index` (its place among those here) after `round`; round 0: as it starts. Before the swap it is as it was trained, or, if
/// it was absent, as it stood. After the swap it reads what the round published as the site decided: a publication that it refused
/// (guard, pin, values that cannot be) changes nothing, and from one that it adopted it subtracts what the ledger holds for it,
/// with the weight that the ledger gave it then (TakeIn). Errors: those of the journal and of TakeIn.
StatusOr<std::unique_ptr<Site>> ModelAfter(const ModelSource& source, int64_t round, Moment moment, int64_t index,
                                           const SiteInfo& info);

/// The same as the site uses it: in the mode of that round, after Method::PrepareUse. Not to be saved again.
StatusOr<std::unique_ptr<Site>> UsedModelAfter(const ModelSource& source, int64_t round, Moment moment, int64_t index,
                                               const SiteInfo& info);

/// Which of the two a site uses where nothing was measured.
Moment UnmeasuredMoment(const Method& method);

/// The names in SiteRoundResult::deployed.
const char* NameOf(Moment moment);

}  // namespace fedalt
