// How contributions reach the one who sums, and how the sum comes back. One process, a cluster and a network each implement it; the
// round code knows only this interface.
//
// Legal order in each round: Send once per participating site and Keep once per absent site that has contributed before, in any
// order, then one of the two closing calls, once. Nothing is kept from one round to the next: the ledger is where the sites' states
// are.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace fedalt {

/// What a method needs from the transport. A confidential transport offers only kNothing and kSum.
enum class TransportNeed {
  kNothing,            ///< nothing leaves a site
  kSum,                ///< the weighted sum S and its weight W, the same for everybody
  kIndividualUploads,  ///< the server must see each upload; what it makes of them is the same for everybody
  kPerSiteDownloads,   ///< the server sees each upload and computes something for each site
};

/// What happens to the contribution of a site that is absent from a round.
enum class LedgerPolicy {
  kKeepAbsent,  ///< its last contribution stays in S (fedalt)
  kCohortOnly,  ///< S is this round's uploads alone (fedit)
};

struct Upload {
  int64_t round = 0;  ///< 1-based; the one in which it is counted
  int64_t site = 0;
  double weight = 1.0;
  at::Tensor values;      ///< theta_k, flat, float32 on the CPU
  std::string name = {};  ///< of the site, for messages and for the order of sums; empty: its number serves
};

/// What a round gives to the sites. For methods that need the sum: S = sum w_k theta_k (float32, rounded once), one object for
/// everybody. For the others: what Method::Aggregate made of the uploads.
struct Published {
  int64_t round = 0;
  double total_weight = 0.0;  ///< W = sum w_k
  int64_t contributors = 0;
  at::Tensor values;  ///< flat, float32 on the CPU
  /// The round of the reader's own contribution that is in it, 0 if none is; empty: what it sent last is.
  std::optional<int64_t> own_round;
  std::optional<double> own_weight;  ///< with which that one is in it; empty: as the site computes it
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual bool Offers(TransportNeed need) const = 0;
  /// True: the other end makes of the uploads what is published, whatever the method needs, and CloseRound brings it. Its one
  /// reader is then the site that sends.
  virtual bool Aggregates() const { return false; }
  /// Before the first round of a process: the round after which this end takes part, if it has no state of the run; 0: from the
  /// first on.
  virtual StatusOr<int64_t> JoinsAfter() { return int64_t{0}; }
  /// What a site made of the publication of a round, for whoever keeps a record. `refused`: why it was not adopted; empty: it was.
  /// What comes before its first ": " is told to others, so that there are no figures of this site in it.
  virtual Status NoteReading(int64_t /*round*/, const std::string& /*refused*/) { return absl::OkStatus(); }
  /// How a round with an exchange went at this end, for whoever wants to tell the others. Nothing depends on whether it arrives.
  virtual void Report(int64_t /*round*/, const std::map<std::string, double>& /*values*/) {}

  /// Hands over a contribution. A site counts once: a second contribution in the same round is refused. Errors: kTraining (also
  /// for values that the sum refuses; they may be found as late as the closing call, and end the round).
  virtual Status Send(Upload upload) = 0;

  /// The last contribution of a site that is absent from `last.round`, as it stands in the ledger. Not needed where the method
  /// sums the cohort only (it is then ignored).
  virtual Status Keep(Upload last) = 0;

  /// The sum over this round's uploads and what was kept.
  virtual StatusOr<Published> CloseRound(int64_t round) = 0;

  /// The uploads themselves and what was kept, ascending by name; only where uploads may be seen (kIndividualUploads). They are all
  /// in memory at once.
  virtual StatusOr<std::vector<Upload>> CloseRoundWithUploads(int64_t round) = 0;
};

}  // namespace fedalt
