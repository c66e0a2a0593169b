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

  /// Errors: kIntegrity (damaged).
  StatusOr<LedgerEntry> Load(const SiteContribution& contribution) const {
    const auto words = FromChunks(contribution.chunks, [&](const Sha256Digest& digest) { return journal_.GetChunk(digest); });
    if (!words.ok() && KindOf(words.status()) == ErrorKind::kIntegrity)
      return IntegrityError(absl::StrCat("the stored contribution of ", options_.sites[static_cast<size_t>(contribution.site)],
                                         " in round ", contribution.round, " is damaged"));
    RETURN_IF_ERROR(words.status());
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
    const StatusOr<Term> then = term(before, closing.before_round);
    if (!then.ok() && KindOf(then.status()) == ErrorKind::kIntegrity) {  // nobody can tell any more
      published.moved.erase(site);
      continue;
    }
    RETURN_IF_ERROR(then.status());
    published.moved[site] = Distance(after, *then);
  }
  return absl::OkStatus();
}

/// Takes what `why` has a reason for out of the round: a received contribution gives way to the site's last one in the ledger.
void LeaveOut(const std::map<int64_t, std::string>& why, bool keeps_absent, ClosingRound& closing) {
  const auto is_out = [&](const SiteContribution& contribution) { return why.contains(contribution.site); };
  std::erase_if(closing.absent, is_out);
  if (keeps_absent)
    for (const SiteContribution& last : closing.before)
      if (std::any_of(closing.received.begin(), closing.received.end(),
                      [&](const SiteContribution& now) { return now.site == last.site && is_out(now); }))
        closing.absent.push_back(last);
  std::erase_if(closing.received, is_out);
  closing.left_out.insert(why.begin(), why.end());
}

/// Which of the received contributions are too large for their round.
StatusOr<std::map<int64_t, std::string>> OutOfBounds(const ClosingRound& closing, const ServerRoundOptions& options,
                                                     const ClosingJournal& journal) {
  std::map<int64_t, std::string> out;
  constexpr size_t kLeast = 3;
  if (options.max_norm <= 0.0 || closing.received.size() < kLeast) return out;
  std::map<int64_t, double> norms;
  std::vector<double> sorted;
  for (const SiteContribution& contribution : closing.received) {
    ASSIGN_OR_RETURN(LedgerEntry entry, journal.Load(contribution));
    sorted.push_back(norms[contribution.site] = Distance({std::move(entry.values), 1.0}, {}));
  }
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  const double median = sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2.0;
  for (const auto& [site, norm] : norms)
    if (!(norm <= options.max_norm * median))
      out[site] = absl::StrFormat("its norm %.6g is more than contribution.max_norm = %g times the median %.6g of the round", norm,
                                  options.max_norm, median);
  return out;
}

/// Which contributions cannot be read. Errors: kIntegrity (one of those received).
StatusOr<std::map<int64_t, std::string>> Damaged(const ClosingRound& closing, const ClosingJournal& journal) {
  std::map<int64_t, std::string> out;
  for (const SiteContribution& contribution : closing.absent) {
    const Status loaded = journal.Load(contribution).status();
    if (loaded.ok()) continue;
    if (KindOf(loaded) != ErrorKind::kIntegrity) return loaded;
    out[contribution.site] = std::string(loaded.message());
  }
  for (const SiteContribution& contribution : closing.received) {
    const Status loaded = journal.Load(contribution).status();
    if (!loaded.ok() && KindOf(loaded) == ErrorKind::kIntegrity)
      return IntegrityError(absl::StrCat(loaded.message(), "; the site is asked to send it again"));
    RETURN_IF_ERROR(loaded);
  }
  return out;
}

StatusOr<PublishedObject> PublicationOf(const ClosingRound& closing, const ServerRoundOptions& options, ServerJournal& journal) {
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
  published.left_out = closing.left_out;
  if (!closing.again) RETURN_IF_ERROR(NoteMovement(closing, options, round_journal, published));
  return published;
}

}  // namespace

StatusOr<PublishedObject> Aggregate(const ClosingRound& all, const ServerRoundOptions& options, ServerJournal& journal) {
  ClosingRound closing = all;
  const bool keeps_absent = options.method->ledger_policy() == LedgerPolicy::kKeepAbsent;
  if (!closing.again) {
    ASSIGN_OR_RETURN(const auto out, OutOfBounds(closing, options, ClosingJournal(closing, options, journal)));
    LeaveOut(out, keeps_absent, closing);
  }
  StatusOr<PublishedObject> published = PublicationOf(closing, options, journal);
  if (published.ok() || KindOf(published.status()) != ErrorKind::kIntegrity || closing.again) return published;
  ASSIGN_OR_RETURN(const auto damaged, Damaged(closing, ClosingJournal(closing, options, journal)));
  LeaveOut(damaged, keeps_absent, closing);
  return PublicationOf(closing, options, journal);
}

}  // namespace fedalt
