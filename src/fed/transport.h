// How contributions reach the one who sums, and how the sum comes back. One process, a cluster and a network each implement it; the
// round code knows only this interface.
//
// Legal order in each round: Send once per participating site (again with the same bytes is harmless), then CloseRound once.
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
  int64_t round = 0;  ///< 1-based
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

  /// Hands over a contribution. Exactly once per (round, site): the same bytes again are accepted and not counted twice; other
  /// bytes under the same key are refused. Errors: kTraining (values that the sum refuses).
  virtual Status Send(const Upload& upload) = 0;

  /// Puts back a contribution of an earlier round after a restart (ledger of the absent). Before the first Send.
  virtual Status Restore(int64_t site, const std::vector<float>& values, double weight) = 0;

  /// The sum over the ledger as it stands after this round's uploads.
  virtual StatusOr<PublishedSum> CloseRound(int64_t round) = 0;
};

}  // namespace fedalt
