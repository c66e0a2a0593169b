#include "fed/reading.h"

#include <absl/strings/str_join.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/check.h"

namespace fedalt {

double AgedWeight(double weight, double staleness, int64_t age) {
  FEDALT_CHECK(age >= 0, "nothing is sent in the future");
  if (staleness == 1.0) return weight;
  for (; age > 0; --age) weight *= staleness;  // pow may differ between C libraries
  return weight;
}

bool IsFinite(const at::Tensor& values) {
  constexpr int64_t kTogether = 1 << 20;
  const at::Tensor flat = values.reshape({-1});
  for (int64_t begin = 0; begin < flat.numel(); begin += kTogether)
    if (!at::isfinite(flat.narrow(0, begin, std::min(kTogether, flat.numel() - begin))).all().item<bool>()) return false;
  return true;
}

Status TakeIn(const Method& method, const Published& published, Site& site) {
  if (!IsFinite(published.values))
    return FederationError(absl::StrCat("round ", published.round, " published values that are not finite; ", kOthersRemedy));
  if (!method.Fits(published, site))
    return FederationError(
        absl::StrCat("round ", published.round, " published ", published.values.numel(),
                     " values, which do not fit the adapters of this site; ask who runs the server before going on"));
  const double weight = site.sent.weight;
  if (site.sent.values.defined())
    site.sent.weight = AgedWeight(weight, method.options().rest_of_world.staleness, published.round - site.sent.round);
  if (site.sent.values.defined() && published.own_weight && *published.own_weight != site.sent.weight)
    return FederationError(absl::StrCat("round ", published.round, " counts this site with weight ", *published.own_weight,
                                        ", but by the agreed rule it is ", std::exchange(site.sent.weight, weight),
                                        "; ask who runs the server before going on"));
  Status received = method.Receive(published, site);
  site.sent.weight = weight;
  site.read_round = published.round;
  return received;
}

namespace {

/// Where a server elsewhere counts another contribution of this site than its last (it was late, or erased), the site agrees: what
/// it reads is computed from what the server counts. False: that is one which the site does not have any more, so it cannot read
/// this.
StatusOr<bool> AgreeOnSent(int64_t round, const Exchange& exchange, RoundJournal& journal, Site& site) {
  ASSIGN_OR_RETURN(const Published published, exchange.ReceivedBy(round, site.info.name));
  if (!published.own_round || site.sent.round == *published.own_round) return true;
  site.sent = LedgerEntry{};
  bool known = *published.own_round == 0;
  if (auto before = journal.LoadSent(round - 1, site.info.name); before.ok() && before->round == *published.own_round) {
    site.sent = *std::move(before);
    known = true;
  }
  RETURN_IF_ERROR(journal.SaveSite(round, site, nullptr));
  return known;
}

/// Whether a loss is greater than `before` by more than `margin`. One that is not finite is greater than any that is, and nothing
/// is worse than one that is not.
bool IsWorse(double after, double before, double margin) {
  return std::isfinite(before) && !(after <= before + margin);
}

/// Why what was published cannot be adopted, or is worse than what the site has; empty: neither.
StatusOr<std::string> Objection(const ReadingRules& rules, const Published& published) {
  if (!IsFinite(published.values)) return absl::StrCat("it holds values that are not finite; ", kOthersRemedy);
  if (rules.guard < 0.0 && !rules.most_loss_gain) return std::string();
  ASSIGN_OR_RETURN(const AdoptionLook before, rules.look(Moment::kBeforeSwap));
  ASSIGN_OR_RETURN(const AdoptionLook after, rules.look(Moment::kAfterSwap));
  if (rules.most_loss_gain && !(after.norm <= kMostNormGrowth * before.norm))
    return absl::StrFormat(
        "its norm is out of bounds: it makes the norm of the adapters %.3g, which was %.3g; expected at most %g times as much; %s",
        after.norm, before.norm, kMostNormGrowth, kOthersRemedy);
  if (rules.most_loss_gain && IsWorse(after.training_loss, before.training_loss, *rules.most_loss_gain))
    return absl::StrFormat(
        "its loss is out of bounds: it makes the training loss %.4g, which was %.4g; expected at most %.4g more; %s",
        after.training_loss, before.training_loss, *rules.most_loss_gain, kOthersRemedy);
  if (rules.guard >= 0.0 && IsWorse(after.validation_loss, before.validation_loss, rules.guard))
    return absl::StrFormat("the guard refused it: validation loss %.4f instead of %.4f, the guard is %g", after.validation_loss,
                           before.validation_loss, rules.guard);
  return std::string();
}

}  // namespace

double NormOf(const SiteAdapters& adapters) {
  double squares = 0.0;
  for (const NamedTensors& tensors : {adapters.Individual(), adapters.RestOfWorld(), adapters.Folds()})
    for (const auto& [name, tensor] : tensors) squares += tensor.detach().to(at::kDouble).square().sum().item<double>();
  return std::sqrt(squares);
}

StatusOr<std::string> DecideOnReading(int64_t round, const ReadingRules& rules, const Exchange& exchange, Transport& transport,
                                      RoundJournal& journal, Site& site) {
  RETURN_IF_ERROR(journal.LoadSite(round, site));
  bool readable = true;
  if (transport.Aggregates()) {
    ASSIGN_OR_RETURN(readable, AgreeOnSent(round, exchange, journal, site));
  }
  if (std::exchange(site.refused_round, 0) == round) RETURN_IF_ERROR(journal.SaveSite(round, site, nullptr));  // before a crash
  std::string refused;
  if (!readable) {
    refused = "it holds what the site sent before it lost its state";
  } else if (rules.pinned_round && round > *rules.pinned_round) {
    refused = absl::StrCat("pinned to round ", *rules.pinned_round);
  } else {
    ASSIGN_OR_RETURN(const Published published, exchange.ReceivedBy(round, site.info.name));
    ASSIGN_OR_RETURN(refused, Objection(rules, published));
  }
  RETURN_IF_ERROR(transport.NoteReading(round, refused));
  if (refused.empty()) return refused;
  site.refused_round = round;
  RETURN_IF_ERROR(journal.SaveSite(round, site, nullptr));
  return refused;
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
  // A round that was trained already, and is still open, stands on what is taken back, too; that of the closed round comes last, as
  // it says that all is done.
  for (const int64_t round : {closed_round + 1, closed_round}) {
    const Status loaded = journal.LoadSite(round, site);
    if (!loaded.ok() && round > closed_round) continue;  // not trained yet
    RETURN_IF_ERROR(loaded);
    if (!older.empty()) RETURN_IF_ERROR(site.adapters.SetRestOfWorld(older));
    site.read_round = read_round;
    site.refused_round = closed_round;
    RETURN_IF_ERROR(journal.SaveSite(round, site, nullptr));
  }
  return absl::OkStatus();
}

}  // namespace fedalt
