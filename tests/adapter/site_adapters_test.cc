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

}  // namespace
}  // namespace fedalt
