// The transport of one process: a ledger of each site's last contribution and the fixed-point sum over it.
#pragma once

#include <map>
#include <vector>

#include "fed/fixed_point_sum.h"
#include "fed/transport.h"

namespace fedalt {

/// Not thread-safe: the round code calls it from one thread at a time.
class LocalTransport : public Transport {
 public:
  explicit LocalTransport(LedgerPolicy policy) : policy_(policy) {}

  bool Offers(TransportNeed) const override { return true; }
  Status Send(const Upload& upload) override;
  Status Restore(int64_t site, const std::vector<float>& values, double weight) override;
  StatusOr<PublishedSum> CloseRound(int64_t round) override;

 private:
  struct Entry {
    int64_t round = 0;
    double weight = 0.0;
    std::vector<float> values;
  };
  Status Replace(int64_t site, Entry entry);

  LedgerPolicy policy_;
  std::map<int64_t, Entry> ledger_;
  FixedPointSum sum_{0};
};

}  // namespace fedalt
