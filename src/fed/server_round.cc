#include "fed/server_round.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"
#include "fed/exchange.h"
#include "fed/local_transport.h"
#include "fed/reading.h"
#include "fed/upload_format.h"

namespace fedalt {
namespace {

/// The exchange's view of the server's journal for one round.
class ClosingJournal : public RoundJournal {
 public:
  ClosingJournal(const ClosingRound& closing, const ServerRoundOptions& options, ServerJournal& journal)
      : options_(options), journal_(journal) {
    for (const auto* part : {&closing.received, &closing.absent})
      for (const SiteContribution& contribution : *part)
        by_name_[options.sites[static_cast<size_t>(contribution.site)]] = &contribution;
    published_.round = closing.round;
    for (const auto& [name, contribution] : by_name_) published_.contributors[contribution->site] = contribution->round;
  }

  StatusOr<LedgerEntry> LoadSent(int64_t, const std::string& site) override { return Load(*by_name_.at(site)); }

  StatusOr<LedgerEntry> Load(const SiteContribution& contribution) const {
    auto words = FromChunks(contribution.chunks, [&](const Sha256Digest& digest) { return journal_.GetChunk(digest); });
    if (!words.ok())
      return Annotate(words.status(), absl::StrCat("contribution of ", options_.sites[static_cast<size_t>(contribution.site)],
                                                   " in round ", contribution.round));
    return LedgerEntry{Decoded(*words, options_.shape.format, options_.values), contribution.weight, contribution.round};
  }

  Status SavePublished(const Published& published, const std::optional<std::string>& site) override {
    published_.total_weight = published.total_weight;
    ChunkList chunks = ChunksOf(published.values);
    for (size_t i = 0; i < chunks.digests.size(); ++i)
      RETURN_IF_ERROR(journal_.PutChunk(chunks.digests[i], ChunkOf(published.values, static_cast<int64_t>(i))));
    if (!site) {
      published_.chunks = std::move(chunks);
    } else {
      const auto place = std::find(options_.sites.begin(), options_.sites.end(), *site) - options_.sites.begin();
      published_.per_site[place] = std::move(chunks);
    }
    return absl::OkStatus();
  }

  PublishedObject Take() { return std::move(published_); }

  // The rest belongs to the sites.
  StatusOr<JournalPosition> Recover() override { return Misused(); }
  Status LoadSite(int64_t, Site&) override { return Misused(); }
  StatusOr<std::optional<Published>> LoadPublished(int64_t, const std::string&) override { return Misused(); }
  Status SaveSite(int64_t, const Site&, const TrainReport*) override { return Misused(); }
  Status CloseRound(const RoundResult&, bool) override { return Misused(); }

 private:
  static Status Misused() { FEDALT_CHECK(false, "a server has no sites of its own"); }

  const ServerRoundOptions& options_;
  ServerJournal& journal_;
  std::map<std::string, const SiteContribution*> by_name_;
  PublishedObject published_;
};

/// Calls `use` with what each of two lists holds of every site, ascending; null where it holds nothing.
void ForEachPair(const std::vector<SiteContribution>& now, const std::vector<SiteContribution>& before,
                 const std::function<void(int64_t site, const SiteContribution* now, const SiteContribution* before)>& use) {
  std::map<int64_t, std::pair<const SiteContribution*, const SiteContribution*>> pairs;
  for (const SiteContribution& contribution : now) pairs[contribution.site].first = &contribution;
  for (const SiteContribution& contribution : before) pairs[contribution.site].second = &contribution;
  for (const auto& [site, pair] : pairs) use(site, pair.first, pair.second);
}

/// How far each site moved the sum: |w theta - w' theta'| of what it has in it now and had before. Two contributions at a time.
Status NoteMovement(const ClosingRound& closing, const ServerRoundOptions& options, ClosingJournal& journal,
                    PublishedObject& published) {
  const double staleness = options.method->options().rest_of_world.staleness;
  std::vector<SiteContribution> now = closing.received;
  now.insert(now.end(), closing.absent.begin(), closing.absent.end());
  Status status;
  const auto term = [&](const SiteContribution* contribution, int64_t round) -> StatusOr<at::Tensor> {
    if (contribution == nullptr) return at::zeros({1}, at::kDouble);
    ASSIGN_OR_RETURN(const LedgerEntry entry, journal.Load(*contribution));
    return entry.values.to(at::kDouble) * AgedWeight(entry.weight, staleness, round - contribution->round);
  };
  ForEachPair(now, closing.before, [&](int64_t site, const SiteContribution* in, const SiteContribution* was) {
    if (!status.ok()) return;
    if (in != nullptr) published.weights[site] = AgedWeight(in->weight, staleness, closing.round - in->round);
    if (in != nullptr && was != nullptr && in->round == was->round && staleness == 1.0) {
      published.moved[site] = 0.0;
      return;
    }
    const auto after = term(in, closing.round), before = term(was, closing.before_round);
    status = after.ok() ? before.status() : after.status();
    if (status.ok()) published.moved[site] = (*after - *before).norm().item<double>();
  });
  return status;
}

}  // namespace

StatusOr<PublishedObject> Aggregate(const ClosingRound& closing, const ServerRoundOptions& options, ServerJournal& journal) {
  std::vector<Contributor> contributors;
  for (const SiteContribution& site : closing.received)
    contributors.push_back({site.site, options.sites[static_cast<size_t>(site.site)], true});
  for (const SiteContribution& site : closing.absent)
    contributors.push_back({site.site, options.sites[static_cast<size_t>(site.site)], false});
  std::sort(contributors.begin(), contributors.end(), [](const Contributor& a, const Contributor& b) { return a.site < b.site; });
  ClosingJournal round_journal(closing, options, journal);
  LocalTransport transport(options.method->ledger_policy(), options.method->needs());
  Exchange exchange(*options.method, transport, round_journal, options.shape);
  RETURN_IF_ERROR(exchange.Run(closing.round, contributors, options.sites).status());
  PublishedObject published = round_journal.Take();
  RETURN_IF_ERROR(NoteMovement(closing, options, round_journal, published));
  return published;
}

}  // namespace fedalt
