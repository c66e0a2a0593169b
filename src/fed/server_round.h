// A round's end at a server whose sites are elsewhere: the same exchange as on one machine (fed/exchange.h), over contributions
// that lie in the server's journal.
#pragma once

#include <string>
#include <vector>

#include "fed/exchange.h"
#include "fed/server_journal.h"

namespace fedalt {

/// What the contributions of a federation are made of; borrowed parts outlive the calls.
struct ServerRoundOptions {
  const Method* method = nullptr;
  ContributionShape shape;
  int64_t values = 0;              ///< of a contribution
  std::vector<std::string> sites;  ///< names, by place
};

/// A round that is over. `absent`: what others sent before, which stays in the ledger.
struct ClosingRound {
  int64_t round = 0;
  std::vector<SiteContribution> received, absent;
  std::vector<SiteContribution> before;  ///< what was in the sum published before: how far each site moves it
  int64_t before_round = 0;              ///< when that was
};

/// Reads the contributions, computes what the round publishes, and stores its pieces. May take long; touches nothing but pieces of
/// tensors in the journal. Errors: those of the journal, kTraining (values that the sum refuses).
StatusOr<PublishedObject> Aggregate(const ClosingRound& closing, const ServerRoundOptions& options, ServerJournal& journal);

}  // namespace fedalt
