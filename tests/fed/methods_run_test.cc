// Every method through whole rounds on the tiny federation: it runs, takes its share of the steps, sends what its rule says, and
// leaves alone what it must not move. Its arithmetic is in methods_golden_test and fedalt_golden_test.

#include <algorithm>
#include <cmath>

#include "fed/all_ways.h"
#include "fed/fedalt.h"
#include "fed/site_training.h"
#include "fed/tiny_federation.h"

namespace fedalt {
namespace {

using testing::AllWays;
using testing::Flat;
using testing::MemoryJournal;
using testing::Numbers;
using testing::RowOf;
using testing::RunTiny;
using testing::TinyOptions;
using testing::With;

constexpr int64_t kSites = 3, kRounds = 3, kSteps = 3;

class MethodsRun : public testing::TinyFederationTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(TinyFederationTest::SetUp());
    const auto modules = FindAdaptedModules(*model_, TinyOptions("fedalt").adapter);
    ASSERT_TRUE(modules.ok());
    for (const AdaptedModule& module : *modules) {
      a_ += module.in_features;
      b_ += module.out_features;
    }
  }

  MemoryJournal Run(FederationOptions options, const std::string& what) {
    options.eval.every = 1;
    MemoryJournal journal;
    const auto summary = RunTiny(*model_, *sites_, options, journal);
    EXPECT_TRUE(summary.ok()) << what << ": " << summary.status();
    return journal;
  }

  /// Values that a site of rank r sends in `round`, and receives.
  std::pair<int64_t, int64_t> Traffic(const FederationOptions& options, int64_t round, int64_t r) const {
    const std::string& name = options.method.name;
    const RestOfWorldOptions& row = options.method.rest_of_world;
    const int64_t all = a_ + b_;
    if (name == "base" || name == "local" || name == "pooled" || (name == "fedit_ft" && round == kRounds)) return {0, 0};
    if (name == "ffa") return {r * b_, r * b_};
    if (name == "fedsa") return {r * a_, r * a_};
    if (name == "rolora") return round % 2 == 1 ? std::pair{r * b_, r * b_} : std::pair{r * a_, r * a_};
    if (name == "flora") return {r * all, kSites * r * all};        // the stack
    if (name == "fedex") return {r * all, (kSites + 1) * r * all};  // the mean, and the stack
    if (name != "fedalt") return {r * all, r * all};
    if (row.aggregate == RestOfWorldAggregate::kOff) return {0, 0};
    if (row.aggregate == RestOfWorldAggregate::kExact) return {r * all, (kSites - 1) * r * all};
    return options.adapter.freeze_a ? std::pair{r * b_, r * b_} : std::pair{r * all, r * all};
  }

  /// Tensors of a site in a round whose name has `prefix` and contains `part`.
  static std::string Bytes(const MemoryJournal& journal, int64_t round, int64_t k, const std::string& prefix,
                           const std::string& part) {
    std::string all;
    for (const auto& [name, bytes] : journal.sites.at({round, k}))
      if (name.starts_with(prefix) && name.find(part) != name.npos) all += bytes;
    EXPECT_FALSE(all.empty()) << prefix << part;
    return all;
  }

  int64_t a_ = 0, b_ = 0;  // values of all A, or B, at rank 1
};

TEST_F(MethodsRun, EveryMethodTakesTheSameStepsAndSendsWhatItsRuleSays) {
  const MemoryJournal untrained = Run(TinyOptions("base"), "base");
  for (const auto& [what, options] : AllWays()) {
    SCOPED_TRACE(what);
    const MemoryJournal journal = Run(options, what);
    const bool base = options.method.name == "base", pooled = options.method.name == "pooled";
    ASSERT_EQ(journal.results.size(), base ? 1u : static_cast<size_t>(kRounds));
    for (const auto& [round, result] : journal.results)
      for (const SiteRoundResult& site : result.sites) {
        EXPECT_EQ(site.train.steps, base ? 0 : (pooled ? kSites * kSteps : kSteps));
        EXPECT_EQ(static_cast<int64_t>(site.train.step_losses.size()), site.train.steps);
        for (const double loss : site.train.step_losses) EXPECT_TRUE(std::isfinite(loss));
        const auto [up, down] = Traffic(options, round, options.adapter.r);
        EXPECT_EQ(site.bytes_up, 4 * up);
        EXPECT_EQ(site.bytes_down, 4 * down);
        ASSERT_TRUE(site.before_swap.has_value());
        EXPECT_EQ(site.after_swap.has_value(), down > 0);
        for (const auto& scores : {site.before_swap, site.after_swap}) {
          if (!scores) continue;
          EXPECT_TRUE(std::isfinite(scores->test.all.loss));
          EXPECT_TRUE(std::isfinite(*scores->validation_loss));
        }
        for (const auto& [name, scores] : site.ablations) EXPECT_TRUE(std::isfinite(scores.test.all.loss)) << name;
        const bool both = options.method.name == "fedalt" || options.method.name == "feddpa";
        EXPECT_EQ(site.ablations.size(), both && round == kRounds ? 5u : 0u);
      }
    if (base) continue;
    // It learns: whatever a site uses at the end is better than what it began with.
    for (size_t k = 0; k < kSites; ++k) {
      const SiteRoundResult& last = journal.results.at(kRounds).sites[k];
      const auto& scores = last.deployed == "after_swap" ? last.after_swap : last.before_swap;
      EXPECT_LT(scores->test.all.loss, untrained.results.at(1).sites[k].before_swap->test.all.loss) << k;
    }
  }
}

TEST_F(MethodsRun, SitesMayHaveRanksOfTheirOwn) {
  for (const char* name : {"local", "fedit", "fedit_ft", "flora", "flexlora"}) {
    SCOPED_TRACE(name);
    FederationOptions options = TinyOptions(name);
    options.method.site_ranks = {1, 4, 2};
    const MemoryJournal journal = Run(options, name);
    for (size_t k = 0; k < kSites; ++k) {
      const int64_t r = options.method.site_ranks[k];
      EXPECT_EQ(Bytes(journal, kRounds, static_cast<int64_t>(k), "individual", "").size(), static_cast<size_t>(4 * r * (a_ + b_)));
      for (const auto& [round, result] : journal.results) {
        const SiteRoundResult& site = result.sites[k];
        EXPECT_EQ(site.train.steps, kSteps);
        EXPECT_TRUE(std::isfinite(site.before_swap->test.all.loss) && std::isfinite(site.train.mean_loss));
        EXPECT_TRUE(!site.after_swap || std::isfinite(site.after_swap->test.all.loss));
        const bool nothing = options.method.name == "local" || (options.method.name == "fedit_ft" && round == kRounds);
        const bool padded = options.method.name.starts_with("fedit");
        const int64_t down = options.method.name == "flora" ? 1 + 4 + 2 : 4;
        EXPECT_EQ(site.bytes_up, nothing ? 0 : 4 * (padded ? 4 : r) * (a_ + b_));
        EXPECT_EQ(site.bytes_down, nothing ? 0 : 4 * down * (a_ + b_));
      }
    }
  }
}

TEST_F(MethodsRun, FlexlorasUnusedRanksCanStillLearn) {
  // Only the site of rank 1 sends, so the mean product has rank 1; the others keep their own A behind it.
  FederationOptions options = TinyOptions("flexlora");
  options.method.site_ranks = {1, 4, 2};
  const auto method = *MakeMethod(options.method);
  const FederationInputs inputs{model_.get(), nullptr, sites_.get(), nullptr};
  const auto one = *MakeSite(inputs, options, *method, 0, sites_->sites()[0]), other = *MakeSite(inputs, options, *method, 1, {});
  for (const auto& [name, tensor] : one->adapters.Individual()) at::Tensor(tensor).fill_(0.5);
  const at::Tensor before = other->adapters.Individual()[0].second.clone();
  const auto aggregate = method->Aggregator({{{1, 0, 1.0, method->Contribution(1, *one)}}, other->adapters.modules(), /*r=*/4});
  ASSERT_TRUE(method->Receive({1, 1.0, 1, aggregate(Method::kEverySite), std::nullopt}, *other).ok());
  const NamedTensors after = other->adapters.Individual();
  EXPECT_FALSE(at::equal(after[0].second[0], before[0]));
  EXPECT_TRUE(at::equal(after[0].second.narrow(0, 1, 3), before.narrow(0, 1, 3)));
  EXPECT_EQ(after[1].second.narrow(1, 1, 3).abs().max().item<float>(), 0.0f);
  const at::Tensor want = at::mm(one->adapters.Individual()[1].second, one->adapters.Individual()[0].second);
  EXPECT_TRUE(at::allclose(at::mm(after[1].second, after[0].second), want, 1e-5, 1e-6));
}

// An absent site shows what an exchange does to it, without training in between.
TEST_F(MethodsRun, AnExchangeLeavesAloneWhatIsPersonal) {
  for (const auto& [name, personal, renewed] : {std::tuple{"fedsa", "individual|lora_B", "individual|lora_A"},
                                                {"feddpa", "individual|", "rest_of_world|"},
                                                {"fdlora", "individual|", "rest_of_world|"},
                                                {"fedalt", "individual|", "rest_of_world|"}}) {
    FederationOptions options = TinyOptions(name);
    options.rounds = 8;
    options.participation.count = 2;
    options.method.fdlora.sync_every = 100;
    MemoryJournal journal;
    ASSERT_TRUE(RunTiny(*model_, *sites_, options, journal).ok());
    int64_t looked = 0;
    const auto part = [&](const std::string& which, int64_t round, int64_t k) {
      const size_t bar = which.find('|');
      return Bytes(journal, round, k, which.substr(0, bar) + " ", which.substr(bar + 1));
    };
    for (int64_t round = 2; round <= 8; ++round)
      for (int64_t k = 0; k < kSites; ++k) {
        if (journal.trained.at({round, k})) continue;
        ++looked;
        EXPECT_TRUE(part(personal, round, k) == part(personal, round - 1, k)) << name << ", round " << round;
        EXPECT_FALSE(part(renewed, round, k) == part(renewed, round - 1, k)) << name << ", round " << round;
      }
    EXPECT_GE(looked, 6);
  }
}

TEST_F(MethodsRun, TrainingLeavesAloneWhatIsFrozen) {
  const MemoryJournal ffa = Run(TinyOptions("ffa"), "ffa"), rolora = Run(TinyOptions("rolora"), "rolora");
  const MemoryJournal fedalt = Run(TinyOptions("fedalt"), "fedalt");
  for (int64_t k = 0; k < kSites; ++k)
    for (int64_t round = 2; round <= kRounds; ++round) {
      EXPECT_TRUE(Bytes(ffa, round, k, "individual", "lora_A") == Bytes(ffa, 1, 0, "individual", "lora_A"));
      // rolora: what a round does not train is what the round before left to everybody.
      const std::string still = round % 2 == 0 ? "lora_B" : "lora_A";
      EXPECT_TRUE(Bytes(rolora, round, k, "individual", still) == Bytes(rolora, round, 0, "individual", still));
      const std::string moves = round % 2 == 0 ? "lora_A" : "lora_B";
      EXPECT_FALSE(Bytes(rolora, round, 1, "individual", moves) == Bytes(rolora, round, 2, "individual", moves));
      const at::Tensor read = RestOfWorld(fedalt.sums.at(round - 1), {Flat(fedalt.sent.at({round - 1, k})), 1.0});
      EXPECT_EQ(Numbers(Flatten(fedalt.rest_of_world.at({round, k}))), Numbers(read)) << "the rest of world is frozen";
    }
}

TEST_F(MethodsRun, FdlorasPersonalAdapterBecomesTheTrainedCopyEveryHRounds) {
  FederationOptions options = TinyOptions("fdlora");
  options.rounds = 5;
  options.method.fdlora.sync_every = 2;
  options.method.fdlora.shots = 2;
  MemoryJournal journal;
  ASSERT_TRUE(RunTiny(*model_, *sites_, options, journal).ok());
  for (int64_t k = 0; k < kSites; ++k) {
    const std::string first = Bytes(journal, 1, k, "individual ", "");
    for (const int64_t round : {2, 4})
      EXPECT_TRUE(Bytes(journal, round, k, "individual ", "") == Bytes(journal, round, k, "rest_of_world ", ""));
    EXPECT_FALSE(Bytes(journal, 2, k, "individual ", "") == first);
    EXPECT_TRUE(Bytes(journal, 3, k, "individual ", "") == Bytes(journal, 2, k, "individual ", ""));
    EXPECT_FALSE(Bytes(journal, 3, k, "individual ", "") == Bytes(journal, 3, k, "rest_of_world ", ""));
    EXPECT_TRUE(Bytes(journal, 5, k, "individual ", "") == Bytes(journal, 4, k, "individual ", ""));
  }
}

/// A site in one round of training, step by step.
struct Watched {
  std::vector<std::string> first, second,
      mixer;  ///< the two adapters as they stood before training, and the mixer, after each step
};

class Passes : public MethodsRun {
 protected:
  Watched Train(const FederationOptions& options, int64_t round) {
    const auto method = *MakeMethod(options.method);
    EXPECT_TRUE(method->Check(options).ok());
    const auto site = *MakeSite({model_.get(), nullptr, sites_.get(), nullptr}, options, *method, 1, sites_->sites()[1]);
    for (const auto& [name, tensor] : site->adapters.RestOfWorld()) at::Tensor(tensor).fill_(0.01);
    method->BeginRound(round, *site);
    const auto bytes = [](const NamedTensors& tensors) {
      const at::Tensor flat = Flatten(tensors);
      return std::string(static_cast<const char*>(flat.data_ptr()), flat.nbytes());
    };
    const NamedTensors first = site->adapters.Individual(), second = site->adapters.RestOfWorld(), mixer = site->adapters.Mixer();
    Watched watched;
    const auto look = [&] {
      watched.first.push_back(bytes(first));
      watched.second.push_back(bytes(second));
      watched.mixer.push_back(bytes(mixer));
      return true;
    };
    look();
    const auto data = *sites_->Load(1);
    const SiteTraining training{*model_, *method, *data, options.train, options.train.steps, round, options.keep_optimizer, 5};
    const auto report = TrainSite(training, *site, [&](int64_t, int64_t, double) { return look(); });
    EXPECT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->steps, options.train.steps);
    EXPECT_EQ(Flatten(site->adapters.Individual()).numel(), Flatten(first).numel());
    EXPECT_TRUE(site->adapters.Individual()[0].second.is_same(first[0].second)) << "the branches are back in their places";
    return watched;
  }

  /// Whether it changed in the steps (from, to].
  static bool Moves(const std::vector<std::string>& states, int64_t from, int64_t to) {
    bool moved = false;
    for (int64_t i = from + 1; i <= to; ++i) moved = moved || states[static_cast<size_t>(i)] != states[static_cast<size_t>(i - 1)];
    return moved;
  }
};

TEST_F(Passes, HeldOutTrainsTheAdapterFirstAndThenTheMixer) {
  FederationOptions options = TinyOptions("fedalt");
  options.train.steps = 10;
  options.method.mixer_held_out = true;
  options.method.held_out_share = 0.3;
  const Watched watched = Train(options, 1);
  EXPECT_TRUE(Moves(watched.first, 0, 7) && !Moves(watched.mixer, 0, 7));
  EXPECT_TRUE(!Moves(watched.first, 7, 10) && Moves(watched.mixer, 7, 10));
  EXPECT_FALSE(Moves(watched.second, 0, 10)) << "the rest of world is read only";

  options.method.mixer_start_round = 3;
  const Watched before = Train(options, 2);
  EXPECT_TRUE(Moves(before.first, 7, 10) && !Moves(before.mixer, 0, 10)) << "one pass before the mixer starts";
  options.train.steps = 1;
  EXPECT_TRUE(Moves(Train(options, 3).first, 0, 1)) << "the adapter learns in any case";
}

TEST_F(Passes, HeldOutExamplesAreSeenByTheMixerAlone) {
  MethodOptions options = TinyOptions("fedalt").method;
  options.mixer_held_out = true;
  for (const double share : {0.01, 0.1, 0.5, 0.99}) {
    options.held_out_share = share;
    const auto method = *MakeMethod(options);
    for (const size_t n : {2u, 3u, 10u, 57u}) {
      std::vector<TokenizedExample> all(n);
      for (size_t i = 0; i < n; ++i) all[i].id = static_cast<int64_t>(i);
      std::vector<int64_t> seen;
      for (const int64_t pass : {0, 1}) {
        const auto part = method->ExamplesOf(1, pass, all);
        ASSERT_TRUE(part.has_value() && !part->empty()) << share << " of " << n;
        for (const TokenizedExample& example : *part) seen.push_back(example.id);
        const double of_pass = pass == 1 ? share : 1.0 - share;
        EXPECT_NEAR(static_cast<double>(part->size()), of_pass * static_cast<double>(n), 1.0);
      }
      std::sort(seen.begin(), seen.end());
      ASSERT_EQ(seen.size(), n);
      EXPECT_TRUE(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    }
    EXPECT_FALSE(method->ExamplesOf(1, 0, std::vector<TokenizedExample>(1)).has_value()) << "one example cannot be split";
  }
}

TEST_F(Passes, FeddpaTrainsTheGlobalAdapterFirstAndThenTheLocalOne) {
  FederationOptions options = TinyOptions("feddpa");
  options.train.steps = 5;
  const Watched watched = Train(options, 1);
  EXPECT_TRUE(Moves(watched.second, 0, 3) && !Moves(watched.first, 0, 3));
  EXPECT_TRUE(!Moves(watched.second, 3, 5) && Moves(watched.first, 3, 5));
}

TEST_F(Passes, FdloraTrainsThePersonalAdapterFirstAndThenTheGlobalOne) {
  FederationOptions options = TinyOptions("fdlora");
  options.method.fdlora.shots = 2;
  const Watched first = Train(options, 1), second = Train(options, 2);
  EXPECT_TRUE(Moves(first.first, 0, kSteps) && !Moves(first.second, 0, kSteps));
  EXPECT_TRUE(!Moves(second.first, 0, kSteps) && Moves(second.second, 0, kSteps));
}

TEST(MethodChecks, WhatAMethodCannotDoIsRefusedInOneSentence) {
  const auto ranks = [](FederationOptions& o) { o.method.site_ranks = {1, 2, 3}; };
  const auto keep = [](FederationOptions& o) { o.keep_optimizer = true; };
  const auto freeze = [](FederationOptions& o) { o.adapter.freeze_a = true; };
  const auto held_out = [](FederationOptions& o) { o.method.mixer_held_out = true; };
  std::vector<std::pair<FederationOptions, std::string>> refused = {
      {With("rolora", keep), "train.optimizer_state"},
      {With("rolora", freeze), "freeze_a"},
      {With("fedsa", freeze), "freeze_a"},
      {With("feddpa", keep), "train.optimizer_state"},
      {With("fdlora", keep), "train.optimizer_state"},
      {With("fedalt", [&](auto& o) { held_out(o), o.adapter.mixer = MixerKind::kNone; }), "set mixer to token or layer"},
      {With("fedalt", [&](auto& o) { held_out(o), o.adapter.mixer = MixerKind::kFixed; }), "set mixer to token or layer"},
      {With("fedalt", [&](auto& o) { held_out(o), keep(o); }), "train.optimizer_state"},
      {With("fedalt", [](auto& o) { RowOf(o).aggregate = RestOfWorldAggregate::kExact, RowOf(o).damping = 0.5; }), "damping"},
      {With("nonsense", [](auto&) {}), "those that work are base, local"},
  };
  for (const char* name : {"fedalt", "ffa", "fedsa", "feddpa", "fdlora", "fedex", "rolora", "base", "pooled"})
    refused.emplace_back(With(name, ranks), "the same rank at every site");
  for (const auto& [options, part] : refused) {
    const Status status = CheckMethod(options);
    ASSERT_FALSE(status.ok()) << options.method.name << " " << part;
    EXPECT_EQ(KindOf(status), ErrorKind::kConfig);
    EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
    EXPECT_EQ(status.message().find_first_of("\n"), absl::string_view::npos);
    EXPECT_EQ(status.message().find(". "), absl::string_view::npos) << "one sentence: " << status;
    EXPECT_NE(status.message().back(), '.');
  }
  for (const auto& [what, options] : AllWays()) EXPECT_TRUE(CheckMethod(options).ok()) << what;
}

}  // namespace
}  // namespace fedalt
