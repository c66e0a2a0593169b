#include "fed/exchange.h"

#include <algorithm>
#include <utility>

#include "base/interrupt.h"
#include "fed/reading.h"
#include "fed/rest_of_world.h"
#include "fed/upload_format.h"

namespace fedalt {
namespace {

int64_t BytesOf(const at::Tensor& values) {
  return values.numel() * static_cast<int64_t>(sizeof(float));
}

/// Sums are finite by what they are made of; what is computed of factors may overflow float32.
Status CheckComputed(const Published& published) {
  if (IsFinite(published.values)) return absl::OkStatus();
  return TrainingError(absl::StrCat("round ", published.round,
                                    ": what the contributions come to is not finite in float32; lower train.lr, or have the site "
                                    "that sent the greatest values erased"));
}

}  // namespace

void SortByName(std::vector<Contributor>& contributors) {
  std::sort(contributors.begin(), contributors.end(), [](const Contributor& a, const Contributor& b) { return a.name < b.name; });
}

StatusOr<Published> RecordedPublication(RoundJournal& journal, int64_t round, const std::string& name) {
  ASSIGN_OR_RETURN(std::optional<Published> published, journal.LoadPublished(round, name));
  if (published) return *std::move(published);
  return OutputError(
      absl::StrCat("what round ", round, " published is missing from the run's files; put it back, or start the run anew"));
}

StatusOr<Exchange::Entry> Exchange::Recorded(int64_t round, const Contributor& contributor) const {
  ASSIGN_OR_RETURN(LedgerEntry sent, journal_.LoadSent(round, contributor.name));
  const int64_t age = contributor.participated ? 0 : round - sent.round;
  const double weight = AgedWeight(sent.weight, method_.options().rest_of_world.staleness, age);
  return Entry{{round, contributor.site, weight, std::move(sent.values), contributor.name}, sent.round};
}

StatusOr<Exchange::Bytes> Exchange::Run(int64_t round, const std::vector<Contributor>& contributors,
                                        const std::vector<std::string>& readers) {
  Bytes bytes;
  for (const Contributor& contributor : contributors) {
    RETURN_IF_ERROR(CheckInterrupt("contributions were added up"));
    ASSIGN_OR_RETURN(Entry entry, Recorded(round, contributor));
    if (!entry.upload.values.defined() || (contributor.participated && entry.sent_round != round)) {
      bytes.up.push_back(0);
      continue;
    }
    Upload& upload = entry.upload;
    const int64_t words = EncodedWords(shape_.format, upload.values.numel());
    bytes.up.push_back(contributor.participated ? words * static_cast<int64_t>(sizeof(float)) : 0);
    RETURN_IF_ERROR(contributor.participated ? transport_.Send(std::move(upload)) : transport_.Keep(std::move(upload)));
  }
  if (method_.needs() == TransportNeed::kSum || transport_.Aggregates()) {
    ASSIGN_OR_RETURN(common_, transport_.CloseRound(round));
    RETURN_IF_ERROR(journal_.SavePublished(*common_, std::nullopt));
    bytes.down.assign(readers.size(), BytesOf(common_->values));
    if (common_->own_round && *common_->own_round != round) bytes.up.assign(bytes.up.size(), 0);  // closed without it
    return bytes;
  }
  RoundUploads uploads{{}, shape_.modules, shape_.r};
  ASSIGN_OR_RETURN(uploads.uploads, transport_.CloseRoundWithUploads(round));
  Published published;
  published.round = round;
  published.contributors = static_cast<int64_t>(uploads.uploads.size());
  for (const Upload& upload : uploads.uploads) published.total_weight += upload.weight;
  const auto aggregate = method_.Aggregator(uploads);
  if (method_.needs() == TransportNeed::kIndividualUploads) {
    published.values = aggregate(Method::kEverySite);
    RETURN_IF_ERROR(CheckComputed(published));
    RETURN_IF_ERROR(journal_.SavePublished(published, std::nullopt));
    bytes.down.assign(readers.size(), BytesOf(published.values));
    common_ = std::move(published);
    return bytes;
  }
  for (size_t k = 0; k < readers.size(); ++k) {
    published.values = aggregate(static_cast<int64_t>(k));
    RETURN_IF_ERROR(CheckComputed(published));
    RETURN_IF_ERROR(journal_.SavePublished(published, readers[k]));
    bytes.down.push_back(BytesOf(published.values));
  }
  return bytes;
}

Status Exchange::Recover(int64_t round, const std::vector<std::string>& readers) {
  for (const std::string& reader : readers) {
    ASSIGN_OR_RETURN(Published published, ReceivedBy(round, reader));
    if (method_.needs() != TransportNeed::kPerSiteDownloads) common_ = std::move(published);  // that of all readers
  }
  return absl::OkStatus();
}

StatusOr<Published> Exchange::ReceivedBy(int64_t round, const std::string& name) const {
  if (common_ && common_->round == round) return *common_;
  return RecordedPublication(journal_, round, name);
}

StatusOr<std::vector<std::vector<double>>> Exchange::Influences(int64_t round, const std::vector<Contributor>& contributors,
                                                                int64_t readers) const {
  const RestOfWorldOptions& options = method_.options().rest_of_world;
  RoundUploads uploads{{}, shape_.modules, shape_.r};
  for (const Contributor& contributor : contributors) {
    ASSIGN_OR_RETURN(Entry entry, Recorded(round, contributor));
    Upload& upload = entry.upload;
    if (!NeedsServer(options)) upload.values.reset();  // then their weights do not depend on what they sent
    uploads.uploads.push_back(std::move(upload));
  }
  std::vector<std::vector<double>> weights;
  const ReadingWeights reading(uploads, options);
  for (int64_t k = 0; k < readers; ++k) weights.push_back(reading.For(k));
  uploads.uploads.clear();
  const auto load = [&](size_t i) -> StatusOr<at::Tensor> {
    ASSIGN_OR_RETURN(Entry entry, Recorded(round, contributors[i]));
    return std::move(entry.upload.values);
  };
  ASSIGN_OR_RETURN(const auto products, ContributionProducts(contributors.size(), load, shape_.modules, shape_.r));
  return Influence(products, weights);
}

}  // namespace fedalt
