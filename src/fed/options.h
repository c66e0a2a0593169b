// The choices of a federation: method, rounds, participation, evaluation. One struct per concern, a default per field.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "adapter/adapter_config.h"
#include "train/eval_options.h"
#include "train/train_options.h"

namespace fedalt {

/// How sites count in a sum.
enum class SiteWeights { kUniform, kSamples };

/// How fedalt renews the rest-of-world adapter (its gain stands in AdapterConfig, because the layer applies it).
struct RestOfWorldOptions {
  int64_t every = 1;  ///< renewed after every so many rounds; nothing is sent in the others
  SiteWeights weights = SiteWeights::kUniform;
  double damping = 1.0;  ///< b in (0, 1]: RoW <- b new + (1 - b) old
};

/// Which of the two models of the last round a site uses.
enum class Deploy {
  kTrainedTogether,  ///< before the last swap: the triple that was trained together
  kSwapped,          ///< after the last swap
  kValidation,       ///< per site the better of the two on its validation loss; trained together if there is no validation data
};

struct MethodOptions {
  std::string name = "fedalt";
  std::string preset = "none";    ///< told in every table: none | paper | recommended
  bool init_shared_a = true;      ///< init: shared | per_site
  int64_t mixer_start_round = 1;  ///< 1-based; before it the mixer is not trained and p = (0.5, 0.5)
  RestOfWorldOptions rest_of_world;
  SiteWeights fedit_weights = SiteWeights::kSamples;  ///< p_k = n_k / sum n, as published
  Deploy deploy = Deploy::kTrainedTogether;
};

/// Which sites train in a round. Exactly one of the two is used: count if > 0, else fraction.
struct ParticipationOptions {
  double fraction = 1.0;
  int64_t count = 0;
};

enum class AblationSchedule { kOff, kFinal, kEvery };

struct EvalSchedule {
  int64_t every = 5;                                      ///< rounds; the last round is always evaluated. 0: only the last
  AblationSchedule ablations = AblationSchedule::kFinal;  ///< RoW off, individual off, each alone
  EvalOptions options;
};

struct FederationOptions {
  MethodOptions method;
  AdapterConfig adapter;
  TrainOptions train;
  int64_t rounds = 20;
  std::vector<int64_t> round_steps;  ///< optimizer steps of each round; empty: train.steps or train.local_epochs in every round
  ParticipationOptions participation;
  EvalSchedule eval;
  uint64_t seed = 0;
  bool keep_optimizer = false;  ///< false: AdamW's moments restart every round, as published
  int64_t sites_at_once = 1;    ///< sites trained and evaluated at the same time, each on threads / sites_at_once cores
};

}  // namespace fedalt
