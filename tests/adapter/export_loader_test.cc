// The model that an export's fedalt_model.py makes in transformers has the logits of ours (golden: tests/golden/export_loader.py).
#include <gtest/gtest.h>

#include <memory>

#include "adapter/site_adapters.h"
#include "model/safetensors.h"

namespace fedalt {
namespace {

constexpr double kTolerance = 1e-4;  // float32 logits of size one over two layers

class ExportLoader : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = *Transformer::Load(FEDALT_TEST_DATA "/train/tiny-llama", {at::kFloat});
    golden_ = *TensorFiles::OpenFile(FEDALT_TEST_DATA "/adapter/export/logits.safetensors");
    initial_ = *TensorFiles::OpenFile(FEDALT_TEST_DATA "/train/steps/initial.safetensors");
  }

  NamedTensors Part(const std::string& name, NamedTensors like) const {
    for (auto& [key, tensor] : like) tensor = *initial_->Get(name + "/" + key);
    return like;
  }

  std::unique_ptr<SiteAdapters> Adapters(MixerKind mixer) const {
    AdapterConfig config;
    config.r = 4;
    config.lora_alpha = 8;
    config.lora_dropout = 0;
    config.mixer = mixer;
    config.fixed_p = 0.3;
    config.rest_of_world_gain = 2.5;
    auto adapters = std::make_unique<SiteAdapters>(*FindAdaptedModules(*model_, config), config);
    EXPECT_TRUE(adapters->SetIndividual(Part("individual", adapters->Individual())).ok());
    EXPECT_TRUE(adapters->SetRestOfWorld(Part("rest_of_world", adapters->RestOfWorld())).ok());
    return adapters;
  }

  double WorstDifference(const SiteAdapters& adapters, const std::string& name) const {
    const at::NoGradGuard no_grad;
    ForwardContext context;
    context.extensions = &adapters.extensions();
    const at::Tensor tokens = *golden_->Get("tokens");
    const at::Tensor logits = model_->Logits(model_->Hidden({tokens, {0, tokens.size(0)}}, context));
    return (logits - *golden_->Get(name)).abs().max().item<double>();
  }

  std::shared_ptr<const Transformer> model_;
  std::shared_ptr<TensorFiles> golden_, initial_;
};

TEST_F(ExportLoader, TokenMixer) {
  const auto adapters = Adapters(MixerKind::kToken);
  ASSERT_TRUE(adapters->SetMixer(Part("mixer", adapters->Mixer())).ok());
  EXPECT_LT(WorstDifference(*adapters, "token"), kTolerance);
  EXPECT_GT(WorstDifference(*adapters, "layer"), 10 * kTolerance) << "the golden logits tell the mixers apart";
}

TEST_F(ExportLoader, LayerMixer) {
  const auto adapters = Adapters(MixerKind::kLayer);
  NamedTensors mixer = adapters->Mixer();
  for (auto& [name, tensor] : mixer) tensor = at::tensor({0.7F, -0.4F});
  ASSERT_TRUE(adapters->SetMixer(mixer).ok());
  EXPECT_LT(WorstDifference(*adapters, "layer"), kTolerance);
}

TEST_F(ExportLoader, ConstantWeights) {
  EXPECT_LT(WorstDifference(*Adapters(MixerKind::kFixed), "constant"), kTolerance);
}

TEST_F(ExportLoader, Fold) {
  const auto adapters = Adapters(MixerKind::kNone);
  adapters->mode().branches = BranchMode::kIndividualAlone;
  for (size_t i = 0; i < adapters->modules().size(); ++i) {
    const LoraFactors& own = adapters->layer(i).adapters().individual;
    adapters->Fold(i, 0.05 * at::matmul(own.b_or, own.a_ri));
  }
  EXPECT_LT(WorstDifference(*adapters, "folded"), kTolerance);
}

}  // namespace
}  // namespace fedalt
