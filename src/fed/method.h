// The interface of every federated method. A method is a set of rules without state of its own: what a site trains, what it sends,
// and what it does with what comes back. All state is in Site, so a method works the same on one machine, on a cluster and across
// organisations.
//
// A round calls, for every site: BeginRound; for each participating site: PreparePass, (training) and FinishPass for each of its
// passes, FinishTraining, Contribution; at the server, for methods that need more than a sum: Aggregator; for every site: Receive.
// PrepareUse makes a copy of a site into the model that it uses. To add a method: one new file with the class, and one line in
// method.cc.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fed/method_names.h"
#include "fed/options.h"
#include "fed/site.h"
#include "fed/transport.h"

namespace fedalt {

/// The uploads of a round as a method's part at the server sees them: ascending by the sites' names, never empty.
struct RoundUploads {
  std::vector<Upload> uploads;
  std::vector<AdaptedModule> modules;
  int64_t r = 0;  ///< the largest rank of the federation
};

class Method {
 public:
  explicit Method(const MethodOptions& options) : options_(options) {}
  virtual ~Method() = default;

  const std::string& name() const { return options_.name; }
  const MethodOptions& options() const { return options_; }

  // What kind of method it is.
  virtual TransportNeed needs() const = 0;
  virtual LedgerPolicy ledger_policy() const { return LedgerPolicy::kCohortOnly; }
  /// False: only evaluated (base).
  virtual bool trains() const { return true; }
  /// True: one model is trained on the data of all sites together (pooled).
  virtual bool pools_data() const { return false; }
  /// True: a site has a second adapter, in the place of the rest of world. If the layers combine the two, ablations make sense.
  virtual bool has_rest_of_world() const { return false; }
  /// Whether sites may have adapters of different ranks.
  virtual bool allows_ranks() const { return false; }
  /// Whether contributions are sent and something is published in this round (1-based) of `rounds`.
  virtual bool ExchangesIn(int64_t round, int64_t rounds) const;
  /// Which model a site uses at the end of a round in which there was an exchange.
  virtual Deploy deploy() const { return Deploy::kTrainedTogether; }
  /// Where every site starts: the same A, or its own.
  virtual bool init_shared_a() const { return true; }
  /// How the layers combine the branches under this method (outside of ablations).
  virtual BranchMode branches() const { return BranchMode::kIndividualAlone; }
  /// What the method asks of the layers beyond the configuration; by default neither a mixer nor a gain.
  virtual void Configure(AdapterConfig& adapter) const;
  /// What it keeps at a site beside the adapters, for the plan of memory.
  struct Kept {
    bool folds = false;         ///< a matrix of the size of every adapted linear
    int64_t adapter_sizes = 0;  ///< vectors of the size of an adapter in Site::method_state
  };
  virtual Kept kept() const { return {}; }
  /// Whether it can do with these options. Errors: kConfig.
  virtual Status Check(const FederationOptions& options) const;

  // At a site.
  /// After its adapters were drawn.
  virtual Status Start(Site&) const { return absl::OkStatus(); }
  /// Sets the layers' mode for this round (1-based), for training and evaluation alike.
  virtual void BeginRound(int64_t round, Site& site) const;
  /// Stretches of training in a round; together they take the steps that every method takes.
  virtual int64_t passes(int64_t) const { return 1; }
  /// Before a pass (0-based): what it trains. With several passes train.steps holds the steps of the whole round, and the method
  /// gives this pass its part.
  virtual void PreparePass(int64_t round, int64_t pass, Site& site, TrainOptions& train) const;
  /// The examples of a pass; empty: all.
  virtual std::optional<std::vector<TokenizedExample>> ExamplesOf(int64_t, int64_t, const std::vector<TokenizedExample>&) const {
    return std::nullopt;
  }
  virtual void FinishPass(int64_t, int64_t, Site&) const {}
  /// After the last pass: what the method learns from the site's data beside its adapters.
  virtual Status FinishTraining(int64_t, const Transformer&, const SiteData&, Site&) const { return absl::OkStatus(); }
  /// w_k in the sum of a site with so many training examples: by default p_k = n_k / sum n, or uniform, as
  /// options().average_weights says. The server computes it, too.
  virtual double Weight(int64_t train_examples) const;
  /// theta_k: what the site sends, flat, in the adapters' dtype. Precondition: needs() is not kNothing.
  virtual at::Tensor Contribution(int64_t round, const Site& site) const;
  /// Whether Receive can take so many values: a server elsewhere may publish anything. By default as many as the site sends.
  virtual bool Fits(const Published& published, const Site& site) const;
  /// What the site does with what the round published. Precondition: Fits.
  virtual Status Receive(const Published& published, Site& site) const;
  /// Turns a site as it is saved into the model that it uses. Called once on a copy that is not saved again.
  virtual Status PrepareUse(Site&) const { return absl::OkStatus(); }
  /// Weight of the individual adapter (MixerKind::kFixed) for each prompt by itself; empty: the layers' own.
  virtual StatusOr<std::vector<double>> InstanceWeights(const Transformer&, const std::vector<std::vector<int32_t>>&, Site&) const {
    return std::vector<double>{};
  }

  // At the server.
  /// What computes that which is published, flat in the uploads' dtype: to everybody (kIndividualUploads, `reader` is kEverySite),
  /// or to the site `reader` (kPerSiteDownloads).
  virtual std::function<at::Tensor(int64_t reader)> Aggregator(const RoundUploads& round) const;
  static constexpr int64_t kEverySite = -1;

 protected:
  MethodOptions options_;
};

/// Errors: kConfig (unknown name: lists those that work).
StatusOr<std::unique_ptr<Method>> MakeMethod(const MethodOptions& options);

/// Whether the method can do with the options: before anything is loaded. Errors: kConfig.
Status CheckMethod(const FederationOptions& options);

/// Tensors end to end, on the CPU, in their order and dtype.
at::Tensor Flatten(const NamedTensors& tensors);
/// The inverse, into tensors of the same names, shapes and devices as `like`. Precondition: the lengths agree.
NamedTensors Unflatten(const at::Tensor& values, const NamedTensors& like);

/// values / divisor, computed in float64.
at::Tensor Divided(const at::Tensor& values, double divisor);

}  // namespace fedalt
