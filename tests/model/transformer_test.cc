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
  EXPECT_LE(MaxDifference(logits, golden.Get("logits")), 1e-4);  // measured: below 1e-5; float32 sums in another order
  EXPECT_NEAR(MeanNll(logits, tokens), golden.Get("nll").item<double>(), 1e-5);
}

}  // namespace
}  // namespace fedalt
