// Where a run stands, kept so that it survives a crash: the round code writes here before it goes on, and asks here after a
// restart.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "fed/federation.h"
#include "fed/site.h"
#include "fed/transport.h"

namespace fedalt {

/// The point after which nothing is recorded.
struct JournalPosition {
  int64_t closed_round = 0;                ///< the last round that was closed; 0: none
  int64_t joined_round = 0;                ///< the sites here take part after this round
  std::map<int64_t, TrainReport> trained;  ///< sites that finished training in round closed_round + 1
  int64_t best_round = 0;
  double best_validation_loss = 0.0;
};

/// Loads may come from several threads at once; all other calls come one at a time. After a call returned OK, its content survives
/// a crash of the process.
class RoundJournal {
 public:
  virtual ~RoundJournal() = default;

  virtual StatusOr<JournalPosition> Recover() = 0;
  /// The site as it was after its training in `round` (or, if it was absent, as it stood then), before that round's swap.
  virtual Status LoadSite(int64_t round, Site& site) = 0;
  /// Site::sent of the same moment, alone; without values if there is none.
  virtual StatusOr<LedgerEntry> LoadSent(int64_t round, const std::string& site) = 0;
  /// What `site` received when `round` was closed; empty if nothing was published to it.
  virtual StatusOr<std::optional<Published>> LoadPublished(int64_t round, const std::string& site) = 0;

  /// `report` is null for a site that did not take part.
  virtual Status SaveSite(int64_t round, const Site& site, const TrainReport* report) = 0;
  /// `site`: to whom it was published; empty: to everybody.
  virtual Status SavePublished(const Published& published, const std::optional<std::string>& site) = 0;
  /// The round is over: its results are recorded, and what need not be kept any longer may go.
  virtual Status CloseRound(const RoundResult& result, bool is_best) = 0;
};

}  // namespace fedalt
