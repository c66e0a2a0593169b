// The transformer against Hugging Face transformers (tests/golden/models.py).
#include "model/transformer.h"

#include <gtest/gtest.h>

#include "model_test_data.h"

namespace fedalt {
namespace {

class GoldenModel : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, GoldenModel, testing::ValuesIn(ModelNames()), [](const auto& i) { return i.param; });

// Mean of -log p(next token) over the packed sequences.
double MeanNll(const at::Tensor& logits, const PackedTokens& tokens) {
  const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble), -1);
  const int64_t* const ids = tokens.token_ids_t.data_ptr<int64_t>();
  double sum = 0;
  int64_t count = 0;
  for (size_t i = 0; i + 1 < tokens.offsets.size(); ++i)
    for (int64_t t = tokens.offsets[i]; t + 1 < tokens.offsets[i + 1]; ++t, ++count) sum -= log_p[t][ids[t + 1]].item<double>();
  return sum / static_cast<double>(count);
}

TEST_P(GoldenModel, LogitsAndLossAreThoseOfTransformers) {
  const auto model = LoadModel(ModelDirectory(GetParam()));
  ASSERT_NE(model, nullptr);
  const Golden golden(ModelDirectory(GetParam()) / "golden.safetensors");
  const PackedTokens tokens = golden.Packed();
  const at::Tensor logits = model->Logits(model->Hidden(tokens, {}));
  EXPECT_LE(MaxDifference(logits, golden.Get("logits")), 1e-4);  // float32 sums in another order
  EXPECT_NEAR(MeanNll(logits, tokens), golden.Get("nll").item<double>(), 1e-5);
}

TEST_P(GoldenModel, BFloat16StaysNear) {
  const auto model = LoadModel(ModelDirectory(GetParam()), at::kBFloat16);
  ASSERT_NE(model, nullptr);
  const Golden golden(ModelDirectory(GetParam()) / "golden.safetensors");
  const PackedTokens tokens = golden.Packed();
  const at::Tensor logits = model->Logits(model->Hidden(tokens, {}));
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  // 8 bits of mantissa through two layers; logits have a standard deviation of about 1.
  EXPECT_LE((logits - golden.Get("logits")).pow(2).mean().sqrt().item<double>(), 0.05);
  EXPECT_NEAR(MeanNll(logits, tokens), golden.Get("nll").item<double>(), 0.05);
}

TEST_P(GoldenModel, ParametersMakeTheSameModelAgain) {
  const auto model = LoadModel(ModelDirectory(GetParam()));
  ASSERT_NE(model, nullptr);
  int64_t count = 0;
  for (const auto& [name, parameter] : model->parameters()) {
    EXPECT_FALSE(parameter.requires_grad()) << name;
    count += parameter.numel();
  }
  EXPECT_EQ(count, ParameterCount(model->config()));
  const auto again = Transformer::FromTensors(model->config(), model->parameters());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->parameters()[0].second.data_ptr(), model->parameters()[0].second.data_ptr());  // shared, not copied
  const PackedTokens tokens = Golden(ModelDirectory(GetParam()) / "golden.safetensors").Packed();
  EXPECT_TRUE(at::equal((*again)->Hidden(tokens, {}), model->Hidden(tokens, {})));
}

TEST_P(GoldenModel, WantedRowsAreThoseOfAllRows) {
  const auto model = LoadModel(ModelDirectory(GetParam()));
  PackedTokens tokens = Golden(ModelDirectory(GetParam()) / "golden.safetensors").Packed();
  const at::Tensor all = model->Hidden(tokens, {});
  const std::vector<int64_t> rows = {1, 2, all.size(0) - 1};
  tokens.wanted_rows = &rows;
  EXPECT_LE(MaxDifference(model->Hidden(tokens, {}), all.index_select(0, at::tensor(rows, at::kLong))), 1e-5);
}

TEST(Transformer, WeightsOfAStackStayWhereTheyLieTogether) {
  const auto model = LoadModel(ModelDirectory("llama"));
  NamedTensors tensors = model->parameters();
  at::Tensor whole = at::randn({96, 32}), other;  // gate and up, one below the other
  for (auto& [name, tensor] : tensors) {
    if (name == "model.layers.0.mlp.gate_proj.weight") tensor = whole.narrow(0, 0, 48);
    if (name == "model.layers.0.mlp.up_proj.weight") tensor = whole.narrow(0, 48, 48);
    if (name == "model.layers.1.mlp.up_proj.weight") other = tensor = at::randn({48, 32});
  }
  const auto again = Transformer::FromTensors(model->config(), tensors);
  ASSERT_TRUE(again.ok()) << again.status();
  const auto find = [&](const std::string& name) {
    for (const Linear* linear : (*again)->linears())
      if (linear->name() == name) return linear->weight();
    return at::Tensor();
  };
  EXPECT_EQ(find("model.layers.0.mlp.gate_proj").data_ptr(), whole.data_ptr());
  EXPECT_EQ(find("model.layers.0.mlp.up_proj").data_ptr(), whole[48].data_ptr());
  const at::Tensor gate = find("model.layers.1.mlp.gate_proj"), up = find("model.layers.1.mlp.up_proj");
  EXPECT_NE(up.data_ptr(), other.data_ptr());
  EXPECT_EQ(up.data_ptr(), gate.data_ptr<float>() + gate.numel());
  EXPECT_TRUE(at::equal(up, other));
}

void ExpectMessage(const Status& status, const std::string& part) {
  EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status << "\nexpected in it: " << part;
}

// A model in memory that the tests below damage.
class Damaged : public testing::Test {
 protected:
  Damaged() {
    const auto model = LoadModel(ModelDirectory("llama"));
    config_ = model->config();
    tensors_ = model->parameters();
  }
  at::Tensor& At(const std::string& name) {
    for (auto& [n, tensor] : tensors_)
      if (n == name) return tensor;
    ADD_FAILURE() << "no tensor " << name;
    return tensors_[0].second;
  }
  Status Make() const { return Transformer::FromTensors(config_, tensors_).status(); }

  ModelConfig config_;
  NamedTensors tensors_;
};

TEST_F(Damaged, AMissingTensorIsNamedWithItsShape) {
  std::erase_if(tensors_, [](const auto& t) { return t.first == "model.layers.1.self_attn.k_proj.weight"; });
  EXPECT_EQ(KindOf(Make()), ErrorKind::kModel);
  ExpectMessage(Make(), "tensor model.layers.1.self_attn.k_proj.weight of shape [16, 32] is missing");
}

TEST_F(Damaged, AWrongShapeIsNamedWithBothShapes) {
  At("model.layers.0.mlp.down_proj.weight") = at::zeros({32, 40});
  EXPECT_EQ(KindOf(Make()), ErrorKind::kModel);
  ExpectMessage(Make(),
                "tensor model.layers.0.mlp.down_proj.weight has shape [32, 40], but "
                "config.json asks for [32, 48]");
}

TEST_F(Damaged, MoreLayersInTheConfigurationThanInTheFilesAreRefused) {
  config_.num_layers = 3;
  ExpectMessage(Make(), "model.layers.2.input_layernorm.weight");
}

TEST_F(Damaged, IntegersAreRefused) {
  At("model.norm.weight") = at::zeros({32}, at::kChar);
  ExpectMessage(Make(), "model.norm.weight has elements of type Char");
}

TEST_F(Damaged, OtherTensorsAreIgnoredAndNamesWithoutPrefixFound) {
  tensors_.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({4}));
  for (auto& [name, tensor] : tensors_)
    if (name.starts_with("model.")) name = name.substr(6);
  EXPECT_TRUE(Make().ok()) << Make();
}

TEST_F(Damaged, ATiedModelMayStoreOnlyItsHead) {
  config_.tie_word_embeddings = true;
  std::erase_if(tensors_, [](const auto& t) { return t.first == "model.embed_tokens.weight"; });
  EXPECT_TRUE(Make().ok()) << Make();
  config_.tie_word_embeddings = false;
  ExpectMessage(Make(), "model.embed_tokens.weight");
}

TEST(TransformerLoad, NamesTheDirectory) {
  const std::filesystem::path absent = ModelDirectory("no_such_model");
  const auto model = Transformer::Load(absent, {});
  EXPECT_EQ(KindOf(model.status()), ErrorKind::kModel);
  ExpectMessage(model.status(), "no_such_model");
}

}  // namespace
}  // namespace fedalt
