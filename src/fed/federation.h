// The whole federation: rounds over sites, through a Transport and a RoundJournal, so the same code runs on one machine, a cluster
// or across organisations. Read fedalt.h first for the method itself.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
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
  int64_t reads_round = 0;                ///< whose publication it reads after the exchange; 0: there was none
  std::string refused;                    ///< why it did not take in this round's publication; empty: it did, or there was none
  std::map<std::string, SiteScores>
      ablations;  ///< of the deployed model: rest_of_world_off, individual_off, individual_alone, rest_of_world_alone, base
  double mean_individual_weight = 1.0;                    ///< mean p_I over the site's test tokens (1 where there is no mixer)
  std::vector<std::pair<std::string, double>> mixer;      ///< the same per adapted linear; empty where there is no mixer
  std::vector<std::pair<std::string, double>> influence;  ///< share of each other site in what this one reads; empty: not computed
};

struct RoundResult {
  int64_t round = 0;
  bool evaluated = false;
  bool joined = false;  ///< no round of its own: the sites here take part after it
  std::vector<SiteRoundResult> sites;
  double mean_validation_loss = 0.0;  ///< of the deployed models, if `evaluated` and there is validation data
  double seconds = 0.0;
};

/// What `fedalt run --format json` prints, and the end of the log.
struct RunSummary {
  std::string method;
  std::string preset;
  int64_t rounds = 0;
  int64_t best_round = 0;              ///< by mean validation loss; 0 if there is no validation data
  std::vector<SiteRoundResult> sites;  ///< of the last round
  double seconds = 0.0;
  double train_seconds = 0.0;
};

/// The outside of a federation: asked and told while it runs. Any may be empty. Calls are serialised.
struct FederationHooks {
  std::function<bool()> should_stop;  ///< true: stop at the next safe point (kInterrupted)
  /// Optimizer steps done and in all, over the whole run, and what is going on.
  std::function<void(int64_t done, int64_t total, const std::string& note)> on_progress;
};

/// What a federation works on; everything is borrowed and must outlive the call.
struct FederationInputs {
  const Transformer* model = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const SiteSource* sites = nullptr;
  /// Starting individual adapter of a site, by its place in `sites` (empty: drawn). From any thread.
  std::function<StatusOr<NamedTensors>(size_t site)> initial_individual;
  /// Names of all sites of the federation, some of which are elsewhere; empty: all of them are here.
  std::vector<std::string> all_sites = {};
  /// What rounds after this one publish is not read; what was read of them is taken back (fed/reading.h).
  std::optional<int64_t> pinned_round = std::nullopt;
};

class RoundJournal;

/// Runs, or goes on with, the federation that `journal` knows about, to its end. Errors: those of training and evaluation (with
/// round and site), of the journal (kOutput), kConfig (the transport does not offer what the method needs), kInterrupted.
StatusOr<RunSummary> RunFederation(const FederationInputs& inputs, const FederationOptions& options, Transport& transport,
                                   RoundJournal& journal, const FederationHooks& hooks);

/// A site as it starts: adapters drawn, nothing sent. `index`: its place among those here.
StatusOr<std::unique_ptr<Site>> MakeSite(const FederationInputs& inputs, const FederationOptions& options, const Method& method,
                                         int64_t index, const SiteInfo& info);

}  // namespace fedalt
