// The transport of one process: the fixed-point sum over the contributions of a round, or the contributions themselves.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fed/fixed_point_sum.h"
#include "fed/transport.h"

namespace fedalt {

/// For a sum it holds the sum and the last few contributions, which are added together: its memory does not grow with the sites.
/// Not thread-safe: the round code calls it from one thread at a time.
class LocalTransport : public Transport {
 public:
  explicit LocalTransport(LedgerPolicy policy, TransportNeed need = TransportNeed::kSum) : policy_(policy), need_(need) {}

  bool Offers(TransportNeed) const override { return true; }
  Status Send(Upload upload) override;
  Status Keep(Upload last) override;
  StatusOr<Published> CloseRound(int64_t round) override;
  StatusOr<std::vector<Upload>> CloseRoundWithUploads(int64_t round) override;

 private:
  Status AddPending();

  LedgerPolicy policy_;
  TransportNeed need_;
  using Key = std::pair<std::string, int64_t>;  // name and number
  static Key KeyOf(const Upload& upload) { return {upload.name, upload.site}; }

  std::map<Key, double> weights_;  // of this round's sites; added up by name, so that W has the same bits, too
  std::vector<Upload> pending_;    // all of them where uploads are wanted
  FixedPointSum sum_{0};
};

}  // namespace fedalt
