// Greedy decoding and beam search against Hugging Face transformers (tests/golden/models.py, generate.py), and sampling.
#include "model/generate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>

#include "base/interrupt.h"
#include "model_test_data.h"

namespace fedalt {
namespace {

using Ids = std::vector<std::vector<int32_t>>;

Ids MustGenerate(const Transformer& model, const Ids& prompts, const GenerateOptions& options) {
  auto out = Generate(model, prompts, options, {});
  EXPECT_TRUE(out.ok()) << out.status();
  return out.ok() ? *out : Ids{};
}

std::vector<int32_t> Narrow(const std::vector<int64_t>& ids) {
  return {ids.begin(), ids.end()};
}

class GoldenGreedy : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, GoldenGreedy, testing::ValuesIn(ModelNames()), [](const auto& i) { return i.param; });

TEST_P(GoldenGreedy, SixtyFourTokensAreThoseOfTransformers) {
  const auto model = LoadModel(ModelDirectory(GetParam()));
  ASSERT_NE(model, nullptr);
  const Golden golden(ModelDirectory(GetParam()) / "golden.safetensors");
  const Ids out = MustGenerate(*model, {Narrow(golden.Ints("greedy_prompt"))}, {.max_new_tokens = 64});
  EXPECT_EQ(out[0], Narrow(golden.Ints("greedy")));
}

// All cases of one file of generate.py; batches of 7, so that prompts of different lengths share one.
void CompareCases(const Transformer& model, const Golden& golden) {
  const Ids prompts = golden.Sequences("prompts", "prompt_offsets");
  ASSERT_EQ(prompts.size(), 50u);
  int cases = 0;
  for (; golden.Has(absl::StrCat("case_", cases, ".eos")); ++cases) {
    const std::string name = absl::StrCat("case_", cases);
    GenerateOptions options;
    options.eos_ids = golden.Ints(name + ".eos");
    options.beams = golden.Ints(name + ".settings")[0];
    options.max_new_tokens = golden.Ints(name + ".settings")[1];
    options.length_penalty = golden.Get(name + ".length_penalty").item<double>();
    options.batch_size = 7;
    const Ids expected = golden.Sequences(name + ".out", name + ".out_offsets");
    const Ids out = MustGenerate(model, prompts, options);
    ASSERT_EQ(out.size(), expected.size());
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], expected[i]) << name << ", prompt " << i;
  }
  EXPECT_GT(cases, 0);
}

class GoldenBeams : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, GoldenBeams, testing::Values("llama", "qwen2", "bloom"), [](const auto& i) { return i.param; });

TEST_P(GoldenBeams, FiftyPromptsEndAsInTransformers) {
  const auto model = LoadModel(ModelDirectory(GetParam()));
  ASSERT_NE(model, nullptr);
  CompareCases(*model, Golden(ModelDirectory("generate") / (GetParam() + ".safetensors")));
}

TEST(TinyStories, LogitsGreedyAndBeamsAreThoseOfTransformers) {
  const char* const assets = std::getenv("FEDALT_TEST_ASSETS");
  if (assets == nullptr) GTEST_SKIP() << "set FEDALT_TEST_ASSETS to the folder that holds models/tinystories-656k to run this test";
  const auto model = LoadModel(std::filesystem::path(assets) / "models" / "tinystories-656k");
  ASSERT_NE(model, nullptr);
  const Golden golden(ModelDirectory("generate") / "tinystories.safetensors");
  const std::vector<int64_t> text = golden.Ints("text_ids");
  const int64_t n = static_cast<int64_t>(text.size());
  const at::Tensor logits = model->Logits(model->Hidden({golden.Get("text_ids").contiguous(), {0, n}}, {}));
  EXPECT_LE(MaxDifference(logits[n - 1], golden.Get("last_logits")), 1e-4);
  const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble), 1);
  double nll = 0;
  for (int64_t t = 0; t + 1 < n; ++t) nll -= log_p[t][text[static_cast<size_t>(t) + 1]].item<double>();
  EXPECT_NEAR(nll / static_cast<double>(n - 1), golden.Get("nll").item<double>(), 1e-5);
  EXPECT_EQ(MustGenerate(*model, {Narrow(golden.Ints("greedy_prompt"))}, {.max_new_tokens = 64})[0], Narrow(golden.Ints("greedy")));
  CompareCases(*model, golden);
}

class SmallLlama : public testing::Test {
 protected:
  std::shared_ptr<const Transformer> model_ = LoadModel(ModelDirectory("llama"));
  const Ids prompts_ = {{5, 6, 7, 8}, {9}, {10, 11, 12, 13, 14, 15}, {16, 17}, {18, 19, 20}};
};

TEST_F(SmallLlama, ResultsStandInTheOrderOfThePromptsWhateverTheBatch) {
  GenerateOptions options{.max_new_tokens = 12, .eos_ids = {61}};
  for (const int64_t beams : {1, 4}) {
    options.beams = beams;
    options.batch_size = 1;
    const Ids alone = MustGenerate(*model_, prompts_, options);
    for (const int64_t batch_size : {2, 5}) {
      options.batch_size = batch_size;
      EXPECT_EQ(MustGenerate(*model_, prompts_, options), alone) << beams << " beams, batches of " << batch_size;
    }
  }
}

TEST_F(SmallLlama, SamplingIsAFunctionOfSeedAndPrompt) {
  GenerateOptions options{.max_new_tokens = 10, .temperature = 1.0, .seed = 3};
  const Ids first = MustGenerate(*model_, prompts_, options);
  options.batch_size = 2;
  EXPECT_EQ(MustGenerate(*model_, prompts_, options), first);
  options.seed = 4;
  EXPECT_NE(MustGenerate(*model_, prompts_, options), first);
}

TEST_F(SmallLlama, TopKOneAndAColdTemperatureAreGreedy) {
  const Ids greedy = MustGenerate(*model_, prompts_, {.max_new_tokens = 10});
  EXPECT_EQ(MustGenerate(*model_, prompts_, {.max_new_tokens = 10, .temperature = 1.0, .top_k = 1}), greedy);
  EXPECT_EQ(MustGenerate(*model_, prompts_, {.max_new_tokens = 10, .temperature = 1.0, .top_p = 1e-9}), greedy);
  EXPECT_EQ(MustGenerate(*model_, prompts_, {.max_new_tokens = 10, .temperature = 1e-4}), greedy);
}

TEST_F(SmallLlama, SamplesFollowTheDistribution) {
  const Ids same(4000, {5, 6, 7});
  std::map<int32_t, int> count;
  for (const auto& out : MustGenerate(*model_, same, {.max_new_tokens = 1, .temperature = 0.7, .top_k = 5, .batch_size = 4000}))
    ++count[out[0]];
  const at::Tensor logits = model_->Logits(model_->Hidden({at::tensor({5, 6, 7}, at::kLong), {0, 3}}, {}))[2] / 0.7;
  const auto [top, ids] = logits.topk(5);
  const at::Tensor p = top.softmax(0);
  EXPECT_EQ(count.size(), 5u);
  for (int64_t i = 0; i < 5; ++i) {
    const double expected = 4000 * p[i].item<double>();
    EXPECT_NEAR(count[static_cast<int32_t>(ids[i].item<int64_t>())], expected, 5 * std::sqrt(expected) + 1);
  }
}

TEST_F(SmallLlama, StopsBetweenTokens) {
  int tokens = 0;
  GenerateOptions options{.max_new_tokens = 6};
  options.on_token = [&](int32_t) { SetInterruptRequested(++tokens == 2); };
  const auto stopped = Generate(*model_, {prompts_[0]}, options, {});
  SetInterruptRequested(true);
  const auto with_beams = Generate(*model_, prompts_, {.max_new_tokens = 6, .beams = 4}, {});
  SetInterruptRequested(false);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(KindOf(stopped.status()), ErrorKind::kInterrupted);
  EXPECT_EQ(tokens, 2);
  ASSERT_FALSE(with_beams.ok());
  EXPECT_EQ(KindOf(with_beams.status()), ErrorKind::kInterrupted);
}

TEST_F(SmallLlama, CallbacksSeeTokensAndMayStop) {
  std::vector<int32_t> seen;
  GenerateOptions options{.max_new_tokens = 6};
  options.on_token = [&](int32_t token) { seen.push_back(token); };
  const Ids out = MustGenerate(*model_, {prompts_[0]}, options);
  EXPECT_EQ(out[0], seen);
  EXPECT_EQ(seen.size(), 6u);
  options.on_token = nullptr;
  options.batch_size = 2;
  std::vector<int64_t> done;
  options.progress = [&](int64_t n) {
    done.push_back(n);
    return n < 4;
  };
  const Ids stopped = MustGenerate(*model_, prompts_, options);
  EXPECT_EQ(done, (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(stopped[1].size(), 6u);  // the shortest prompts come first
  EXPECT_TRUE(stopped[2].empty());
  EXPECT_TRUE(MustGenerate(*model_, prompts_, {.max_new_tokens = 0, .beams = 4})[0].empty());
}

TEST_F(SmallLlama, BadRequestsAreErrors) {
  EXPECT_EQ(KindOf(Generate(*model_, {{}}, {}, {}).status()), ErrorKind::kData);
  EXPECT_EQ(KindOf(Generate(*model_, {{96}}, {}, {}).status()), ErrorKind::kModel);
  EXPECT_EQ(KindOf(Generate(*model_, {{-1}}, {}, {}).status()), ErrorKind::kModel);
  EXPECT_EQ(KindOf(Generate(*model_, prompts_, {.beams = 0}, {}).status()), ErrorKind::kConfig);
  EXPECT_EQ(KindOf(Generate(*model_, prompts_, {.beams = 2, .temperature = 1.0}, {}).status()), ErrorKind::kConfig);
  EXPECT_EQ(KindOf(Generate(*model_, prompts_, {.temperature = 1.0, .top_p = 0.0}, {}).status()), ErrorKind::kConfig);
}

}  // namespace
}  // namespace fedalt
