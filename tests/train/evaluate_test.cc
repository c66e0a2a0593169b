// Evaluation: the loss by hand, answers against references by tag, white space, and stopping.
#include "train/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "train/rouge.h"
#include "train/tiny_model.h"

namespace fedalt {
namespace {

using namespace fedalt::testing;  // NOLINT: the fixture of this folder

/// One id per byte modulo 90, from 2 on; 1 is EOS. Decoding writes "w<id> ".
class ByteTokenizer : public Tokenizer {
 public:
  StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool) const override {
    std::vector<int32_t> ids;
    for (char c : text) ids.push_back(2 + static_cast<unsigned char>(c) % 90);
    return ids;
  }
  std::string Decode(std::span<const int32_t> ids, bool) const override {
    std::string text;
    for (int32_t id : ids) text.append("w").append(std::to_string(id)).append(" ");
    return text;
  }
  std::vector<int32_t> front_ids() const override { return {}; }
  int32_t vocab_size() const override { return 96; }
  std::optional<int32_t> IdOf(std::string_view) const override { return std::nullopt; }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  std::optional<int32_t> eos_id() const override { return 1; }
};

struct Site {
  std::shared_ptr<const Transformer> model = TinyModel();
  std::unique_ptr<SiteAdapters> adapters = TinyAdapters(*model);
  ByteTokenizer tokenizer;
  ForwardContext context;
  EvalOptions options;
  EvalSet set;

  explicit Site(std::vector<Example> examples) {
    context.extensions = &adapters->extensions();
    options.max_length = 60;
    options.generate.max_new_tokens = 6;
    options.generate.batch_size = 2;
    options.loss_batch_size = 2;
    auto made = MakeEvalSet(std::move(examples), tokenizer, *PromptTemplate::Named("plain"), options, nullptr);
    EXPECT_TRUE(made.ok()) << made.status();
    set = *std::move(made);
  }
  StatusOr<EvalResult> Run() const { return Evaluate(*model, tokenizer, set, options, context); }
};

std::vector<Example> FiveExamples() {
  std::vector<Example> examples;
  for (int64_t i = 0; i < 5; ++i)
    examples.push_back(
        {i, "say " + std::string(static_cast<size_t>(i + 1), 'a'), "", "answer " + std::to_string(i), i < 2 ? "x" : "y"});
  return examples;
}

TEST(Evaluate, LossIsTheMeanOverResponseTokens) {
  Site site(FiveExamples());
  site.options.generate_answers = false;
  const at::NoGradGuard no_grad;
  std::map<std::string, std::pair<double, double>> by_tag;  // sum, tokens
  for (size_t i = 0; i < 5; ++i) {
    const TokenizedExample& example = site.set.tokenized[i];
    const std::vector<int64_t> ids(example.tokens.begin(), example.tokens.end());
    const at::Tensor tokens = at::tensor(ids, at::kLong);
    const int64_t n = tokens.size(0);
    const at::Tensor log_p = at::log_softmax(site.model->Logits(site.model->Hidden({tokens, {0, n}}, site.context)), 1);
    for (int64_t t = example.response_begin; t < n; ++t) {
      for (const std::string& tag : {site.set.examples[i].tag, std::string("all")}) {
        by_tag[tag].first -= log_p[t - 1][ids[static_cast<size_t>(t)]].item<double>();
        by_tag[tag].second += 1;
      }
    }
  }
  const auto result = site.Run();
  ASSERT_TRUE(result.ok()) << result.status();
  const auto mean = [&](const std::string& tag) { return by_tag[tag].first / by_tag[tag].second; };
  EXPECT_NEAR(result->all.loss, mean("all"), 1e-5);
  EXPECT_NEAR(result->by_tag.at("x").loss, mean("x"), 1e-5);
  EXPECT_NEAR(result->by_tag.at("y").loss, mean("y"), 1e-5);
  EXPECT_EQ(result->all.examples, 5);
  EXPECT_EQ(result->by_tag.at("x").examples, 2);
  EXPECT_TRUE(result->predictions.empty());
  const auto again = MeanLoss(*site.model, site.set.tokenized, 3, site.context);
  ASSERT_TRUE(again.ok());
  EXPECT_NEAR(*again, result->all.loss, 1e-6) << "the batch size does not matter";
}

TEST(Evaluate, TheBestOfSeveralReferencesCounts) {
  const auto answers = Site(FiveExamples()).Run();
  ASSERT_TRUE(answers.ok()) << answers.status();
  std::vector<Example> examples = FiveExamples();
  examples[1].more_outputs = {"nothing", answers->predictions[1] + "\n"};  // right
  examples[2].more_outputs = {answers->predictions[2] + " w17", ""};       // almost right
  Site site(examples);
  const auto result = site.Run();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->predictions, answers->predictions);
  EXPECT_EQ(result->all.loss, answers->all.loss) << "the loss is that of the first output";
  EXPECT_DOUBLE_EQ(result->all.exact_match, 0.2);
  double rouge1 = 0.0;
  for (size_t i = 0; i < 5; ++i) {
    double best = Rouge(examples[i].output, result->predictions[i]).rouge1;
    for (const std::string& output : examples[i].more_outputs) best = std::max(best, Rouge(output, result->predictions[i]).rouge1);
    rouge1 += best / 5;
  }
  EXPECT_NEAR(result->all.rouge1, rouge1, 1e-12);
  EXPECT_GT(result->all.rouge1, answers->all.rouge1 + 0.2);
}

TEST(Evaluate, ScoresAnswersByTag) {
  Site first(FiveExamples());
  const auto answers = first.Run();
  ASSERT_TRUE(answers.ok()) << answers.status();
  ASSERT_EQ(answers->predictions.size(), 5u);
  EXPECT_EQ(answers->all.exact_match, 0.0);
  ASSERT_FALSE(answers->predictions[0].empty());

  std::vector<Example> examples = FiveExamples();
  examples[0].output = "\n " + answers->predictions[0] + "\t";  // right apart from white space
  examples[3].output = answers->predictions[3] + " w17";        // almost right
  Site site(examples);
  const auto result = site.Run();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->predictions, answers->predictions);
  EXPECT_DOUBLE_EQ(result->all.exact_match, 0.2);
  EXPECT_DOUBLE_EQ(result->by_tag.at("x").exact_match, 0.5);
  EXPECT_DOUBLE_EQ(result->by_tag.at("y").exact_match, 0.0);
  double rouge1 = 0.0, rougeL = 0.0;
  for (size_t i = 0; i < 5; ++i) {
    const RougeScores scores = Rouge(examples[i].output, result->predictions[i]);
    rouge1 += scores.rouge1 / 5;
    rougeL += scores.rougeL / 5;
  }
  EXPECT_NEAR(result->all.rouge1, rouge1, 1e-12);
  EXPECT_NEAR(result->all.rougeL, rougeL, 1e-12);
  EXPECT_GT(result->all.rouge1, 0.3);
}

TEST(Evaluate, TagsAreOptional) {
  std::vector<Example> examples = FiveExamples();
  for (Example& example : examples) example.tag.clear();
  Site site(examples);
  site.options.generate_answers = false;
  EXPECT_TRUE(site.Run()->by_tag.empty());
}

// Answers in scripts that rouge_score does not see: right ones have 1, not 0, and the result says that they were there.
TEST(ScoreMeasures, SeesAnswersInOtherScripts) {
  EvalSet set;
  set.examples = {{0, "?", "", "\xd0\x9c\xd0\xbe\xd1\x81\xd0\xba\xd0\xb2\xd0\xb0", "ru"},
                  {1, "?", "", "\xe6\x9d\xb1\xe4\xba\xac", "ja"},
                  {2, "?", "", "Rome", "it"}};
  Measures measures(3);
  for (size_t i = 0; i < 3; ++i) measures[i] = {1.0, 1, set.examples[i].output};
  const EvalResult right = ScoreMeasures(set, measures, /*generated=*/true);
  EXPECT_EQ(right.all.rouge1, 1.0);
  EXPECT_EQ(right.all.exact_match, 1.0);
  EXPECT_EQ(right.all.beyond_latin, 2);
  EXPECT_EQ(right.by_tag.at("it").beyond_latin, 0);
  for (ExampleMeasure& measure : measures) measure.prediction = "Tokyo \xe6\x9d\xb1";
  const EvalResult wrong = ScoreMeasures(set, measures, /*generated=*/true);
  EXPECT_EQ(wrong.by_tag.at("ru").rouge1, 0.0);
  EXPECT_EQ(wrong.by_tag.at("ja").rouge1, 0.5);  // one of two characters, and a word that is not there
}

TEST(Evaluate, StopsWhenToldTo) {
  Site site(FiveExamples());
  int64_t seen = 0;
  site.options.generate.progress = [&](int64_t done) {
    seen = done;
    return false;
  };
  EXPECT_EQ(KindOf(site.Run().status()), ErrorKind::kInterrupted);
  EXPECT_EQ(seen, 2);
}

TEST(MakeEvalSet, NeedsExamplesAndRoomForAPrompt) {
  const ByteTokenizer tokenizer;
  EvalOptions options;
  const auto made = [&](std::vector<Example> examples) {
    return MakeEvalSet(std::move(examples), tokenizer, *PromptTemplate::Named("plain"), options, nullptr).status();
  };
  EXPECT_EQ(KindOf(made({})), ErrorKind::kData);
  options.max_length = 80;
  options.generate.max_new_tokens = 80;
  EXPECT_EQ(KindOf(made(FiveExamples())), ErrorKind::kConfig);
  options.generate_answers = false;
  EXPECT_TRUE(made(FiveExamples()).ok());
}

TEST(MakeEvalSet, LeavesOutWhatIsSkipped) {
  const ByteTokenizer tokenizer;
  EvalOptions options;
  options.max_length = 40;
  options.generate.max_new_tokens = 8;
  options.too_long = TooLong::kSkip;
  std::vector<Example> examples = FiveExamples();
  examples[1].output = std::string(60, 'z');
  const auto made = [&] {
    TokenizeReport report;
    return MakeEvalSet(examples, tokenizer, *PromptTemplate::Named("none"), options, &report);
  };
  const auto set = made();
  ASSERT_TRUE(set.ok()) << set.status();
  ASSERT_EQ(set->examples.size(), 4u);
  EXPECT_EQ(set->tokenized.size(), 4u);
  EXPECT_EQ(set->prompts.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(set->examples[i].id, set->tokenized[i].id);
  EXPECT_EQ(set->examples[1].id, 2);
  for (Example& example : examples) example.output = std::string(60, 'z');
  EXPECT_EQ(KindOf(made().status()), ErrorKind::kData);
  options.too_long = TooLong::kCut;
  EXPECT_EQ(made()->examples.size(), 5u);
}

}  // namespace
}  // namespace fedalt
