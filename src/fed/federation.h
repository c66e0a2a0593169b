// The whole federation: rounds over sites, through a Transport and a RoundJournal, so the same code runs on one machine, a cluster or across
// organisations. Read fedalt.h first for the method itself.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "fed/method.h"
#include "fed/options.h"
#include "fed/site.h"
#include "fed/transport.h"

namespace fedalt {

/// How one model of a site did.
struct SiteScores {
  EvalResult test;
  std::optional<double> validation_loss;
};

/// One site in one round. Fields that were not measured in this round are empty.
struct SiteRoundResult {
  std::string site;
  int64_t round = 0;
  bool participated = false;
  TrainReport train;
  int64_t bytes_up = 0, bytes_down = 0;
  std::optional<SiteScores> before_swap;  ///< the adapters that were trained together
  std::optional<SiteScores> after_swap;   ///< with the new rest of world (or the new global model)
  std::string deployed = "before_swap";   ///< which of the two is the site's model
  std::map<std::string, SiteScores> ablations;  ///< of the deployed model: rest_of_world_off, individual_off, individual_alone, rest_of_world_alone, base
  double mean_individual_weight = 1.0;    ///< mean p_I over the site's test tokens (1 where there is no mixer)
};

struct RoundResult {
  int64_t round = 0;
  bool evaluated = false;
  std::vector<SiteRoundResult> sites;
  double seconds = 0.0;
};

/// What `fedalt run --format json` prints, and the end of the log.
struct RunSummary {
  std::string method;
  std::string preset;
  int64_t rounds = 0;
  int64_t best_round = 0;  ///< by mean validation loss; 0 if there is no validation data
  std::vector<SiteRoundResult> sites;  ///< of the last round
  double seconds = 0.0;
  double train_seconds = 0.0;
};

}  // namespace fedalt
