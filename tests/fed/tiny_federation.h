// A federation small enough for tests: a tiny Llama that transformers wrote, and sites whose token sequences follow site-specific
// rules.
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "fed/federation.h"
#include "fed/flat.h"
#include "fed/local_transport.h"
#include "fed/round_journal.h"

namespace fedalt::testing {

inline std::shared_ptr<const Transformer> TinyModel() {
  auto model = Transformer::Load(FEDALT_TEST_DATA "/model/llama", {});
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *model : nullptr;
}

/// Site k answers token t with t + k + 1: learnable, and different at every site.
inline SiteData TinySite(int64_t k, int64_t examples, int64_t vocab) {
  SiteData site;
  site.name = absl::StrCat("site-", k);
  const RandomStream stream(99, RandomPurpose::kData, {static_cast<uint64_t>(k)});
  for (int64_t i = 0; i < examples; ++i) {
    TokenizedExample example;
    example.id = i;
    const int64_t length = 3 + static_cast<int64_t>(stream.Below(static_cast<uint64_t>(i) * 100, 5));
    for (int64_t t = 0; t < length; ++t)
      example.tokens.push_back(
          static_cast<int32_t>(3 + stream.Below(static_cast<uint64_t>(i * 100 + 1 + t), static_cast<uint64_t>(vocab - 20))));
    example.response_begin = static_cast<int32_t>(example.tokens.size());
    example.tokens.push_back(example.tokens[0] + static_cast<int32_t>(k) + 1);
    example.tokens.push_back(2);
    site.train.push_back(example);
    if (i % 4 == 0) {
      site.validation.push_back(example);
      site.test.tokenized.push_back(example);
      site.test.examples.push_back({i, "", "", "", ""});
      site.test.prompts.emplace_back(example.tokens.begin(), example.tokens.begin() + example.response_begin);
    }
  }
  return site;
}

/// Gives out copies of sites in memory.
class TinySource : public SiteSource {
 public:
  explicit TinySource(std::vector<SiteData> sites) : sites_(std::move(sites)) {
    for (const SiteData& site : sites_) infos_.push_back({site.name, static_cast<int64_t>(site.train.size())});
  }
  const std::vector<SiteInfo>& sites() const override { return infos_; }
  StatusOr<std::shared_ptr<const SiteData>> Load(size_t site) const override { return std::make_shared<SiteData>(sites_[site]); }

 private:
  std::vector<SiteData> sites_;
  std::vector<SiteInfo> infos_;
};

inline std::unique_ptr<TinySource> TinySites(int64_t count, const Transformer& model) {
  std::vector<SiteData> sites;
  for (int64_t k = 0; k < count; ++k) sites.push_back(TinySite(k, 12 + 4 * k, model.config().vocab_size));
  return std::make_unique<TinySource>(std::move(sites));
}

inline FederationOptions TinyOptions(const std::string& method) {
  FederationOptions options;
  options.method.name = method;
  options.adapter.r = 2;
  options.adapter.lora_alpha = 8;
  options.rounds = 3;
  options.train.steps = 3;
  options.train.batch_size = 4;
  options.train.lr = 1e-2;
  options.eval.every = 0;
  options.eval.options.generate_answers = false;
  options.seed = 5;
  return options;
}

/// All tensors of a site, by name, as bytes: for comparisons bit by bit.
inline std::map<std::string, std::string> BytesOf(const Site& site) {
  std::map<std::string, std::string> bytes;
  const auto add = [&bytes](const std::string& prefix, const NamedTensors& tensors) {
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor flat = tensor.detach().contiguous();
      bytes[prefix + name] = std::string(static_cast<const char*>(flat.data_ptr()), flat.nbytes());
    }
  };
  add("individual ", site.adapters.Individual());
  add("rest_of_world ", site.adapters.RestOfWorld());
  add("mixer ", site.adapters.Mixer());
  if (site.train_state.step > 0) add("optimizer ", NamedTrainState(site.adapters, site.train_state));
  add("fold ", site.adapters.Folds());
  add("method ", site.method_state);
  if (site.sent.values.defined()) add("", {{"sent", site.sent.values}});
  return bytes;
}

/// Keeps everything in memory, for looking at afterwards.
class MemoryJournal : public RoundJournal {
 public:
  StatusOr<JournalPosition> Recover() override { return position; }
  Status LoadSite(int64_t round, Site& site) override {
    std::lock_guard<std::mutex> lock(*mutex_);
    const auto found = states_.find({round, site.index});
    if (found == states_.end()) return OutputError("this site was not saved");
    const State& state = found->second;
    RETURN_IF_ERROR(site.adapters.SetIndividual(state.individual));
    RETURN_IF_ERROR(site.adapters.SetRestOfWorld(rest_of_world.at({round, site.index})));
    RETURN_IF_ERROR(site.adapters.SetMixer(state.mixer));
    site.train_state = TrainState{};
    if (!state.optimizer.empty()) {
      ASSIGN_OR_RETURN(site.train_state, TrainStateFromNamed(state.optimizer));
    }
    RETURN_IF_ERROR(site.adapters.SetFolds(state.folds));
    site.method_state = Copy(state.method);
    site.sent = {};
    if (!sent.at({round, site.index}).empty()) site.sent = {Flat(sent.at({round, site.index})), state.weight, state.sent_round};
    site.read_round = state.read_round;
    site.refused_round = state.refused_round;
    return absl::OkStatus();
  }
  StatusOr<LedgerEntry> LoadSent(int64_t round, const std::string& site) override {
    std::lock_guard<std::mutex> lock(*mutex_);
    for (const auto& [key, state] : states_)
      if (key.first == round && state.name == site)
        return sent.at(key).empty() ? LedgerEntry{} : LedgerEntry{Flat(sent.at(key)), state.weight, state.sent_round};
    return absl::InternalError("this site was not saved");
  }
  StatusOr<std::optional<Published>> LoadPublished(int64_t round, const std::string& site) override {
    std::lock_guard<std::mutex> lock(*mutex_);
    const auto found = received.find({round, site});
    if (found != received.end()) return std::optional<Published>(found->second);
    const auto sum = sums.find(round);
    return sum == sums.end() ? std::optional<Published>() : std::optional<Published>(sum->second);
  }
  Status SaveSite(int64_t round, const Site& site, const TrainReport* report) override {
    std::lock_guard<std::mutex> lock(*mutex_);
    const Key key{round, site.index};
    sites[key] = BytesOf(site);
    sent[key] = site.sent.values.defined() ? Numbers(site.sent.values) : std::vector<float>{};
    trained[key] = report != nullptr;
    rest_of_world[key] = Copy(site.adapters.RestOfWorld());
    states_[key] = {site.info.name,
                    Copy(site.adapters.Individual()),
                    Copy(site.adapters.Mixer()),
                    site.train_state.step > 0 ? Copy(NamedTrainState(site.adapters, site.train_state)) : NamedTensors{},
                    site.sent.weight,
                    Copy(site.adapters.Folds()),
                    Copy(site.method_state),
                    site.sent.round,
                    site.read_round,
                    site.refused_round};
    return absl::OkStatus();
  }
  Status SavePublished(const Published& published, const std::optional<std::string>& site) override {
    if (site)
      received[{published.round, *site}] = published;
    else
      sums[published.round] = published;
    return absl::OkStatus();
  }
  Status CloseRound(const RoundResult& result, bool is_best) override {
    results[result.round] = result;
    if (is_best) best_round = result.round;
    return absl::OkStatus();
  }

  using Key = std::pair<int64_t, int64_t>;  // round, site
  void Forget(int64_t round, int64_t site) { states_.erase({round, site}); }
  std::map<Key, std::map<std::string, std::string>> sites;
  std::map<Key, std::vector<float>> sent;
  std::map<Key, bool> trained;
  std::map<Key, NamedTensors> rest_of_world;
  std::map<int64_t, Published> sums;                              // of rounds that publish to everybody
  std::map<std::pair<int64_t, std::string>, Published> received;  // of the others, by round and site
  std::map<int64_t, RoundResult> results;
  int64_t best_round = 0;
  JournalPosition position;  ///< what Recover says

 private:
  struct State {
    std::string name;
    NamedTensors individual, mixer, optimizer;
    double weight = 0.0;
    NamedTensors folds, method;
    int64_t sent_round = 0, read_round = 0, refused_round = 0;
  };
  static NamedTensors Copy(const NamedTensors& tensors) {
    NamedTensors copies;
    for (const auto& [name, tensor] : tensors) copies.emplace_back(name, tensor.detach().clone());
    return copies;
  }
  std::shared_ptr<std::mutex> mutex_ = std::make_shared<std::mutex>();  // shared, so that a journal can be returned
  std::map<Key, State> states_;
};

inline StatusOr<RunSummary> RunTiny(const Transformer& model, const SiteSource& sites, const FederationOptions& options,
                                    RoundJournal& journal) {
  const auto method = MakeMethod(options.method);
  if (!method.ok()) return method.status();
  LocalTransport transport((*method)->ledger_policy(), (*method)->needs());
  return RunFederation({&model, nullptr, &sites, nullptr}, options, transport, journal, {});
}

/// Three such sites, on one thread.
class TinyFederationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    model_ = TinyModel();
    ASSERT_NE(model_, nullptr);
    sites_ = TinySites(3, *model_);
  }

  std::shared_ptr<const Transformer> model_;
  std::unique_ptr<TinySource> sites_;
};

}  // namespace fedalt::testing
