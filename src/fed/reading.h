// What sites read of the others has versions: the round that published it. A site takes in the version of each round, or decides
// not to (Site::refused_round), or goes back to an older one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "fed/exchange.h"
#include "fed/method.h"
#include "fed/model_after.h"
#include "fed/round_journal.h"

namespace fedalt {

/// w lambda^age, the same bits everywhere: `age` rounds after it was sent. Precondition: age >= 0.
double AgedWeight(double weight, double staleness, int64_t age);

/// Whether all values are finite. Needs little memory beside them.
bool IsFinite(const at::Tensor& values);

/// The site adopts what a round published: Method::Receive, with its own contribution weighed as in that sum. Errors: kFederation
/// (what was published does not fit, or is not finite), those of Receive.
Status TakeIn(const Method& method, const Published& published, Site& site);

/// What a site sees of its model before or after a swap.
struct AdoptionLook {
  double norm = 0.0;             ///< NormOf its adapters
  double training_loss = 0.0;    ///< of a batch of its training examples; only where a server aggregates
  double validation_loss = 0.0;  ///< only where there is a guard
};

/// The Frobenius norm of all of a site's adapters and folds together.
double NormOf(const SiteAdapters& adapters);

/// A publication that makes the norm of a site's adapters more than this many times what it was is no result of training.
inline constexpr double kMostNormGrowth = 1000.0;

/// What to do about values that came from others.
inline constexpr char kOthersRemedy[] =
    "have the site that sent such values erased at the server (fedalt erase), or pin this one to an older version "
    "(rest_of_world.pin)";

/// How a site decides whether it adopts what a round published.
struct ReadingRules {
  double guard = -1.0;                  ///< RestOfWorldOptions::guard
  std::optional<int64_t> pinned_round;  ///< FederationInputs::pinned_round
  /// Where others aggregate: by how much a swap may raise the training loss (ln of the vocabulary: what it costs to know nothing).
  /// Empty: everything is here, and what is published is not suspected.
  std::optional<double> most_loss_gain;
  std::function<StatusOr<AdoptionLook>(Moment)> look;  ///< at the site in this round
};

/// Why the site, as it was saved in `round`, does not adopt what that round published; empty: it does. The decision is saved with
/// the site. It does not if it cannot (a server elsewhere counts something of it that it does not have any more), is pinned to an
/// older version, or (in this order) the values are not finite, or where others aggregate they make the norm of its adapters
/// kMostNormGrowth times greater or its training loss greater by most_loss_gain, or its guard finds the new one worse. A norm or
/// loss that is not finite is refused by each of these. `site` is overwritten. Errors: those of journal, transport and look.
StatusOr<std::string> DecideOnReading(int64_t round, const ReadingRules& rules, const Exchange& exchange, Transport& transport,
                                      RoundJournal& journal, Site& site);

/// Makes the site, as it stands after `closed_round`, one that has read nothing of rounds after `pinned_round`: its rest of world
/// becomes the one of a checkpoint before. `site` is overwritten. Errors: kConfig (no checkpoint has it any more; says which there
/// are), those of the journal.
Status RollBack(int64_t pinned_round, int64_t closed_round, RoundJournal& journal, Site& site);

}  // namespace fedalt
