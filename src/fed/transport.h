// How contributions reach the one who sums, and how the sum comes back. One process, a cluster and a network each implement it; the
// round code knows only this interface.
//
// Legal order in each round: Send once per participating site and Keep once per absent site that has contributed before, in any
// order, then CloseRound once. Nothing is kept from one round to the next: the ledger is where the sites' states are.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"

namespace fedalt {

/// What a method needs from the transport. A confidential transport offers only kNothing and kSum.
enum class TransportNeed {
  kNothing,            ///< nothing leaves a site
  kSum,                ///< the weighted sum S and its weight W, the same for everybody
  kIndividualUploads,  ///< the server must see each upload
  kPerSiteDownloads,   ///< the server computes something for each site
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
  std::vector<float> values;  ///< theta_k, flat
};

/// The one object that a round publishes to everybody: S = sum w_k theta_k (float32, rounded once) and W = sum w_k.
struct PublishedSum {
  int64_t round = 0;
  double total_weight = 0.0;
  int64_t contributors = 0;
  std::shared_ptr<const std::vector<float>> values;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual bool Offers(TransportNeed need) const = 0;

  /// Hands over a contribution. A site counts once: a second contribution in the same round is refused. Errors: kTraining (also
  /// for values that the sum refuses; they may be found as late as CloseRound, and end the round).
  virtual Status Send(Upload upload) = 0;

  /// The last contribution of a site that is absent from `last.round`, as it stands in the ledger. Not needed where the method
  /// sums the cohort only (it is then ignored).
  virtual Status Keep(Upload last) = 0;

  /// The sum over this round's uploads and what was kept.
  virtual StatusOr<PublishedSum> CloseRound(int64_t round) = 0;
};

}  // namespace fedalt
