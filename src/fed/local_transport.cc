#include "fed/local_transport.h"

#include <utility>

namespace fedalt {
namespace {

constexpr size_t kTogether = 4;  // beyond it, reading and writing the sum is a small part of the work

}  // namespace

Status LocalTransport::Send(Upload upload) {
  if (weights_.contains(upload.site))
    return TrainingError(absl::StrCat("site ", upload.site, " sent a second contribution for round ", upload.round));
  if (weights_.empty()) sum_ = FixedPointSum(upload.values.size());
  if (upload.values.size() != sum_.length())
    return TrainingError(absl::StrCat("site ", upload.site, " sent ", upload.values.size(), " values where the others sent ",
                                      sum_.length(), "; all sites must use the same adapter configuration"));
  weights_.emplace(upload.site, upload.weight);
  pending_.push_back(std::move(upload));
  return pending_.size() < kTogether ? absl::OkStatus() : AddPending();
}

Status LocalTransport::Keep(Upload last) {
  return policy_ == LedgerPolicy::kKeepAbsent ? Send(std::move(last)) : absl::OkStatus();
}

Status LocalTransport::AddPending() {
  const std::vector<Upload> uploads = std::exchange(pending_, {});
  std::vector<Contribution> contributions;
  for (const Upload& upload : uploads) contributions.push_back({upload.values, upload.weight});
  if (sum_.Add(contributions).ok()) return absl::OkStatus();
  for (const Upload& upload : uploads)  // again one by one, to name the site
    RETURN_IF_ERROR(Annotate(sum_.Add(upload.values, upload.weight), absl::StrCat("site ", upload.site)));
  return absl::OkStatus();
}

StatusOr<PublishedSum> LocalTransport::CloseRound(int64_t round) {
  RETURN_IF_ERROR(AddPending());
  PublishedSum published;
  published.round = round;
  for (const auto& [site, weight] : weights_) published.total_weight += weight;
  published.contributors = static_cast<int64_t>(weights_.size());
  published.values = std::make_shared<const std::vector<float>>(sum_.Values());
  weights_.clear();
  sum_ = FixedPointSum(0);
  return published;
}

}  // namespace fedalt
