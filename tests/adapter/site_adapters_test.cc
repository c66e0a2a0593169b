// Which linears are adapted, how initial values are drawn, and values that do not fit.
#include "adapter/site_adapters.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace fedalt {
namespace {

std::vector<AdaptedModule> TwoModules() {
  return {{"model.layers.0.self_attn.q_proj", 0, 64, 32}, {"model.layers.1.mlp.up_proj", 5, 100, 200}};
}

std::shared_ptr<const Transformer> TinyModel() {
  auto model = Transformer::Load(FEDALT_TEST_DATA "/train/tiny-llama", {at::kFloat});
  EXPECT_TRUE(model.ok()) << model.status();
  return *model;
}

TEST(FindAdaptedModules, TakesWhatIsNamed) {
  const auto model = TinyModel();
  AdapterConfig config;
  auto modules = FindAdaptedModules(*model, config);
  ASSERT_TRUE(modules.ok());
  ASSERT_EQ(modules->size(), 4u);
  EXPECT_EQ((*modules)[0].name, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ((*modules)[3].name, "model.layers.1.self_attn.v_proj");
  EXPECT_EQ((*modules)[1].out_features, 16);
  EXPECT_EQ((*modules)[1].in_features, 32);
  config.target_modules = {"all-linear"};
  EXPECT_EQ(FindAdaptedModules(*model, config)->size(), 14u);
  config.target_modules = {"self_attn.k_proj", "model.layers.0.mlp.gate_proj"};
  EXPECT_EQ(FindAdaptedModules(*model, config)->size(), 3u);
  config.target_modules = {"q_proj", "query"};
  const Status unknown = FindAdaptedModules(*model, config).status();
  EXPECT_EQ(KindOf(unknown), ErrorKind::kConfig);
  EXPECT_NE(unknown.message().find("\"query\""), std::string::npos);
  EXPECT_NE(unknown.message().find("down_proj"), std::string::npos) << "lists what there is";
  config.target_modules = {};
  EXPECT_EQ(KindOf(FindAdaptedModules(*model, config).status()), ErrorKind::kConfig);
}

TEST(SiteAdapters, InitialValuesAreDrawnAsPublished) {
  AdapterConfig config;
  SiteAdapters site(TwoModules(), config);
  site.Initialize({1, 0, true});
  for (size_t i = 0; i < 2; ++i) {
    const LayerAdapters& adapters = site.layer(i).adapters();
    const double bound = 1.0 / std::sqrt(static_cast<double>(site.modules()[i].in_features));
    for (const at::Tensor& drawn : {adapters.individual.a_ri, adapters.rest_of_world.a_ri, adapters.mixer}) {
      EXPECT_LE(drawn.abs().max().item<double>(), bound);
      EXPECT_GT(drawn.abs().max().item<double>(), 0.9 * bound);
      EXPECT_NEAR(drawn.mean().item<double>(), 0.0, 4 * bound / std::sqrt(3.0 * static_cast<double>(drawn.numel())));
    }
    EXPECT_EQ(adapters.individual.b_or.abs().max().item<double>(), 0.0);
    EXPECT_EQ(adapters.rest_of_world.b_or.abs().max().item<double>(), 0.0);
    EXPECT_FALSE(at::equal(adapters.individual.a_ri, adapters.rest_of_world.a_ri));
  }
  ASSERT_EQ(site.extensions().size(), 6u);
  EXPECT_EQ(site.extensions()[0], &site.layer(0));
  EXPECT_EQ(site.extensions()[5], &site.layer(1));
  EXPECT_EQ(site.extensions()[3], nullptr);
}

TEST(SiteAdapters, SharedAndOwnInitialValues) {
  AdapterConfig config;
  SiteAdapters first(TwoModules(), config), second(TwoModules(), config);
  const auto a = [](const SiteAdapters& site) { return site.layer(0).adapters().individual.a_ri; };
  const auto mixer = [](const SiteAdapters& site) { return site.layer(0).adapters().mixer; };
  first.Initialize({1, 0, true});
  second.Initialize({1, 1, true});
  EXPECT_TRUE(at::equal(a(first), a(second)));
  EXPECT_FALSE(at::equal(mixer(first), mixer(second))) << "the mixer is personal";
  second.Initialize({1, 1, false});
  first.Initialize({1, 0, false});
  EXPECT_FALSE(at::equal(a(first), a(second)));
  second.Initialize({1, 0, false});
  EXPECT_TRUE(at::equal(a(first), a(second)));
  second.Initialize({2, 0, false});
  EXPECT_FALSE(at::equal(a(first), a(second)));
}

TEST(SiteAdapters, TensorsHaveNamesAndShareStorage) {
  AdapterConfig config;
  SiteAdapters site(TwoModules(), config);
  const NamedTensors individual = site.Individual();
  ASSERT_EQ(individual.size(), 4u);
  EXPECT_EQ(individual[3].first, "model.layers.1.mlp.up_proj.lora_B.weight");
  EXPECT_EQ(individual[3].second.sizes(), (std::vector<int64_t>{200, 8}));
  individual[3].second.fill_(3.0);
  EXPECT_EQ(site.layer(1).adapters().individual.b_or.sum().item<double>(), 4800.0);
  EXPECT_EQ(site.Mixer()[0].first, "model.layers.0.self_attn.q_proj.mixer.weight");
  config.mixer = MixerKind::kNone;
  EXPECT_TRUE(SiteAdapters(TwoModules(), config).Mixer().empty());
  config.mixer = MixerKind::kLayer;
  EXPECT_EQ(SiteAdapters(TwoModules(), config).Mixer()[1].second.sizes(), (std::vector<int64_t>{2}));
}

TEST(SiteAdapters, RefusesValuesThatDoNotFitAndChangesNothing) {
  AdapterConfig config;
  SiteAdapters site(TwoModules(), config);
  site.Initialize({1, 0, true});
  NamedTensors good;
  for (const auto& [name, tensor] : site.Individual()) good.emplace_back(name, at::ones_like(tensor));
  NamedTensors missing = good, shape = good, extra = good, twice = good;
  missing.pop_back();
  shape.back().second = at::ones({3, 3});
  extra.emplace_back("other", at::ones({1}));
  twice.push_back(good[0]);
  const at::Tensor before = site.Individual()[0].second.clone();
  for (const NamedTensors& wrong : {missing, shape, extra, twice}) EXPECT_EQ(KindOf(site.SetIndividual(wrong)), ErrorKind::kModel);
  EXPECT_TRUE(at::equal(site.Individual()[0].second, before));
  std::reverse(good.begin(), good.end());
  EXPECT_TRUE(site.SetIndividual(good).ok()) << "the order does not matter";
  EXPECT_EQ(site.Individual()[0].second.min().item<double>(), 1.0);
}

TEST(SiteAdapters, AnotherDrawIsAnotherStartAndZeroIsTheFirst) {
  AdapterConfig config;
  SiteAdapters first(TwoModules(), config), again(TwoModules(), config);
  const auto a = [](const SiteAdapters& site) { return site.layer(0).adapters().individual.a_ri.clone(); };
  first.Initialize({1, 0, true});
  const at::Tensor start = a(first);
  again.Initialize({1, 3, true, 0});
  EXPECT_TRUE(at::equal(start, a(again)));
  first.Initialize({1, 0, true, 2});
  again.Initialize({1, 3, true, 2});
  EXPECT_FALSE(at::equal(start, a(first)));
  EXPECT_TRUE(at::equal(a(first), a(again))) << "a draw is shared, too";
  again.Initialize({1, 3, true, 3});
  EXPECT_FALSE(at::equal(a(first), a(again)));
  first.Individual()[1].second.fill_(1.0);
  first.Initialize({1, 0, true, 4});
  EXPECT_EQ(first.Individual()[1].second.abs().max().item<double>(), 0.0) << "B starts at zero again";
}

/// A rest of world of rank `r` in the first module and `second_r` in the other, with the values `value`.
NamedTensors Others(const SiteAdapters& site, int64_t r, int64_t second_r, double value) {
  NamedTensors others;
  for (const AdaptedModule& module : site.modules()) {
    const int64_t rank = others.empty() ? r : second_r;
    others.emplace_back(module.name + ".lora_A.weight", at::full({rank, module.in_features}, value));
    others.emplace_back(module.name + ".lora_B.weight", at::full({module.out_features, rank}, value));
  }
  return others;
}

TEST(SiteAdapters, TheRestOfWorldHasAnyRankInEachModule) {
  AdapterConfig config;
  config.mixer = MixerKind::kNone;
  SiteAdapters site(TwoModules(), config);
  site.Initialize({1, 0, true});
  const auto output = [&] {
    at::Tensor y = at::zeros({1, 32});
    site.layer(0).Add(at::ones({1, 64}), y, {}, false);
    return y[0][0].item<double>();
  };
  EXPECT_EQ(output(), 0.0);
  ASSERT_TRUE(site.SetRestOfWorld(Others(site, 56, 3, 0.5)).ok());
  EXPECT_EQ(site.RestOfWorld()[0].second.size(0), 56);
  EXPECT_EQ(site.RestOfWorld()[3].second.size(1), 3);
  EXPECT_EQ(output(), 4.0 * 64 * 56 * 0.25) << "s x A^T B^T";

  NamedTensors missing = Others(site, 2, 2, 9.0), shape = missing, mixed = missing, none = Others(site, 0, 0, 9.0);
  missing.pop_back();
  shape[3].second = at::ones({7, 2});
  mixed[0].second = at::ones({4, 64});  // A of rank 4, B of rank 2
  for (const NamedTensors& wrong : {missing, shape, mixed, none}) {
    const Status status = site.SetRestOfWorld(wrong);
    EXPECT_EQ(KindOf(status), ErrorKind::kModel);
    EXPECT_NE(status.message().find("rest-of-world adapter"), std::string::npos) << status;
    EXPECT_EQ(output(), 4.0 * 64 * 56 * 0.25) << "nothing has changed, ranks included";
    EXPECT_EQ(site.RestOfWorld()[2].second.size(0), 3);
  }
  EXPECT_EQ(KindOf(site.SetIndividual(Others(site, 4, 4, 1.0))), ErrorKind::kModel) << "the individual adapter has rank r";
  ASSERT_TRUE(site.SetRestOfWorld(Others(site, 8, 8, 1.0)).ok()) << "and back";
  EXPECT_EQ(output(), 4.0 * 64 * 8);
}

TEST(SiteAdapters, BranchesChangePlacesRanksIncluded) {
  AdapterConfig config;
  SiteAdapters site(TwoModules(), config);
  site.Initialize({1, 0, true});
  ASSERT_TRUE(site.SetRestOfWorld(Others(site, 3, 5, 0.5)).ok());
  const NamedTensors individual = site.Individual(), others = site.RestOfWorld();
  site.SwapBranches();
  for (size_t i = 0; i < individual.size(); ++i) {
    EXPECT_TRUE(site.Individual()[i].second.is_same(others[i].second));
    EXPECT_TRUE(site.RestOfWorld()[i].second.is_same(individual[i].second));
  }
  site.SwapBranches();
  EXPECT_TRUE(site.Individual()[0].second.is_same(individual[0].second));
}

TEST(SiteAdapters, FoldsAddUpAndAreSetAsAWhole) {
  AdapterConfig config;
  SiteAdapters site(TwoModules(), config);
  EXPECT_TRUE(site.Folds().empty());
  for (size_t i = 0; i < 2; ++i) {
    const AdaptedModule& module = site.modules()[i];
    const at::Tensor delta = at::full({module.out_features, module.in_features}, 1.5, at::kDouble);
    site.Fold(i, delta);
    delta.zero_();
    site.Fold(i, at::ones({module.out_features, module.in_features}, at::kDouble));
  }
  const auto is_all = [&](double value) {
    for (const auto& [name, fold] : site.Folds())
      if (fold.scalar_type() != at::kFloat || !fold.eq(value).all().item<bool>()) return false;
    return site.Folds().size() == 2;
  };
  EXPECT_EQ(site.Folds()[1].first, "model.layers.1.mlp.up_proj.fold.weight");
  EXPECT_TRUE(is_all(2.5));
  NamedTensors good = site.Folds(), missing, shape, extra;
  for (auto& [name, fold] : good) fold = at::full_like(fold, 7.0);
  missing = shape = extra = good;
  missing.pop_back();
  shape[0].second = at::ones({3, 3});
  extra.emplace_back("other", at::ones({1}));
  for (const NamedTensors& wrong : {missing, shape, extra}) {
    EXPECT_EQ(KindOf(site.SetFolds(wrong)), ErrorKind::kModel);
    EXPECT_TRUE(is_all(2.5)) << "nothing has changed";
  }
  ASSERT_TRUE(site.SetFolds(good).ok());
  EXPECT_TRUE(is_all(7.0));
  ASSERT_TRUE(site.SetFolds({}).ok());
  EXPECT_TRUE(site.Folds().empty());
}

}  // namespace
}  // namespace fedalt
