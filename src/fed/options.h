// The choices of a federation: method, rounds, participation, evaluation. One struct per concern, a default per field.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "adapter/adapter_config.h"
#include "train/eval_options.h"
#include "train/train_options.h"

namespace fedalt {

/// How sites count in a sum. kSimilarity and kKindred (fedalt only): by the cosine between the flattened B of reader and
/// contributor, as a mean, or as a sum in which the most similar one counts in full.
enum class SiteWeights { kUniform, kSamples, kSimilarity, kKindred };

/// What the rest of world is made of (algorithm, section 3).
enum class RestOfWorldAggregate {
  kFactors,  ///< the mean of A and the mean of B, as published
  kSvd,      ///< the best rank-r approximation of the mean product
  kExact,    ///< the mean product itself, of rank r times the others (an ablation)
  kOff,      ///< nothing is read (an ablation)
};

/// How fedalt renews the rest-of-world adapter (its gain stands in AdapterConfig, because the layer applies it).
struct RestOfWorldOptions {
  int64_t every = 1;  ///< renewed after every so many rounds; nothing is sent in the others
  SiteWeights weights = SiteWeights::kUniform;
  RestOfWorldAggregate aggregate = RestOfWorldAggregate::kFactors;
  bool rescale = false;       ///< per module to the median norm of the single products
  bool include_self = false;  ///< the site's own contribution is read, too (an ablation)
  double damping = 1.0;       ///< b in (0, 1]: RoW <- b new + (1 - b) old
  /// lambda in (0, 1]: what an absent site sent `age` rounds ago counts lambda^age times its weight (not under a secure sum, where
  /// nobody can weigh a single contribution anew).
  double staleness = 1.0;
  /// A site keeps what it has if the renewed one makes its validation loss greater by more than this; below 0: it takes all.
  double guard = -1.0;
};

/// The server's optimizer of fedit and fedit_ft (Hsu et al. 2019): v <- momentum v + (theta - mean), theta <- theta - lr v.
struct ServerOptimizer {
  double lr = 1.0;
  double momentum = 0.0;
  bool is_plain_mean() const { return lr == 1.0 && momentum == 0.0; }
};

/// feddpa: how much the local adapter weighs against the global one.
struct FeddpaOptions {
  bool instance_wise = false;  ///< by the similarity of each input to samples of the site's training data
  double weight = 0.5;         ///< of the local adapter; instance-wise it multiplies the similarity
  int64_t samples = 5;
};

/// fdlora: outer optimizer on the global adapter, synchronisation of the personal one, fusion.
struct FdloraOptions {
  int64_t sync_every = 5;  ///< rounds; H of the paper
  double outer_lr = 0.7, outer_momentum = 0.9;
  int64_t shots = 16;     ///< training examples that choose the fusion's weights
  double penalty = 0.05;  ///< lambda of the penalty on the fusion's weights
};

/// Which of the two models of the last round a site uses.
enum class Deploy {
  kTrainedTogether,  ///< before the last swap: the triple that was trained together
  kSwapped,          ///< after the last swap
  kValidation,       ///< per site the better of the two on its validation loss; trained together if there is no validation data
};

struct MethodOptions {
  std::string name = "fedalt";
  std::string preset = "none";    ///< told in every table: none | paper | recommended | recommended_sum
  bool init_shared_a = true;      ///< init: shared | per_site
  int64_t mixer_start_round = 1;  ///< 1-based; before it the mixer is not trained and p = (0.5, 0.5)
  bool mixer_held_out = false;    ///< mixer_train: the mixer alone learns, on examples that the individual adapter does not see
  double held_out_share = 0.1;    ///< of the training examples and of the steps
  RestOfWorldOptions rest_of_world;
  SiteWeights average_weights = SiteWeights::kSamples;  ///< of every averaging baseline: p_k = n_k / sum n, as published
  ServerOptimizer server;
  FeddpaOptions feddpa;
  FdloraOptions fdlora;
  std::vector<int64_t> site_ranks;  ///< r of each site, for methods that allow different ones; empty: all have adapter.r
  Deploy deploy = Deploy::kTrainedTogether;
};

/// Which sites train in a round. Exactly one of the two is used: count if > 0, else fraction.
struct ParticipationOptions {
  double fraction = 1.0;
  int64_t count = 0;
};

/// The largest rank of the federation.
int64_t LargestRank(const MethodOptions& method, const AdapterConfig& adapter);

enum class AblationSchedule { kOff, kFinal, kEvery };

struct EvalSchedule {
  int64_t every = 5;                                      ///< rounds; the last round is always evaluated. 0: only the last
  AblationSchedule ablations = AblationSchedule::kFinal;  ///< RoW off, individual off, each alone
  int64_t cross_examples = 32;  ///< test examples of each site on which every site's final model is tried; 0: none
  EvalOptions options;
};

/// How contributions travel (fed/upload_format.h).
enum class UploadFormat { kFloat32, kBFloat16, kInt8 };

struct FederationOptions {
  MethodOptions method;
  AdapterConfig adapter;
  TrainOptions train;
  int64_t rounds = 20;
  std::vector<int64_t> round_steps;  ///< optimizer steps of each round; empty: train.steps or train.local_epochs in every round
  ParticipationOptions participation;
  UploadFormat upload = UploadFormat::kFloat32;
  double max_norm = 0.0;  ///< fed/server_round.h; 0: off
  EvalSchedule eval;
  uint64_t seed = 0;
  bool keep_optimizer = false;  ///< false: AdamW's moments restart every round, as published
  int64_t sites_at_once = 1;    ///< sites trained and evaluated at the same time, each on threads / sites_at_once cores
};

}  // namespace fedalt
