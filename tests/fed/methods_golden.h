// One federation of tests/data/methods/methods.json in float64: five sites, three modules, no model. What training would have
// made is set from the data; the rest is the method's own code, called as the rounds call it.
//
// Sums are made here, in float64, instead of on the fixed-point grid, which has tests of its own: so a method's arithmetic is held
// to 1e-9 of the largest entry, where float32 would leave 1e-6. (Both sides sum a few hundred products in float64; decompositions
// lose a few digits more than sums.)
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "fed/factors.h"
#include "fed/method.h"
#include "fed/rest_of_world.h"

namespace fedalt::testing {

using nlohmann::json;

constexpr double kTolerance = 1e-9;

inline const json& Golden() {
  static const json golden = json::parse(std::ifstream(FEDALT_TEST_DATA "/methods/methods.json"));
  return golden;
}
inline const json& Case(const std::string& name) {
  return Golden().at("cases").at(name);
}
inline const json& Input(const std::string& name) {
  return Golden().at("inputs").at(name);
}

/// In the data's order.
inline std::vector<AdaptedModule> GoldenModules() {
  std::vector<AdaptedModule> modules;
  for (const json& module : Golden().at("modules"))
    modules.push_back({module.at("name"), static_cast<int>(modules.size()), module.at("in"), module.at("out")});
  return modules;
}

inline at::Tensor Matrix(const json& values, int64_t rows) {
  return at::tensor(values.get<std::vector<double>>(), at::kDouble).view({rows, -1});
}

/// An adapter of the data per module, under the names of SiteAdapters.
inline NamedTensors Adapter(const json& adapter) {
  NamedTensors named;
  for (const AdaptedModule& module : GoldenModules()) {
    const json& factors = adapter.at(module.name);
    named.emplace_back(module.name + ".lora_B.weight", Matrix(factors.at("B"), module.out_features));
    const at::Tensor a = at::tensor(factors.at("A").get<std::vector<double>>(), at::kDouble).view({-1, module.in_features});
    named.insert(named.end() - 1, {module.name + ".lora_A.weight", a});
  }
  return named;
}

/// The same with another A or B.
inline NamedTensors With(NamedTensors adapter, const json& factor, bool is_a) {
  const std::vector<AdaptedModule> modules = GoldenModules();
  for (size_t i = 0; i < modules.size(); ++i)
    adapter[2 * i + (is_a ? 0 : 1)].second =
        at::tensor(factor.at(modules[i].name).get<std::vector<double>>(), at::kDouble)
            .view(is_a ? at::IntArrayRef{-1, modules[i].in_features} : at::IntArrayRef{modules[i].out_features, -1});
  return adapter;
}

inline void ExpectNear(const at::Tensor& got, const at::Tensor& want, const std::string& what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  EXPECT_EQ(got.scalar_type(), at::kDouble) << what << ": rounded on the way";
  EXPECT_LE((got - want).abs().max().item<double>(), kTolerance * want.abs().max().item<double>()) << what;
}

inline void ExpectNear(const NamedTensors& got, const NamedTensors& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].first, want[i].first) << what;
    ExpectNear(got[i].second, want[i].second, what + " " + got[i].first);
  }
}

/// B A of each module against (out, in) matrices of the data.
inline void ExpectProducts(const NamedTensors& adapter, const json& want, const std::string& what) {
  const std::vector<AdaptedModule> modules = GoldenModules();
  for (size_t i = 0; i < modules.size(); ++i)
    ExpectNear(at::mm(adapter[2 * i + 1].second, adapter[2 * i].second), Matrix(want.at(modules[i].name), modules[i].out_features),
               what + " " + modules[i].name);
}

/// What was folded into the base.
inline void ExpectFolds(const Site& site, const json& want, double factor, const std::string& what) {
  const std::vector<AdaptedModule> modules = GoldenModules();
  const NamedTensors folds = site.adapters.Folds();
  ASSERT_EQ(folds.size(), modules.size()) << what;
  for (size_t i = 0; i < folds.size(); ++i)
    ExpectNear(folds[i].second, Matrix(want.at(modules[i].name), modules[i].out_features) * factor, what + " " + folds[i].first);
}

/// Sites in float64 that a method works on.
class GoldenFederation {
 public:
  explicit GoldenFederation(MethodOptions options) : GoldenFederation(std::move(options), AdapterConfig{}) {}
  GoldenFederation(MethodOptions options, AdapterConfig adapter) {
    method_ = *MakeMethod(options);
    const double scale = Golden().at("scale");
    rank_ = options.site_ranks.empty() ? Golden().at("rank").get<int64_t>() : LargestRank(options, adapter);
    const std::vector<int64_t> samples = Golden().at("samples");
    for (size_t k = 0; k < samples.size(); ++k) {
      AdapterConfig mine = adapter;
      mine.r = options.site_ranks.empty() ? rank_ : options.site_ranks[k];
      mine.lora_alpha = scale * static_cast<double>(mine.r);
      method_->Configure(mine);
      const auto index = static_cast<int64_t>(k);
      sites_.push_back(std::make_unique<Site>(index, SiteInfo{absl::StrCat("site-", k), samples[k]}, GoldenModules(), mine,
                                              at::kCPU, at::kDouble));
      sites_.back()->start = {7, static_cast<uint64_t>(k), method_->init_shared_a()};
      sites_.back()->adapters.Initialize(sites_.back()->start);
      EXPECT_TRUE(method_->Start(*sites_.back()).ok());
    }
  }

  Method& method() { return *method_; }
  Site& site(size_t k) { return *sites_[k]; }
  size_t size() const { return sites_.size(); }

  void StartFrom(const json& adapter) {
    for (auto& site : sites_) ASSERT_TRUE(site->adapters.SetIndividual(Adapter(adapter)).ok());
  }

  /// Site k's passes of `round`; the first one trains what it trains to `trained`. Then it sends.
  void TrainAndSend(int64_t round, size_t k, const NamedTensors& trained) {
    Site& site = *sites_[k];
    method_->BeginRound(round, site);
    for (int64_t pass = 0; pass < method_->passes(round); ++pass) {
      TrainOptions train;
      train.steps = 4;
      method_->PreparePass(round, pass, site, train);
      if (pass == 0) {
        ASSERT_TRUE(site.adapters.SetIndividual(trained).ok());
      }
      method_->FinishPass(round, pass, site);
    }
    site.sent = {method_->Contribution(round, site), method_->Weight(site.info.train_examples)};
    EXPECT_EQ(site.sent.values.scalar_type(), at::kDouble);
    participants_.push_back(k);
  }
  /// The same for all sites.
  void TrainAndSendAll(int64_t round, const json& adapters) {
    for (size_t k = 0; k < sites_.size(); ++k) TrainAndSend(round, k, Adapter(adapters.at(k)));
  }

  /// The uploads of those that sent since the last exchange and, where the method keeps them, of the absent.
  RoundUploads Uploads(int64_t round) const {
    RoundUploads uploads{{}, GoldenModules(), rank_};
    for (const auto& site : sites_) {
      const bool sent = std::find(participants_.begin(), participants_.end(), site->index) != participants_.end();
      if (sent || (method_->ledger_policy() == LedgerPolicy::kKeepAbsent && site->sent.values.defined()))
        uploads.uploads.push_back({round, site->index, site->sent.weight, site->sent.values});
    }
    return uploads;
  }

  /// The exchange, received by every site. What everybody received is `published()`.
  void Exchange(int64_t round) {
    RoundUploads uploads = Uploads(round);
    published_ = {};
    published_.round = round;
    published_.contributors = static_cast<int64_t>(uploads.uploads.size());
    published_.values = at::zeros_like(uploads.uploads.front().values);
    for (const Upload& upload : uploads.uploads) {
      published_.total_weight += upload.weight;
      if (method_->needs() == TransportNeed::kSum) published_.values.add_(upload.values, upload.weight);
    }
    const bool sums = method_->needs() == TransportNeed::kSum, one = method_->needs() == TransportNeed::kIndividualUploads;
    const auto aggregate = sums ? nullptr : method_->Aggregator(std::move(uploads));
    if (one) published_.values = aggregate(Method::kEverySite);
    for (auto& site : sites_) {
      if (!sums && !one) published_.values = aggregate(site->index);
      const Status status = method_->Receive(published_, *site);
      EXPECT_TRUE(status.ok()) << status;
    }
    participants_.clear();
  }
  const Published& published() const { return published_; }

 private:
  std::unique_ptr<Method> method_;
  int64_t rank_ = 0;
  std::vector<std::unique_ptr<Site>> sites_;
  std::vector<size_t> participants_;
  Published published_;
};

inline MethodOptions Named(const std::string& name) {
  MethodOptions options;
  options.name = name;
  return options;
}

/// W0 x and the term of layer i, for the data's x.
inline at::Tensor Output(Site& site, size_t i) {
  const AdaptedModule& module = site.adapters.modules()[i];
  const at::Tensor x_1i = Matrix(Input("x").at(module.name), 1);
  at::Tensor y_1o = at::mm(x_1i, Matrix(Input("base").at(module.name), module.out_features).t());
  site.adapters.layer(i).Add(x_1i, y_1o, {}, /*differentiable=*/false);
  return y_1o;
}

}  // namespace fedalt::testing
