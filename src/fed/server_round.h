// A round's end at a server whose sites are elsewhere: the same exchange as on one machine (fed/exchange.h), over contributions
// that lie in the server's journal.
#pragma once

#include <string>
#include <vector>

#include "fed/method.h"
#include "fed/server_journal.h"

namespace fedalt {

/// What the contributions of a federation are made of; borrowed parts outlive the calls.
struct ServerRoundOptions {
  const Method* method = nullptr;
  std::vector<AdaptedModule> modules;
  int64_t r = 0;                   ///< the largest rank
  std::vector<std::string> sites;  ///< names, by place
};

/// A round that is over. `absent`: what others sent before, which stays in the ledger.
struct ClosingRound {
  int64_t round = 0;
  std::vector<SiteContribution> received, absent;
};

/// Reads the contributions, computes what the round publishes, and stores its pieces. May take long; touches nothing but pieces of
/// tensors in the journal. Errors: those of the journal, kTraining (values that the sum refuses).
StatusOr<PublishedObject> Aggregate(const ClosingRound& closing, const ServerRoundOptions& options, ServerJournal& journal);

}  // namespace fedalt
