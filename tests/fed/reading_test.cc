// Versions of the rest of world: what a site takes in, keeps, or goes back to; and what others weigh as they grow old.
#include "fed/reading.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fed/far_server.h"
#include "fed/finite.h"
#include "fed/method_names.h"
#include "fed/tiny_federation.h"
#include "fed/upload_format.h"

namespace fedalt {
namespace {

using testing::FarServerState;
using testing::Flat;
using testing::MemoryJournal;
using testing::Numbers;
using testing::TinyOptions;

class ReadingTest : public testing::TinyFederationTest {
 protected:
  StatusOr<RunSummary> Run(const FederationOptions& options, MemoryJournal& journal, std::optional<int64_t> pin = std::nullopt) {
    const auto method = MakeMethod(options.method);
    LocalTransport transport((*method)->ledger_policy(), (*method)->needs());
    return RunFederation({model_.get(), nullptr, sites_.get(), nullptr, {}, pin}, options, transport, journal, {});
  }
  /// What site k reads of the others while it trains in a round.
  static std::vector<float> ReadBy(const MemoryJournal& journal, int64_t round, int64_t k) {
    return Numbers(Flatten(journal.rest_of_world.at({round, k})));
  }
};

TEST_F(ReadingTest, WeightsAgeByTheRound) {
  EXPECT_EQ(AgedWeight(3.0, 1.0, 1'000'000'000), 3.0);
  EXPECT_EQ(AgedWeight(3.0, 0.5, 0), 3.0);
  EXPECT_EQ(AgedWeight(3.0, 0.5, 2), 0.75);
}

TEST_F(ReadingTest, OldContributionsCountLessAndAreSubtractedAsTheyCount) {
  FederationOptions options = TinyOptions("fedalt");
  options.rounds = 6;
  options.participation = {1.0, 2};
  options.method.rest_of_world.staleness = 0.5;
  MemoryJournal journal;
  ASSERT_TRUE(Run(options, journal).ok());
  bool some_old = false;
  for (int64_t round = 2; round <= 6; ++round)
    for (int64_t k = 0; k < 3; ++k) {
      std::vector<double> sum;
      double weight = 0.0;
      for (int64_t other = 0; other < 3; ++other) {
        int64_t last = round - 1;
        while (last > 0 && !journal.trained.at({last, other})) --last;
        if (other == k || last == 0) continue;
        const double counts = std::pow(0.5, static_cast<double>(round - 1 - last));
        some_old = some_old || counts < 1.0;
        const std::vector<float>& sent = journal.sent.at({last, other});
        sum.resize(sent.size());
        for (size_t i = 0; i < sent.size(); ++i) sum[i] += counts * static_cast<double>(sent[i]);
        weight += counts;
      }
      const std::vector<float> read = ReadBy(journal, round, k);
      ASSERT_EQ(read.size(), sum.size());
      for (size_t i = 0; i < read.size(); ++i) ASSERT_NEAR(read[i], sum[i] / weight, 1e-5) << round << " " << k;
    }
  EXPECT_TRUE(some_old);
}

TEST_F(ReadingTest, ASiteSubtractsWhatItSentInEveryFormat) {
  for (const UploadFormat format : {UploadFormat::kBFloat16, UploadFormat::kInt8}) {
    FederationOptions options = TinyOptions("fedalt");
    options.upload = format;
    MemoryJournal journal;
    ASSERT_TRUE(Run(options, journal).ok());
    for (int64_t k = 0; k < 3; ++k) {
      const at::Tensor sent = Flat(journal.sent.at({2, k}));
      EXPECT_TRUE(AsTransmitted(sent, format).equal(sent)) << "what is kept is what travelled";
      const at::Tensor mean = (Flat(journal.sent.at({2, (k + 1) % 3})) + Flat(journal.sent.at({2, (k + 2) % 3}))) / 2.0;
      EXPECT_TRUE(at::allclose(Flat(ReadBy(journal, 3, k)), mean, 1e-6, 1e-7));
      EXPECT_EQ(journal.results.at(2).sites[0].bytes_up, 4 * EncodedWords(format, sent.numel()));
    }
  }
}

TEST_F(ReadingTest, WhatDoesNotFitIsRefusedByEveryMethod) {
  int refused = 0;
  for (const std::string& name : MethodNames()) {
    const FederationOptions options = TinyOptions(name);
    const auto method = MakeMethod(options.method);
    if ((*method)->needs() == TransportNeed::kNothing || (*method)->pools_data()) continue;
    const FederationInputs inputs{model_.get(), nullptr, sites_.get(), nullptr};
    const auto site = MakeSite(inputs, options, **method, 0, {"site-0", 12});
    ASSERT_TRUE(site.ok()) << site.status();
    const int64_t length = (*method)->Contribution(1, **site).numel();
    for (const int64_t wrong : {int64_t{0}, int64_t{1}, length - 1, length + 1}) {
      const Status status = TakeIn(**method, {1, 1.0, 1, at::zeros({wrong}), std::nullopt}, **site);
      EXPECT_EQ(KindOf(status), ErrorKind::kFederation) << name << " " << wrong << " " << status;
      ++refused;
    }
    // fedex publishes the mean and, behind it, at least one site's factors.
    const int64_t right = name == "fedex" ? 2 * length : length;
    Published published{1, 2.0, 2, at::ones({right}), std::nullopt};
    EXPECT_TRUE(TakeIn(**method, published, **site).ok()) << name;
    // What the server counted and what the site would subtract are the same, or nothing is read.
    (*site)->sent = {at::zeros({length}), 1.0, 1};
    published.own_round = 1;
    published.own_weight = 0.5;
    const Status other = TakeIn(**method, published, **site);
    EXPECT_EQ(KindOf(other), ErrorKind::kFederation) << name << " " << other;
    EXPECT_EQ((*site)->sent.weight, 1.0);
    published.own_weight = 1.0;
    EXPECT_TRUE(TakeIn(**method, published, **site).ok()) << name;
  }
  EXPECT_GE(refused, 4 * 10);
}

TEST_F(ReadingTest, TheGuardKeepsWhatIsBetter) {
  FederationOptions options = TinyOptions("fedalt");
  options.rounds = 4;
  options.adapter.rest_of_world_gain = 50.0;  // what others know of their own tokens hurts
  MemoryJournal without;
  ASSERT_TRUE(Run(options, without).ok());
  options.method.rest_of_world.guard = 0.0;
  MemoryJournal guarded;
  ASSERT_TRUE(Run(options, guarded).ok());
  int refused = 0;
  for (int64_t round = 1; round <= 3; ++round)
    for (int64_t k = 0; k < 3; ++k) {
      const SiteRoundResult& result = guarded.results.at(round).sites[static_cast<size_t>(k)];
      if (result.refused.empty()) {
        EXPECT_EQ(result.reads_round, round);
        continue;
      }
      ++refused;
      EXPECT_NE(result.refused.find("validation loss"), std::string::npos) << result.refused;
      EXPECT_LT(result.reads_round, round);
      EXPECT_EQ(ReadBy(guarded, round + 1, k), ReadBy(guarded, round, k)) << "it keeps what it read";
    }
  EXPECT_GT(refused, 0);
  for (const auto& [round, result] : without.results)
    for (const SiteRoundResult& site : result.sites) EXPECT_EQ(site.refused, "");
}

TEST(BetterLoss, OneThatIsNotFiniteDecidesNothing) {
  const double nan = std::nan(""), inf = INFINITY;
  EXPECT_TRUE(IsBetterLoss(1.0, 2.0) && !IsBetterLoss(2.0, 1.0) && !IsBetterLoss(1.0, 1.0));
  for (const double broken : {nan, inf, -inf}) {
    EXPECT_TRUE(IsBetterLoss(1.0, broken)) << broken;
    EXPECT_FALSE(IsBetterLoss(broken, 1.0)) << broken;
    EXPECT_FALSE(IsBetterLoss(broken, nan)) << broken;
  }
}

/// What site-0 decided about the publication of round 2, where the other site sent something else.
class FarReadingTest : public ReadingTest {
 protected:
  static constexpr int64_t kRound = 2;

  MemoryJournal RunWith(const std::function<at::Tensor(const at::Tensor& zeros)>& sent, const std::string& method = "fedalt") {
    FederationOptions options = TinyOptions(method);
    options.rounds = 4;
    options.eval.every = 1;
    state_.other = [=](int64_t round, const at::Tensor& zeros) { return round == kRound ? sent(zeros) : zeros + 0.01; };
    MemoryJournal journal;
    const auto summary = testing::RunFarSite(*model_, options, state_, journal);
    EXPECT_TRUE(summary.ok()) << summary.status();
    for (const auto& [round, result] : journal.results)
      for (const auto& scores : {result.sites[0].before_swap, result.sites[0].after_swap}) {
        EXPECT_TRUE(scores.has_value() && std::isfinite(scores->test.all.loss)) << round;
      }
    return journal;
  }

  FarServerState state_;
};

TEST_F(FarReadingTest, ValuesThatCannotBeAreNeverAdopted) {
  const float most = std::numeric_limits<float>::max();
  for (const float value : {std::nanf(""), INFINITY, -INFINITY, most, 1e30f, -1e30f, 1e6f}) {
    SCOPED_TRACE(value);
    state_ = {};
    const MemoryJournal journal = RunWith([=](const at::Tensor& zeros) { return zeros + value; });
    const SiteRoundResult& decided = journal.results.at(kRound).sites[0];
    EXPECT_FALSE(decided.refused.empty());
    EXPECT_EQ(decided.reads_round, kRound - 1);
    EXPECT_EQ(state_.decisions.at(kRound), decided.refused);
    for (const char* remedy : {"fedalt erase", "rest_of_world.pin"})
      EXPECT_NE(decided.refused.find(remedy), std::string::npos) << decided.refused;
    EXPECT_EQ(journal.rest_of_world.at({kRound + 1, 0}).size(), journal.rest_of_world.at({kRound, 0}).size());
    EXPECT_EQ(ReadBy(journal, kRound + 1, 0), ReadBy(journal, kRound, 0)) << "it keeps what it read";
    EXPECT_EQ(journal.results.at(kRound + 1).sites[0].reads_round, kRound + 1) << "and adopts what comes next";
  }
}

TEST_F(FarReadingTest, OneSuchValueAmongManyIsEnough) {
  const MemoryJournal journal = RunWith([](const at::Tensor& zeros) {
    at::Tensor sent = zeros + 0.01;
    sent[sent.numel() - 1] = std::nanf("");
    return sent;
  });
  EXPECT_NE(journal.results.at(kRound).sites[0].refused.find("not finite"), std::string::npos);
}

/// Whatever a site sees of its model before and after: what is not finite is never better.
TEST_F(FarReadingTest, WhatASiteSeesDecides) {
  const double nan = std::nan("");
  MemoryJournal journal = RunWith([](const at::Tensor& zeros) { return zeros + 0.01; });
  const FederationOptions options = TinyOptions("fedalt");
  const auto method = *MakeMethod(options.method);
  const FederationInputs inputs{model_.get(), nullptr, sites_.get(), nullptr};
  const auto site = *MakeSite(inputs, options, *method, 0, sites_->sites()[0]);
  testing::FarServer server(state_);
  const Exchange exchange(*method, server, journal, {site->adapters.modules(), options.adapter.r, options.upload});
  struct Case {
    AdoptionLook before, after;
    const char* refused;  // part of the reason; empty: adopted
  };
  for (const Case& seen : {Case{{2.0, 3.0, 1.0}, {2000.0, 7.0, 1.1}, ""},
                           {{2.0, 3.0, 1.0}, {2001.0, 3.0, 1.0}, "norm"},
                           {{2.0, 3.0, 1.0}, {nan, 3.0, 1.0}, "norm"},
                           {{2.0, 3.0, 1.0}, {INFINITY, 3.0, 1.0}, "norm"},
                           {{2.0, 3.0, 1.0}, {2.0, 7.1, 1.0}, "training loss"},
                           {{2.0, 3.0, 1.0}, {2.0, nan, 1.0}, "training loss"},
                           {{2.0, 3.0, 1.0}, {2.0, INFINITY, 1.0}, "training loss"},
                           {{2.0, nan, 1.0}, {2.0, 3.0, 1.0}, ""},
                           {{2.0, 3.0, 1.0}, {2.0, 3.0, 1.3}, "validation loss"},
                           {{2.0, 3.0, 1.0}, {2.0, 3.0, nan}, "validation loss"},
                           {{2.0, 3.0, nan}, {2.0, 3.0, 1.0}, ""}}) {
    ReadingRules rules{0.2, std::nullopt, 4.0,
                       [&](Moment moment) { return moment == Moment::kAfterSwap ? seen.after : seen.before; }};
    const auto refused = DecideOnReading(kRound, rules, exchange, server, journal, *site);
    ASSERT_TRUE(refused.ok()) << refused.status();
    EXPECT_EQ(refused->empty(), std::string(seen.refused).empty()) << *refused;
    EXPECT_NE(refused->find(seen.refused), std::string::npos) << *refused;
    EXPECT_EQ(state_.decisions.at(kRound), *refused);
  }
}

TEST_F(FarReadingTest, WhatOthersLearnIsAdopted) {
  for (const char* method : {"fedalt", "fedit", "fdlora"}) {
    SCOPED_TRACE(method);
    state_ = {};
    const MemoryJournal journal = RunWith([](const at::Tensor& zeros) { return at::full_like(zeros, -0.05); }, method);
    for (const auto& [round, result] : journal.results) {
      EXPECT_EQ(result.sites[0].refused, "") << round;
      EXPECT_EQ(result.sites[0].reads_round, round);
    }
  }
}

TEST_F(FarReadingTest, AMethodThatAveragesKeepsItsOwnModelInstead) {
  const MemoryJournal journal = RunWith([](const at::Tensor& zeros) { return zeros + 1e20; }, "fedit");
  EXPECT_FALSE(journal.results.at(kRound).sites[0].refused.empty());
  EXPECT_EQ(journal.results.at(kRound).sites[0].before_swap->test.all.loss,
            journal.results.at(kRound).sites[0].after_swap->test.all.loss);
}

TEST_F(FarReadingTest, AnAttemptThatDivergesAfterAdoptingNamesTheRoundAndWhoTookPart) {
  FederationOptions options = TinyOptions("fedalt");
  options.train.steps = 1;
  options.train.lr = 1e18;  // the next pass begins with numbers that no model can bear
  options.train.max_grad_norm = 1.0;
  MemoryJournal journal;
  const auto summary = testing::RunFarSite(*model_, options, state_, journal);
  EXPECT_EQ(KindOf(summary.status()), ErrorKind::kTraining) << summary.status();
  const std::string message(summary.status().message());
  for (const char* part : {"reads what round ", "graz, osaka", "fedalt erase", "rest_of_world.pin"})
    EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
}

TEST_F(ReadingTest, AGuardThatNeverTripsChangesNothing) {
  FederationOptions options = TinyOptions("fedalt");
  MemoryJournal without, with;
  ASSERT_TRUE(Run(options, without).ok());
  options.method.rest_of_world.guard = 100.0;
  ASSERT_TRUE(Run(options, with).ok());
  EXPECT_EQ(without.sites, with.sites);
}

TEST_F(ReadingTest, AGuardNeedsValidationData) {
  std::vector<SiteData> sites = {testing::TinySite(0, 12, model_->config().vocab_size)};
  sites[0].validation.clear();
  sites_ = std::make_unique<testing::TinySource>(std::move(sites));
  FederationOptions options = TinyOptions("fedalt");
  options.method.rest_of_world.guard = 0.1;
  MemoryJournal journal;
  const auto summary = Run(options, journal);
  EXPECT_EQ(KindOf(summary.status()), ErrorKind::kConfig);
  EXPECT_NE(std::string(summary.status().message()).find("site site-0 has none"), std::string::npos) << summary.status();
  EXPECT_TRUE(journal.sites.empty());
}

TEST_F(ReadingTest, APinnedSiteReadsNothingLater) {
  FederationOptions options = TinyOptions("fedalt");
  options.rounds = 5;
  MemoryJournal free, pinned;
  ASSERT_TRUE(Run(options, free).ok());
  ASSERT_TRUE(Run(options, pinned, 2).ok());
  for (int64_t k = 0; k < 3; ++k) {
    EXPECT_EQ(ReadBy(pinned, 3, k), ReadBy(free, 3, k));
    EXPECT_EQ(ReadBy(pinned, 4, k), ReadBy(pinned, 3, k));
    EXPECT_EQ(ReadBy(pinned, 5, k), ReadBy(pinned, 3, k));
    EXPECT_NE(ReadBy(free, 4, k), ReadBy(free, 3, k));
    EXPECT_EQ(pinned.results.at(4).sites[static_cast<size_t>(k)].refused, "pinned to round 2");
    EXPECT_EQ(pinned.results.at(4).sites[static_cast<size_t>(k)].reads_round, 2);
  }
}

TEST_F(ReadingTest, ASiteGoesBackToAnOlderVersionThatIsKept) {
  FederationOptions options = TinyOptions("fedalt");
  options.rounds = 3;
  MemoryJournal journal;
  ASSERT_TRUE(Run(options, journal).ok());
  options.rounds = 4;
  journal.position.closed_round = 3;
  ASSERT_TRUE(Run(options, journal, 1).ok());
  for (int64_t k = 0; k < 3; ++k) {
    EXPECT_EQ(ReadBy(journal, 4, k), ReadBy(journal, 2, k)) << "what round 1 published was read in round 2";
    EXPECT_EQ(journal.results.at(4).sites[static_cast<size_t>(k)].reads_round, 1);
  }
  // A round that it trained in already, and that is still open, stands on the version that is taken back.
  MemoryJournal in_a_round = journal;
  in_a_round.position.closed_round = 2;
  for (int64_t k = 0; k < 3; ++k) in_a_round.position.trained[k] = TrainReport{};
  ASSERT_TRUE(Run(options, in_a_round, 0).ok());
  for (int64_t k = 0; k < 3; ++k) {
    EXPECT_EQ(in_a_round.results.at(3).sites[static_cast<size_t>(k)].reads_round, 0);
    EXPECT_EQ(ReadBy(in_a_round, 4, k), ReadBy(journal, 1, k)) << "nothing was read in round 1";
  }
  MemoryJournal short_memory = journal;
  for (int64_t k = 0; k < 3; ++k)
    for (const int64_t round : {1, 2}) short_memory.Forget(round, k);
  short_memory.position.closed_round = 3;
  const auto summary = Run(options, short_memory, 1);
  EXPECT_TRUE(summary.ok()) << "it reads version 1 already: " << summary.status();
  const auto none = Run(options, short_memory, 0);
  EXPECT_EQ(KindOf(none.status()), ErrorKind::kConfig);
  EXPECT_NE(std::string(none.status().message()).find("is to read what round 0 published"), std::string::npos) << none.status();
  EXPECT_NE(std::string(none.status().message()).find("pin one of the rounds 1"), std::string::npos) << none.status();
}

}  // namespace
}  // namespace fedalt
