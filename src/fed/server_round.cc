#include "fed/server_round.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "fed/exchange.h"
#include "fed/local_transport.h"

namespace fedalt {
namespace {

/// The exchange's view of the server's journal for one round.
class ClosingJournal : public RoundJournal {
 public:
  ClosingJournal(const ClosingRound& closing, const std::vector<std::string>& sites, ServerJournal& journal)
      : sites_(sites), journal_(journal) {
    for (const auto* part : {&closing.received, &closing.absent})
      for (const SiteContribution& contribution : *part) by_name_[sites[static_cast<size_t>(contribution.site)]] = &contribution;
    published_.round = closing.round;
    for (const auto& [name, contribution] : by_name_) published_.contributors[contribution->site] = contribution->round;
  }

  StatusOr<LedgerEntry> LoadSent(int64_t, const std::string& site) override {
    const SiteContribution& contribution = *by_name_.at(site);
    auto values = FromChunks(contribution.chunks, [&](const Sha256Digest& digest) { return journal_.GetChunk(digest); });
    if (!values.ok()) return Annotate(values.status(), absl::StrCat("contribution of ", site, " in round ", contribution.round));
    return LedgerEntry{*std::move(values), contribution.weight};
  }

  Status SavePublished(const Published& published, const std::optional<std::string>& site) override {
    published_.total_weight = published.total_weight;
    ChunkList chunks = ChunksOf(published.values);
    for (size_t i = 0; i < chunks.digests.size(); ++i)
      RETURN_IF_ERROR(journal_.PutChunk(chunks.digests[i], ChunkOf(published.values, static_cast<int64_t>(i))));
    if (!site) {
      published_.chunks = std::move(chunks);
    } else {
      published_.per_site[std::find(sites_.begin(), sites_.end(), *site) - sites_.begin()] = std::move(chunks);
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

  const std::vector<std::string>& sites_;
  ServerJournal& journal_;
  std::map<std::string, const SiteContribution*> by_name_;
  PublishedObject published_;
};

}  // namespace

StatusOr<PublishedObject> Aggregate(const ClosingRound& closing, const ServerRoundOptions& options, ServerJournal& journal) {
  std::vector<Contributor> contributors;
  for (const SiteContribution& site : closing.received)
    contributors.push_back({site.site, options.sites[static_cast<size_t>(site.site)], true});
  for (const SiteContribution& site : closing.absent)
    contributors.push_back({site.site, options.sites[static_cast<size_t>(site.site)], false});
  std::sort(contributors.begin(), contributors.end(), [](const Contributor& a, const Contributor& b) { return a.site < b.site; });
  ClosingJournal round_journal(closing, options.sites, journal);
  LocalTransport transport(options.method->ledger_policy(), options.method->needs());
  Exchange exchange(*options.method, transport, round_journal, options.modules, options.r);
  RETURN_IF_ERROR(exchange.Run(closing.round, contributors, options.sites).status());
  return round_journal.Take();
}

}  // namespace fedalt
