// A round's end at a server whose sites are elsewhere: the same exchange as on one machine (fed/exchange.h), over contributions
// that lie in the server's journal.
#pragma once

#include <map>
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
  /// A contribution whose Euclidean norm is more than so many times the median of those received is left out; 0: none is. With
  /// fewer than 3, nobody can tell who is wrong, and all stay.
  double max_norm = 0.0;
};

/// A round that is over. `absent`: what others sent before, which stays in the ledger.
struct ClosingRound {
  int64_t round = 0;
  std::vector<SiteContribution> received, absent;
  std::map<int64_t, std::string> left_out;  ///< contributions that are out of bounds: why, by site
  std::vector<SiteContribution> before;     ///< what was in the sum published before: how far each site moves it
  int64_t before_round = 0;                 ///< when that was
  bool again = false;                       ///< it was published, and is made again: the same bits, without `moved` and `left_out`
};

/// What the record of the round says of a publication that was made of these contributions.
RoundRecord RecordOf(const ClosingRound& closing, const PublishedObject& published, const std::string& run,
                     const std::vector<std::string>& sites);

/// Reads the contributions, computes what the round publishes, and stores its chunks. May take long; touches nothing but chunks of
/// tensors in the journal. A site whose contribution is left out has its last one in the ledger counted, like one that is absent; a
/// damaged one of the ledger is left out until the site sends another. Errors: those of the journal; kIntegrity (a received
/// contribution is damaged: names the sites, no files).
StatusOr<PublishedObject> Aggregate(const ClosingRound& closing, const ServerRoundOptions& options, ServerJournal& journal);

}  // namespace fedalt
