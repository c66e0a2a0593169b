#include "fed/local_transport.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "base/check.h"

namespace fedalt {
namespace {

constexpr size_t kTogether = 4;  // beyond it, reading and writing the sum is a small part of the work

std::span<const float> SpanOf(const at::Tensor& values) {
  return {values.data_ptr<float>(), static_cast<size_t>(values.numel())};
}

std::string Whose(const Upload& upload) {
  return absl::StrCat("site ", upload.name.empty() ? absl::StrCat(upload.site) : upload.name);
}

}  // namespace

Status LocalTransport::Send(Upload upload) {
  FEDALT_CHECK(upload.values.is_contiguous(), "uploads are flat");
  if (weights_.contains(KeyOf(upload)))
    return TrainingError(absl::StrCat(Whose(upload), " sent a second contribution for round ", upload.round));
  const bool sums = need_ == TransportNeed::kSum;
  const auto length = static_cast<size_t>(upload.values.numel());
  if (sums && weights_.empty()) sum_ = FixedPointSum(length);
  if (sums && length != sum_.length())
    return TrainingError(absl::StrCat(Whose(upload), " sent ", length, " values where the others sent ", sum_.length(),
                                      "; all sites must use the same adapter configuration"));
  weights_.emplace(KeyOf(upload), upload.weight);
  pending_.push_back(std::move(upload));
  return !sums || pending_.size() < kTogether ? absl::OkStatus() : AddPending();
}

Status LocalTransport::Keep(Upload last) {
  return policy_ == LedgerPolicy::kKeepAbsent ? Send(std::move(last)) : absl::OkStatus();
}

Status LocalTransport::AddPending() {
  const std::vector<Upload> uploads = std::exchange(pending_, {});
  std::vector<Contribution> contributions;
  contributions.reserve(uploads.size());
  for (const Upload& upload : uploads) contributions.push_back({SpanOf(upload.values), upload.weight});
  if (sum_.Add(contributions).ok()) return absl::OkStatus();
  for (const Upload& upload : uploads)  // again one by one, to name the site
    RETURN_IF_ERROR(Annotate(sum_.Add(SpanOf(upload.values), upload.weight), Whose(upload)));
  return absl::OkStatus();
}

StatusOr<Published> LocalTransport::CloseRound(int64_t round) {
  RETURN_IF_ERROR(AddPending());
  Published published;
  published.round = round;
  for (const auto& [site, weight] : weights_) published.total_weight += weight;
  published.contributors = static_cast<int64_t>(weights_.size());
  const std::vector<float> sum = sum_.Values();
  published.values = at::tensor(sum, at::kFloat);
  weights_.clear();
  sum_ = FixedPointSum(0);
  return published;
}

StatusOr<std::vector<Upload>> LocalTransport::CloseRoundWithUploads(int64_t) {
  std::vector<Upload> uploads = std::exchange(pending_, {});
  std::sort(uploads.begin(), uploads.end(), [](const Upload& a, const Upload& b) { return KeyOf(a) < KeyOf(b); });
  weights_.clear();
  for (const Upload& upload : uploads)
    if (!at::isfinite(upload.values).all().item<bool>())
      return TrainingError(absl::StrCat(Whose(upload), " sent values that are not finite numbers; lower train.lr"));
  return uploads;
}

}  // namespace fedalt
