#include "fed/federation.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <vector>

#include "fed/fedalt.h"
#include "fed/tiny_federation.h"

namespace fedalt {
namespace {

using testing::Flat;
using testing::MemoryJournal;
using testing::Numbers;
using testing::RunTiny;
using testing::TinyOptions;
using testing::TinySites;

class FederationTest : public testing::TinyFederationTest {
 protected:
  MemoryJournal Run(const FederationOptions& options) {
    MemoryJournal journal;
    const auto summary = RunTiny(*model_, *sites_, options, journal);
    EXPECT_TRUE(summary.ok()) << summary.status();
    return journal;
  }
};

TEST_F(FederationTest, EverySiteReadsTheMeanOfTheOthers) {
  const MemoryJournal journal = Run(TinyOptions("fedalt"));
  for (int64_t round = 2; round <= 3; ++round)
    for (int64_t k = 0; k < 3; ++k) {
      const std::vector<float> read = Numbers(Flatten(journal.rest_of_world.at({round, k})));
      const std::vector<float>& one = journal.sent.at({round - 1, (k + 1) % 3});
      const std::vector<float>& two = journal.sent.at({round - 1, (k + 2) % 3});
      ASSERT_EQ(read.size(), one.size());
      for (size_t i = 0; i < read.size(); ++i) ASSERT_NEAR(read[i], 0.5 * (one[i] + two[i]), 1e-6);
    }
}

TEST_F(FederationTest, TheFirstRoundReadsNothing) {
  const MemoryJournal journal = Run(TinyOptions("fedalt"));
  for (const auto& [name, tensor] : journal.rest_of_world.at({1, 0}))
    if (name.ends_with("lora_B.weight")) {
      EXPECT_EQ(tensor.abs().max().item<float>(), 0.0f) << name;
    }
}

TEST_F(FederationTest, TheIndividualAdapterIsNeverAveraged) {
  // Without anything to read (no mixer, gain 0) a site's own adapter must move exactly as in local training.
  FederationOptions options = TinyOptions("fedalt");
  options.adapter.mixer = MixerKind::kNone;
  options.adapter.rest_of_world_gain = 0.0;
  const MemoryJournal alt = Run(options);
  const MemoryJournal local = Run(TinyOptions("local"));
  for (int64_t k = 0; k < 3; ++k)
    for (const auto& [name, bytes] : local.sites.at({3, k}))
      if (name.starts_with("individual") && name.find("lora_A") != name.npos) {
        const auto& other = alt.sites.at({3, k}).at(name);
        const auto* a = reinterpret_cast<const float*>(bytes.data());
        const auto* b = reinterpret_cast<const float*>(other.data());
        for (size_t i = 0; i < bytes.size() / sizeof(float); ++i) ASSERT_NEAR(a[i], b[i], 2e-4) << name;
      }
}

TEST_F(FederationTest, DampingMixesOldAndNew) {
  FederationOptions options = TinyOptions("fedalt");
  options.method.rest_of_world.damping = 0.25;
  const MemoryJournal journal = Run(options);
  for (int64_t k = 0; k < 3; ++k) {
    const std::vector<float> before = Numbers(Flatten(journal.rest_of_world.at({2, k}))),
                             after = Numbers(Flatten(journal.rest_of_world.at({3, k})));
    const std::vector<float> others = Numbers(RestOfWorld(journal.sums.at(2), {Flat(journal.sent.at({2, k})), 1.0}));
    for (size_t i = 0; i < before.size(); ++i) ASSERT_NEAR(after[i], 0.25 * others[i] + 0.75 * before[i], 1e-6);
  }
}

TEST_F(FederationTest, FrozenASendsOnlyBAndKeepsA) {
  FederationOptions options = TinyOptions("fedalt");
  const size_t whole = Run(options).sent.at({1, 0}).size();
  options.adapter.freeze_a = true;
  const MemoryJournal journal = Run(options);
  EXPECT_LT(journal.sent.at({1, 0}).size(), whole);
  for (const auto& [name, bytes] : journal.sites.at({1, 0}))
    if (name.starts_with("individual") && name.find("lora_A") != name.npos) {
      EXPECT_TRUE(bytes == journal.sites.at({3, 0}).at(name)) << name << " moved";
      EXPECT_TRUE(bytes == journal.sites.at({3, 1}).at(name)) << name << " is not shared";
      EXPECT_TRUE(bytes == journal.sites.at({3, 0}).at("rest_of_world" + name.substr(10))) << "the rest of world has another A";
    }
}

TEST_F(FederationTest, EveryRenewsAndSendsOnlySoOften) {
  FederationOptions options = TinyOptions("fedalt");
  options.rounds = 4;
  options.method.rest_of_world.every = 2;
  const MemoryJournal journal = Run(options);
  EXPECT_EQ(journal.sums.count(1) + journal.sums.count(3), 0u);
  EXPECT_EQ(journal.sums.count(2) + journal.sums.count(4), 2u);
  EXPECT_EQ(journal.results.at(1).sites[0].bytes_up, 0);
  EXPECT_GT(journal.results.at(2).sites[0].bytes_up, 0);
}

TEST_F(FederationTest, MixerStartsInItsRound) {
  FederationOptions options = TinyOptions("fedalt");
  options.method.mixer_start_round = 3;
  const MemoryJournal journal = Run(options);
  const auto mixer = [&](int64_t round) {
    std::string all;
    for (const auto& [name, bytes] : journal.sites.at({round, 0}))
      if (name.starts_with("mixer")) all += bytes;
    return all;
  };
  ASSERT_FALSE(mixer(1).empty());
  EXPECT_TRUE(mixer(1) == mixer(2));
  EXPECT_FALSE(mixer(2) == mixer(3));
}

TEST_F(FederationTest, AbsentSitesStandStillAndStayInTheLedger) {
  FederationOptions options = TinyOptions("fedalt");
  options.participation.count = 1;
  options.rounds = 6;
  const MemoryJournal journal = Run(options);
  int64_t trained = 0;
  for (int64_t round = 1; round <= 6; ++round)
    for (int64_t k = 0; k < 3; ++k) {
      trained += journal.trained.at({round, k});
      if (round == 1 || journal.trained.at({round, k})) continue;
      for (const auto& [name, bytes] : journal.sites.at({round, k}))
        if (!name.starts_with("rest_of_world")) {
          EXPECT_TRUE(bytes == journal.sites.at({round - 1, k}).at(name)) << name;
        }
    }
  EXPECT_EQ(trained, 6);
  EXPECT_GT(journal.sums.at(6).contributors, 1);
}

TEST_F(FederationTest, FeditMakesAllSitesEqualAndFeditFtKeepsTheLastRoundApart) {
  FederationOptions options = TinyOptions("fedit");
  options.eval.every = 1;
  const MemoryJournal fedit = Run(options);
  const auto& last = fedit.results.at(3).sites;
  ASSERT_TRUE(last[0].after_swap.has_value());
  EXPECT_EQ(last[0].deployed, "after_swap");
  // Weighted by samples: 12, 16 and 20 examples.
  const auto& sent = fedit.sent;
  const std::vector<float> sum = Numbers(fedit.sums.at(1).values);
  for (size_t i = 0; i < sent.at({1, 0}).size(); ++i) {
    const double mean = (12.0 * sent.at({1, 0})[i] + 16.0 * sent.at({1, 1})[i] + 20.0 * sent.at({1, 2})[i]) / 48.0;
    ASSERT_NEAR(sum[i] / fedit.sums.at(1).total_weight, mean, 1e-6);
  }
  options.method.name = "fedit_ft";
  const MemoryJournal ft = Run(options);
  EXPECT_EQ(ft.sums.count(3), 0u);
  EXPECT_FALSE(ft.results.at(3).sites[0].after_swap.has_value());
  for (int64_t k = 0; k < 3; ++k)
    for (const auto& [name, bytes] : ft.sites.at({3, k}))
      if (name != "sent") {
        EXPECT_TRUE(bytes == fedit.sites.at({3, k}).at(name)) << "the same training until the last swap: " << name;
      }
}

TEST_F(FederationTest, PooledTrainsOneModelWithTheStepsOfAll) {
  const MemoryJournal journal = Run(TinyOptions("pooled"));
  EXPECT_EQ(journal.sites.count({3, 0}), 1u);
  EXPECT_EQ(journal.sites.count({3, 1}), 0u);
  EXPECT_EQ(journal.results.at(3).sites[2].train.steps, 9);
}

TEST_F(FederationTest, BaseOnlyEvaluates) {
  const MemoryJournal journal = Run(TinyOptions("base"));
  EXPECT_EQ(journal.results.size(), 1u);
  EXPECT_TRUE(journal.results.at(1).sites[1].before_swap.has_value());
  EXPECT_FALSE(journal.results.at(1).sites[1].participated);
}

TEST_F(FederationTest, AblationsOfTheLastRoundDiffer) {
  const MemoryJournal journal = Run(TinyOptions("fedalt"));
  const auto& site = journal.results.at(3).sites[0];
  ASSERT_EQ(site.ablations.size(), 5u);
  const double whole = site.before_swap->test.all.loss;
  for (const auto& [name, scores] : site.ablations) EXPECT_NE(scores.test.all.loss, whole) << name;
  EXPECT_GT(site.ablations.at("base").test.all.loss, whole);
  EXPECT_GT(site.mean_individual_weight, 0.0);
  EXPECT_LT(site.mean_individual_weight, 1.0);
}

TEST_F(FederationTest, TrainingLossFallsAtEverySite) {
  FederationOptions options = TinyOptions("fedalt");
  options.train.steps = 12;
  options.rounds = 4;
  const MemoryJournal journal = Run(options);
  for (size_t k = 0; k < 3; ++k)
    EXPECT_LT(journal.results.at(4).sites[k].train.mean_loss, journal.results.at(1).sites[k].train.mean_loss);
}

TEST_F(FederationTest, SitesAtOnceAndTheSameSeedGiveTheSameBits) {
  FederationOptions options = TinyOptions("fedalt");
  const MemoryJournal one = Run(options), again = Run(options);
  options.sites_at_once = 3;
  const MemoryJournal parallel = Run(options);
  EXPECT_TRUE(one.sites == again.sites);
  EXPECT_TRUE(one.sites == parallel.sites);
  options.seed = 6;
  EXPECT_FALSE(one.sites == Run(options).sites);
}

TEST_F(FederationTest, ValidationDecidesWhichModelIsUsedAndNamesTheBestRound) {
  FederationOptions options = TinyOptions("fedalt");
  options.method.deploy = Deploy::kValidation;
  options.eval.every = 1;
  const MemoryJournal journal = Run(options);
  int64_t best = 0;
  double least = INFINITY;
  for (const auto& [round, result] : journal.results) {
    double mean = 0.0;
    for (const auto& site : result.sites) {
      const double before = *site.before_swap->validation_loss, after = *site.after_swap->validation_loss;
      EXPECT_EQ(site.deployed, after < before ? "after_swap" : "before_swap");
      mean += std::min(before, after) / 3.0;
    }
    if (mean < least) best = round, least = mean;
  }
  EXPECT_EQ(journal.best_round, best);
}

TEST_F(FederationTest, AnErrorNamesRoundAndSite) {
  FederationOptions options = TinyOptions("local");
  options.train.lr = 1e30;
  MemoryJournal journal;
  const auto summary = RunTiny(*model_, *sites_, options, journal);
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(KindOf(summary.status()), ErrorKind::kTraining);
  EXPECT_NE(summary.status().message().find("round 1/3, site site-0"), absl::string_view::npos) << summary.status();
}

/// Counts what is in memory: adapters of sites that came by, and data that were given out.
class CountingJournal : public MemoryJournal {
 public:
  Status LoadSite(int64_t round, Site& site) override {
    Note(site);
    return MemoryJournal::LoadSite(round, site);
  }
  Status SaveSite(int64_t round, const Site& site, const TrainReport* report) override {
    Note(site);
    return MemoryJournal::SaveSite(round, site, report);
  }
  size_t most = 0;  ///< sites whose adapters were in memory at the same time
  size_t seen = 0;

 private:
  void Note(const Site& site) {
    std::lock_guard<std::mutex> lock(note_);
    std::erase_if(adapters_, [](const auto& adapter) { return adapter.expired(); });
    const c10::intrusive_ptr<at::TensorImpl> first = site.adapters.Individual().front().second.getIntrusivePtr();
    ++seen;
    for (const auto& adapter : adapters_)
      if (adapter.lock() == first) return;
    adapters_.emplace_back(first);
    most = std::max(most, adapters_.size());
  }
  std::mutex note_;
  std::vector<c10::weak_intrusive_ptr<at::TensorImpl>> adapters_;
};

class CountingSource : public SiteSource {
 public:
  explicit CountingSource(const SiteSource& sites) : sites_(sites) {}
  const std::vector<SiteInfo>& sites() const override { return sites_.sites(); }
  StatusOr<std::shared_ptr<const SiteData>> Load(size_t site) const override {
    auto data = sites_.Load(site);
    std::lock_guard<std::mutex> lock(note_);
    std::erase_if(given_, [](const auto& given) { return given.expired(); });
    given_.emplace_back(*data);
    most = std::max(most, given_.size());
    return data;
  }
  mutable size_t most = 0;

 private:
  const SiteSource& sites_;
  mutable std::mutex note_;
  mutable std::vector<std::weak_ptr<const SiteData>> given_;
};

TEST_F(FederationTest, OnlySitesAtWorkAreInMemory) {
  const auto many = TinySites(12, *model_);
  for (const char* method : {"fedalt", "fedit", "local"})
    for (const int64_t at_once : {1, 3}) {
      FederationOptions options = TinyOptions(method);
      options.participation.count = 7;
      options.eval.every = 2;
      options.keep_optimizer = true;
      options.sites_at_once = at_once;
      CountingJournal journal;
      const CountingSource source(*many);
      const auto summary = RunTiny(*model_, source, options, journal);
      ASSERT_TRUE(summary.ok()) << summary.status();
      EXPECT_GT(journal.seen, 36u);
      EXPECT_LE(journal.most, static_cast<size_t>(at_once)) << method;
      EXPECT_LE(source.most, static_cast<size_t>(at_once)) << method;
    }
}

TEST_F(FederationTest, StopsWhenAsked) {
  MemoryJournal journal;
  LocalTransport transport(LedgerPolicy::kKeepAbsent);
  FederationHooks hooks;
  int64_t steps = 0;
  hooks.on_progress = [&](int64_t done, int64_t, const std::string&) { steps = done; };
  hooks.should_stop = [&] { return steps >= 4; };
  const auto summary =
      RunFederation({model_.get(), nullptr, sites_.get(), nullptr}, TinyOptions("fedalt"), transport, journal, hooks);
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(KindOf(summary.status()), ErrorKind::kInterrupted);
  EXPECT_EQ(steps, 4);
  EXPECT_EQ(journal.sites.size(), 1u);  // the first site's pass was done, the second's is abandoned
}

}  // namespace
}  // namespace fedalt
