#include "fed/local_transport.h"

#include <utility>

namespace fedalt {

Status LocalTransport::Replace(int64_t site, Entry entry) {
  if (sum_.length() == 0) sum_ = FixedPointSum(entry.values.size());
  if (entry.values.size() != sum_.length())
    return TrainingError(absl::StrCat("site ", site, " sent ", entry.values.size(), " values where the others sent ", sum_.length(),
                                      "; all sites must use the same adapter configuration"));
  // Added before the old one is taken out, so that a refused contribution leaves the sum as it was.
  RETURN_IF_ERROR(Annotate(sum_.Add(entry.values, entry.weight), absl::StrCat("site ", site)));
  if (auto old = ledger_.find(site); old != ledger_.end()) RETURN_IF_ERROR(sum_.Subtract(old->second.values, old->second.weight));
  ledger_[site] = std::move(entry);
  return absl::OkStatus();
}

Status LocalTransport::Send(const Upload& upload) {
  const auto known = ledger_.find(upload.site);
  if (known != ledger_.end() && known->second.round == upload.round) {
    if (known->second.values == upload.values && known->second.weight == upload.weight) return absl::OkStatus();
    return TrainingError(absl::StrCat("site ", upload.site, " sent two different contributions for round ", upload.round));
  }
  return Replace(upload.site, {upload.round, upload.weight, upload.values});
}

Status LocalTransport::Restore(int64_t site, const std::vector<float>& values, double weight) {
  if (policy_ == LedgerPolicy::kCohortOnly) return absl::OkStatus();
  return Replace(site, {0, weight, values});
}

StatusOr<PublishedSum> LocalTransport::CloseRound(int64_t round) {
  PublishedSum published;
  published.round = round;
  for (const auto& [site, entry] : ledger_) published.total_weight += entry.weight;
  published.contributors = static_cast<int64_t>(ledger_.size());
  published.values = std::make_shared<const std::vector<float>>(sum_.Values());
  if (policy_ == LedgerPolicy::kCohortOnly) {
    ledger_.clear();
    sum_ = FixedPointSum(0);
  }
  return published;
}

}  // namespace fedalt
