// RecordOf, apart from the computation of the round: the fuzz targets of the server need this one alone.
#include <algorithm>
#include <set>

#include "fed/server_round.h"

namespace fedalt {

RoundRecord RecordOf(const ClosingRound& closing, const PublishedObject& published, const std::string& run,
                     const std::vector<std::string>& sites) {
  RoundRecord record;
  record.run = run;
  record.round = published.round;
  record.total_weight = published.total_weight;
  const auto name = [&](int64_t site) { return sites.at(static_cast<size_t>(site)); };
  const auto by_site = [](const auto& a, const auto& b) { return a.site < b.site; };
  for (const auto& [site, chunks] : published.per_site) record.contents.push_back({name(site), ContentHash(chunks)});
  if (published.per_site.empty()) record.contents.push_back({"", ContentHash(published.chunks)});
  std::set<int64_t> counted;
  for (const auto* part : {&closing.received, &closing.absent, &closing.before})  // before: in place of one that is left out
    for (const SiteContribution& of : *part) {
      const auto found = published.contributors.find(of.site);
      if (found == published.contributors.end() || found->second != of.round || !counted.insert(of.site).second) continue;
      record.contributors.push_back({name(of.site), of.round, of.weight, ContentHash(of.chunks)});
    }
  std::sort(record.contents.begin(), record.contents.end(), by_site);
  std::sort(record.contributors.begin(), record.contributors.end(), by_site);
  return record;
}

}  // namespace fedalt
