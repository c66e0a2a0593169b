// The interface of every federated method. A method is a set of rules without state of its own: what a site trains, what it sends,
// and what it does with the sum. All state is in Site, so a method works the same on one machine, on a cluster and across
// organisations.
//
// A round calls, for every site: BeginRound; for each participating site: PrepareTraining, (training), Contribution; for every
// site: Receive. To add a method: one new file with the class, and one line in method.cc.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fed/method_names.h"
#include "fed/options.h"
#include "fed/site.h"
#include "fed/transport.h"

namespace fedalt {

class Method {
 public:
  explicit Method(const MethodOptions& options) : options_(options) {}
  virtual ~Method() = default;

  const std::string& name() const { return options_.name; }
  const MethodOptions& options() const { return options_; }

  virtual TransportNeed needs() const = 0;
  virtual LedgerPolicy ledger_policy() const { return LedgerPolicy::kCohortOnly; }
  /// False: only evaluated (base).
  virtual bool trains() const { return true; }
  /// True: one model is trained on the data of all sites together (pooled).
  virtual bool pools_data() const { return false; }
  /// True: a site reads the others through a rest-of-world adapter, so the ablations of it make sense.
  virtual bool has_rest_of_world() const { return false; }
  /// Whether uploads are sent and the sum is published in this round (1-based) of `rounds`.
  virtual bool ExchangesIn(int64_t round, int64_t rounds) const;
  /// Which model a site uses at the end of a round in which there was an exchange.
  virtual Deploy deploy() const { return Deploy::kTrainedTogether; }
  /// Where every site starts: the same A, or its own.
  virtual bool init_shared_a() const { return true; }
  /// How the layers combine the branches under this method (outside of ablations).
  virtual BranchMode branches() const { return BranchMode::kIndividualAlone; }

  /// Sets the layers' mode of a site for this round (1-based), for training and evaluation alike.
  virtual void BeginRound(int64_t round, Site& site) const;
  /// Sets what is trained in this round.
  virtual void PrepareTraining(int64_t round, TrainOptions& train) const;
  /// w_k of this site in the sum.
  virtual double Weight(const Site& site) const;
  /// theta_k: what the site sends, flat. Precondition: needs() is not kNothing.
  virtual std::vector<float> Contribution(const Site& site) const;
  /// What the site does with the published sum.
  virtual Status Receive(const PublishedSum& sum, Site& site) const;

 protected:
  MethodOptions options_;
};

/// Errors: kConfig (unknown name: lists those that work).
StatusOr<std::unique_ptr<Method>> MakeMethod(const MethodOptions& options);

/// Tensors end to end, float32, in their order.
std::vector<float> Flatten(const NamedTensors& tensors);
/// The inverse, into tensors of the same names and shapes as `like`. Precondition: the lengths agree.
NamedTensors Unflatten(std::span<const float> values, const NamedTensors& like);

}  // namespace fedalt
