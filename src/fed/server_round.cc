#include "fed/server_round.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

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

/// What one contribution is in a sum; without values: nothing.
struct Term {
  at::Tensor values;
  double weight = 0.0;
};

/// |w theta - w' theta'|, the same bits however many threads there are. Precondition: one of them has values.
double Distance(const Term& after, const Term& before) {
  constexpr int64_t kStretch = 1 << 16;
  const int64_t count = after.values.defined() ? after.values.numel() : before.values.numel();
  const float* const a = after.values.defined() ? after.values.data_ptr<float>() : nullptr;
  const float* const b = before.values.defined() ? before.values.data_ptr<float>() : nullptr;
  std::vector<double> sums(static_cast<size_t>((count + kStretch - 1) / kStretch));
  at::parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t stretch = begin; stretch < end; ++stretch) {
      double sum = 0.0;
      for (int64_t i = stretch * kStretch; i < std::min(count, (stretch + 1) * kStretch); ++i) {
        const double now = a == nullptr ? 0.0 : after.weight * static_cast<double>(a[i]);
        const double then = b == nullptr ? 0.0 : before.weight * static_cast<double>(b[i]);
        sum += (now - then) * (now - then);
      }
      sums[static_cast<size_t>(stretch)] = sum;
    }
  });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

/// How far each site moved the sum by what it has in it now and had before. Two contributions at a time.
Status NoteMovement(const ClosingRound& closing, const ServerRoundOptions& options, ClosingJournal& journal,
                    PublishedObject& published) {
  const double staleness = options.method->options().rest_of_world.staleness;
  using Pair = std::pair<const SiteContribution*, const SiteContribution*>;  // now, before; null: nothing
  std::map<int64_t, Pair> pairs;
  for (const auto* part : {&closing.received, &closing.absent})
    for (const SiteContribution& contribution : *part) pairs[contribution.site].first = &contribution;
  for (const SiteContribution& contribution : closing.before) pairs[contribution.site].second = &contribution;
  const auto term = [&](const SiteContribution* contribution, int64_t round) -> StatusOr<Term> {
    if (contribution == nullptr) return Term();
    ASSIGN_OR_RETURN(LedgerEntry entry, journal.Load(*contribution));
    return Term{std::move(entry.values), AgedWeight(entry.weight, staleness, round - contribution->round)};
  };
  for (const auto& [site, pair] : pairs) {
    const auto [now, before] = pair;
    if (now != nullptr) published.weights[site] = AgedWeight(now->weight, staleness, closing.round - now->round);
    const bool stays = now != nullptr && before != nullptr && now->round == before->round && staleness == 1.0;
    published.moved[site] = 0.0;
    if (stays) continue;
    ASSIGN_OR_RETURN(const Term after, term(now, closing.round));
    ASSIGN_OR_RETURN(const Term then, term(before, closing.before_round));
    published.moved[site] = Distance(after, then);
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<PublishedObject> Aggregate(const ClosingRound& closing, const ServerRoundOptions& options, ServerJournal& journal) {
  std::vector<Contributor> contributors;
  for (const SiteContribution& site : closing.received)
    contributors.push_back({site.site, options.sites[static_cast<size_t>(site.site)], true});
  for (const SiteContribution& site : closing.absent)
    contributors.push_back({site.site, options.sites[static_cast<size_t>(site.site)], false});
  SortByName(contributors);
  ClosingJournal round_journal(closing, options, journal);
  LocalTransport transport(options.method->ledger_policy(), options.method->needs());
  Exchange exchange(*options.method, transport, round_journal, options.shape);
  RETURN_IF_ERROR(exchange.Run(closing.round, contributors, options.sites).status());
  PublishedObject published = round_journal.Take();
  RETURN_IF_ERROR(NoteMovement(closing, options, round_journal, published));
  return published;
}

}  // namespace fedalt
