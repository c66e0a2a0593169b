#include "fed/reading.h"

#include <absl/strings/str_join.h>

#include <set>

#include "base/check.h"

namespace fedalt {

double AgedWeight(double weight, double staleness, int64_t age) {
  FEDALT_CHECK(age >= 0, "nothing is sent in the future");
  if (staleness == 1.0) return weight;
  for (; age > 0; --age) weight *= staleness;  // pow may differ between C libraries
  return weight;
}

Status TakeIn(const Method& method, const Published& published, Site& site) {
  const double weight = site.sent.weight;
  if (site.sent.values.defined())
    site.sent.weight = AgedWeight(weight, method.options().rest_of_world.staleness, published.round - site.sent.round);
  const Status received = method.Receive(published, site);
  site.sent.weight = weight;
  site.read_round = published.round;
  return received;
}

Status RollBack(int64_t pinned_round, int64_t closed_round, RoundJournal& journal, Site& site) {
  if (closed_round <= pinned_round) return absl::OkStatus();  // what comes is refused when it comes
  RETURN_IF_ERROR(journal.LoadSite(closed_round, site));
  if (site.refused_round == closed_round && site.read_round <= pinned_round) return absl::OkStatus();
  std::set<int64_t> kept = {site.read_round};
  NamedTensors older;
  int64_t read_round = site.read_round;
  for (int64_t round = closed_round; round >= 1 && read_round > pinned_round; --round) {
    if (!journal.LoadSite(round, site).ok()) continue;  // not kept
    kept.insert(site.read_round);
    read_round = site.read_round;
    older = site.adapters.RestOfWorld();
    for (auto& [name, tensor] : older) tensor = tensor.clone();
  }
  if (read_round > pinned_round)
    return ConfigError(absl::StrCat("site ", site.info.name, " is to read what round ", pinned_round,
                                    " published, but that is not kept any more; pin one of the rounds ", absl::StrJoin(kept, ", "),
                                    ", or none (keep.rounds says what stays)"));
  RETURN_IF_ERROR(journal.LoadSite(closed_round, site));
  if (!older.empty()) RETURN_IF_ERROR(site.adapters.SetRestOfWorld(older));
  site.read_round = read_round;
  site.refused_round = closed_round;
  return journal.SaveSite(closed_round, site, nullptr);
}

}  // namespace fedalt
