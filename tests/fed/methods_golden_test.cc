// A round of every averaging, stacking and dual method against numpy (tests/golden/methods.py), in float64.
#include "fed/methods_golden.h"

#include "fed/baselines.h"

namespace fedalt {
namespace {

using testing::Adapter;
using testing::Case;
using testing::ExpectFolds;
using testing::ExpectNear;
using testing::ExpectProducts;
using testing::Golden;
using testing::GoldenFederation;
using testing::GoldenModules;
using testing::Input;
using testing::json;
using testing::Matrix;
using testing::Named;
using testing::Output;
using testing::With;

TEST(MethodsGolden, FeditAveragesBySamplesOverThoseThatSent) {
  GoldenFederation all(Named("fedit"));
  all.TrainAndSendAll(1, Input("round1"));
  all.Exchange(1);
  for (size_t k = 0; k < all.size(); ++k) ExpectNear(all.site(k).adapters.Individual(), Adapter(Case("fedit")["mean"]), "mean");

  GoldenFederation some(Named("fedit"));
  const json& cohort = Case("fedit")["cohort"];
  for (const size_t k : cohort["sites"]) some.TrainAndSend(1, k, Adapter(Input("round1")[k]));
  some.Exchange(1);
  for (size_t k = 0; k < some.size(); ++k) ExpectNear(some.site(k).adapters.Individual(), Adapter(cohort["mean"]), "cohort");
}

TEST(MethodsGolden, FeditsServerOptimizerInTwoRounds) {
  for (const json& c : Case("fedit")["server_optimizer"]) {
    MethodOptions options = Named("fedit");
    options.server = {c["eta"], c["beta"]};
    GoldenFederation federation(options);
    federation.StartFrom(Input("previous"));
    for (int64_t round = 1; round <= 2; ++round) {
      federation.TrainAndSendAll(round, Input(absl::StrCat("round", round)));
      federation.Exchange(round);
      const json& want = c["rounds"][static_cast<size_t>(round - 1)];
      for (size_t k = 0; k < federation.size(); ++k) {
        ExpectNear(federation.site(k).adapters.Individual(), Adapter(want["global"]), "global");
        ExpectNear(federation.site(k).State("velocity"), Flatten(Adapter(want["velocity"])), "velocity");
      }
    }
  }
}

TEST(MethodsGolden, AnAbsentSiteTakesTheServersStepWithTheOthers) {
  MethodOptions fedit = Named("fedit");
  fedit.server = {0.7, 0.9};
  for (const MethodOptions& options : {fedit, Named("fdlora")}) {
    GoldenFederation federation(options);
    federation.StartFrom(Input("previous"));
    for (int64_t round = 1; round <= 4; ++round) {
      for (size_t k = 0; k < federation.size(); ++k)
        if (static_cast<int64_t>(k) % 4 != round - 1) federation.TrainAndSend(round, k, Adapter(Input("round1")[k]));
      federation.Exchange(round);
      const auto global = [&](size_t k) {
        const SiteAdapters& adapters = federation.site(k).adapters;
        return options.name == "fedit" ? adapters.Individual() : adapters.RestOfWorld();
      };
      for (size_t k = 1; k < federation.size(); ++k) ExpectNear(global(k), global(0), absl::StrCat(options.name, " ", round));
    }
  }
}

TEST(MethodsGolden, FeditPadsUnequalRanksWithZeros) {
  MethodOptions options = Named("fedit");
  options.site_ranks = Golden()["ranks"].get<std::vector<int64_t>>();
  GoldenFederation federation(options);
  federation.TrainAndSendAll(1, Input("unequal"));
  federation.Exchange(1);
  const json& want = Case("hetlora");
  ExpectNear(Divided(federation.published().values, federation.published().total_weight), Flatten(Adapter(want["mean"])), "mean");
  for (size_t k = 0; k < federation.size(); ++k)
    ExpectNear(federation.site(k).adapters.Individual(), Adapter(want["taken"][k]), absl::StrCat("taken by ", k));
}

TEST(MethodsGolden, FfaAveragesBUnderOneFrozenA) {
  GoldenFederation federation(Named("ffa"));
  for (size_t k = 0; k < federation.size(); ++k) {
    NamedTensors trained = Adapter(Input("previous"));
    const NamedTensors sent = Adapter(Input("round1")[k]);
    for (size_t i = 1; i < trained.size(); i += 2) trained[i].second = sent[i].second;
    federation.TrainAndSend(1, k, trained);
  }
  federation.Exchange(1);
  for (size_t k = 0; k < federation.size(); ++k) {
    const NamedTensors individual = federation.site(k).adapters.Individual();
    ExpectNear(individual, With(Adapter(Input("previous")), Case("ffa")["B"], false), "A as it was, mean B");
    ExpectProducts(individual, Case("ffa")["product"], "product");
  }
}

TEST(MethodsGolden, FedsaAveragesAAndKeepsB) {
  for (const auto& [weights, name] : {std::pair{SiteWeights::kSamples, "A"}, {SiteWeights::kUniform, "A_uniform"}}) {
    MethodOptions options = Named("fedsa");
    options.average_weights = weights;
    GoldenFederation federation(options);
    federation.TrainAndSendAll(1, Input("round1"));
    federation.Exchange(1);
    for (size_t k = 0; k < federation.size(); ++k)
      ExpectNear(federation.site(k).adapters.Individual(), With(Adapter(Input("round1")[k]), Case("fedsa")[name], true), name);
  }
}

TEST(MethodsGolden, RoloraTakesTurns) {
  GoldenFederation federation(Named("rolora"));
  federation.StartFrom(Input("previous"));
  for (int64_t round = 1; round <= 2; ++round) {
    for (size_t k = 0; k < federation.size(); ++k) {
      NamedTensors trained;  // what the round trains is the data's, the rest stands still
      const NamedTensors before = federation.site(k).adapters.Individual();
      const NamedTensors sent = Adapter(Input(absl::StrCat("round", round))[k]);
      for (size_t i = 0; i < before.size(); ++i)
        trained.emplace_back(before[i].first, (i % 2 == 1) == (round == 1) ? sent[i].second : before[i].second.clone());
      federation.TrainAndSend(round, k, trained);
    }
    federation.Exchange(round);
    for (size_t k = 0; k < federation.size(); ++k)
      ExpectNear(federation.site(k).adapters.Individual(), Adapter(Case("rolora")[absl::StrCat("after_round", round)]), "round");
  }
}

TEST(MethodsGolden, FeddpaAveragesTheGlobalAdapterAndMixesOutputs) {
  const json& want = Case("feddpa");
  GoldenFederation federation(Named("feddpa"));
  for (size_t k = 0; k < federation.size(); ++k) {
    ASSERT_TRUE(federation.site(k).adapters.SetIndividual(Adapter(Input("personal")[k])).ok());
    federation.TrainAndSend(1, k, Adapter(Input("round1")[k]));
  }
  federation.Exchange(1);
  for (size_t k = 0; k < federation.size(); ++k) {
    ExpectNear(federation.site(k).adapters.RestOfWorld(), Adapter(want["global"]), "global");
    ExpectNear(federation.site(k).adapters.Individual(), Adapter(Input("personal")[k]), "local");
  }
  Site& site = federation.site(want["local_site"]);
  federation.method().BeginRound(2, site);
  json cases = want["instance_wise"];
  cases.push_back(want["fixed"]);
  EXPECT_EQ(site.adapters.mode().fixed_p, want["fixed"]["weight"].get<double>()) << "the default";
  for (const json& c : cases) {
    site.adapters.mode().fixed_p = c["weight"];
    for (size_t i = 0; i < GoldenModules().size(); ++i)
      ExpectNear(Output(site, i), Matrix(c["output"][GoldenModules()[i].name], 1), GoldenModules()[i].name);
  }
}

TEST(MethodsGolden, FeddpasWeightsComeFromCosines) {
  // The authors' program lets a negative mean be a negative weight; here it counts as 0 (feddpa.cc).
  const json& want = Case("feddpa");
  const int64_t samples = static_cast<int64_t>(want["cosines"].size() / want["weights"].size());
  const at::Tensor inputs = Matrix(want["hidden"]["inputs"], static_cast<int64_t>(want["weights"].size()));
  const at::Tensor anchors = Matrix(want["hidden"]["samples"], samples);
  const at::Tensor weights = FeddpaWeights(inputs, anchors, want["scale"]);
  ExpectNear(weights, Matrix(want["weights_clipped"], 1).view({-1}), "weights");
  const at::Tensor doubled = FeddpaWeights(anchors.narrow(0, 0, 1), anchors.narrow(0, 0, 1), 2.0);
  EXPECT_EQ(doubled.item<double>(), 1.0) << "a weight is at most 1";
}

TEST(MethodsGolden, FdloraStartsFromTheMeanOfThePersonalAdaptersAndStepsAfterNesterov) {
  const json& want = Case("fdlora");
  MethodOptions options = Named("fdlora");
  options.fdlora.outer_lr = want["outer_uniform"]["eta"];
  options.fdlora.outer_momentum = want["outer_uniform"]["mu"];
  GoldenFederation federation(options);
  federation.TrainAndSendAll(1, Input("personal"));
  federation.Exchange(1);
  for (size_t k = 0; k < federation.size(); ++k) {
    // Uniform, as the paper's algorithm has it; the data's means by samples are not ours.
    ExpectNear(federation.site(k).adapters.RestOfWorld(), Adapter(want["initial_uniform"]), "start");
    ASSERT_TRUE(federation.site(k).adapters.SetRestOfWorld(Adapter(Input("previous"))).ok());
  }
  for (int64_t round = 2; round <= 3; ++round) {
    federation.TrainAndSendAll(round, Input(absl::StrCat("round", round - 1)));
    federation.Exchange(round);
    const json& step = want["outer_uniform"]["rounds"][static_cast<size_t>(round - 2)];
    for (size_t k = 0; k < federation.size(); ++k) {
      ExpectNear(federation.site(k).adapters.RestOfWorld(), Adapter(step["global"]), "global");
      ExpectNear(federation.site(k).State("velocity"), Flatten(Adapter(step["velocity"])), "velocity");
      ExpectNear(federation.site(k).adapters.Individual(), Adapter(Input("personal")[k]), "personal");
    }
  }
}

TEST(MethodsGolden, FdloraFusesFactors) {
  const json& fusion = Case("fdlora")["fusion"];
  for (const json& c : fusion["cases"]) {
    GoldenFederation federation(Named("fdlora"));
    Site& site = federation.site(fusion["personal_site"]);
    ASSERT_TRUE(site.adapters.SetIndividual(Adapter(Input("personal")[fusion["personal_site"].get<size_t>()])).ok());
    ASSERT_TRUE(site.adapters.SetRestOfWorld(Adapter(Input("previous"))).ok());
    site.SetState("fusion", at::tensor(c["w"].get<std::vector<double>>(), at::kDouble));
    ASSERT_TRUE(federation.method().PrepareUse(site).ok());
    ExpectNear(site.adapters.Individual(), Adapter(c["factors"]), "factors");
    ExpectProducts(site.adapters.Individual(), c["product"], "product");
  }
}

TEST(MethodsGolden, FloraFoldsTheStackAndStartsAnew) {
  for (const bool equal : {true, false}) {
    MethodOptions options = Named("flora");
    if (!equal) options.site_ranks = Golden()["ranks"].get<std::vector<int64_t>>();
    GoldenFederation federation(options);
    const NamedTensors first = federation.site(0).adapters.Individual();
    const at::Tensor start = first[0].second.clone();
    federation.TrainAndSendAll(1, Input(equal ? "round1" : "unequal"));
    federation.Exchange(1);
    const json& want = Case("flora")[equal ? "equal" : "unequal"];
    ExpectNear(federation.published().values, Flatten(Adapter(want["stacked"])), "stacked");
    for (size_t k = 0; k < federation.size(); ++k) {
      Site& site = federation.site(k);
      ExpectFolds(site, want["fold"], 1.0, "fold");
      federation.method().BeginRound(2, site);
      const std::vector<AdaptedModule> modules = GoldenModules();
      for (size_t i = 0; i < modules.size(); ++i) {
        const at::Tensor folded = Matrix(want["folded_base"][modules[i].name], modules[i].out_features);
        ExpectNear(Output(site, i), at::mm(Matrix(Input("x")[modules[i].name], 1), folded.t()),
                   "B is 0, so the base alone answers");
        const LoraFactors& mine = site.adapters.layer(i).adapters().individual;
        const LoraFactors& others = federation.site(0).adapters.layer(i).adapters().individual;
        const int64_t common = std::min(mine.a_ri.size(0), others.a_ri.size(0));
        EXPECT_TRUE(at::equal(mine.a_ri.narrow(0, 0, common), others.a_ri.narrow(0, 0, common))) << "the same A everywhere";
      }
    }
    EXPECT_FALSE(at::equal(federation.site(0).adapters.Individual()[0].second, start)) << "drawn anew";
  }
}

TEST(MethodsGolden, FloraAddsUpItsFolds) {
  GoldenFederation federation(Named("flora"));
  for (int64_t round = 1; round <= 2; ++round) {
    federation.TrainAndSendAll(round, Input("round1"));
    federation.Exchange(round);
  }
  ExpectFolds(federation.site(3), Case("flora")["equal"]["fold"], 2.0, "two rounds");
}

TEST(MethodsGolden, FlexloraHandsOutTheBestOfEachRank) {
  GoldenFederation equal(Named("flexlora"));
  equal.TrainAndSendAll(1, Input("round1"));
  equal.Exchange(1);
  for (size_t k = 0; k < equal.size(); ++k)
    ExpectProducts(equal.site(k).adapters.Individual(), Case("flexlora")["equal"]["product"], "equal");

  MethodOptions options = Named("flexlora");
  options.site_ranks = Golden()["ranks"].get<std::vector<int64_t>>();
  GoldenFederation unequal(options);
  unequal.TrainAndSendAll(1, Input("unequal"));
  unequal.Exchange(1);
  for (const json& want : Case("flexlora")["unequal"]["products"])
    for (size_t k = 0; k < unequal.size(); ++k)
      if (options.site_ranks[k] == want["rank"].get<int64_t>())
        ExpectProducts(unequal.site(k).adapters.Individual(), want["product"], absl::StrCat("rank ", options.site_ranks[k]));
}

TEST(MethodsGolden, FedexPutsTheResidualIntoTheBase) {
  for (const auto& [weights, name] : {std::pair{SiteWeights::kSamples, "samples"}, {SiteWeights::kUniform, "uniform"}}) {
    MethodOptions options = Named("fedex");
    options.average_weights = weights;
    GoldenFederation federation(options);
    federation.TrainAndSendAll(1, Input("round1"));
    federation.Exchange(1);
    for (size_t k = 0; k < federation.size(); ++k) {
      ExpectNear(federation.site(k).adapters.Individual(), Adapter(Case("fedex")[name]["mean"]), "mean");
      ExpectFolds(federation.site(k), Case("fedex")[name]["residual"], Golden()["scale"], "residual");
    }
  }
}

}  // namespace
}  // namespace fedalt
