#include <gtest/gtest.h>

#include <map>
#include <string>

#include "data/dataset.h"

namespace fedalt {

namespace {

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

/// One id per byte, except that "\nb" is one token: a merge across the border of prompt ("...\n") and output ("b...").
class ByteTokenizer : public Tokenizer {
 public:
  bool adds_bos = true, adds_eos = false, has_eos = true;

  StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override {
    if (text.find('\xff') != text.npos) return DataError("invalid UTF-8");
    std::vector<int32_t> ids;
    if (adds_bos && add_special_tokens) ids.push_back(1);
    for (size_t i = 0; i < text.size(); ++i) {
      const bool merges = text.substr(i, 2) == "\nb";
      ids.push_back(merges ? 300 : static_cast<unsigned char>(text[i]));
      i += merges ? 1 : 0;
    }
    if (adds_eos && add_special_tokens) ids.push_back(2);
    return ids;
  }
  std::string Decode(std::span<const int32_t>, bool) const override { return ""; }
  std::vector<int32_t> front_ids() const override { return adds_bos ? std::vector<int32_t>{1} : std::vector<int32_t>(); }
  int32_t vocab_size() const override { return 301; }
  std::optional<int32_t> IdOf(std::string_view) const override { return std::nullopt; }
  std::optional<int32_t> bos_id() const override { return adds_bos ? std::optional<int32_t>(1) : std::nullopt; }
  std::optional<int32_t> eos_id() const override { return has_eos ? std::optional<int32_t>(2) : std::nullopt; }
};

Example Make(const std::string& instruction, const std::string& output, int64_t id = 0) {
  Example example;
  example.id = id;
  example.instruction = instruction;
  example.output = output;
  return example;
}

std::vector<int32_t> Bytes(const std::string& text) {
  return {text.begin(), text.end()};
}

class TokenizeTest : public ::testing::Test {
 protected:
  TokenizeTest() : prompt_template_(PromptTemplate::Named("alpaca_short").value()) {}
  StatusOr<std::vector<TokenizedExample>> Train(const Example& example, int32_t max_length = 512) {
    report_ = {};
    return TokenizeForTraining({example}, tokenizer_, prompt_template_, {max_length}, &report_);
  }
  std::string Prompt(const std::string& instruction) { return prompt_template_.Render(instruction, ""); }

  ByteTokenizer tokenizer_;
  PromptTemplate prompt_template_;
  TokenizeReport report_;
};

TEST_F(TokenizeTest, PromptThenResponseThenEos) {
  const auto result = Train(Make("ask", "xyz", 7));
  ASSERT_TRUE(result.ok()) << result.status();
  const TokenizedExample& example = result->front();
  std::vector<int32_t> wanted = Bytes(absl::StrCat("\1", Prompt("ask"), "xyz"));
  wanted.push_back(2);
  EXPECT_EQ(example.tokens, wanted);
  EXPECT_EQ(example.id, 7);
  EXPECT_EQ(example.response_begin, static_cast<int32_t>(1 + Prompt("ask").size()));
  EXPECT_EQ(report_.examples, 1);
  EXPECT_EQ(report_.longest, static_cast<int64_t>(wanted.size()));
  EXPECT_EQ(report_.prompts_cut + report_.tokens_cut, 0);
}

// Generation reads the whole prompt, so training does, too: the answer is encoded without the token that both would share.
TEST_F(TokenizeTest, ATokenAcrossTheBorderIsNotUsed) {
  const std::string prompt = Prompt("ask");
  ASSERT_EQ(prompt.back(), '\n');
  const TokenizedExample example = Train(Make("ask", "bc")).value().front();
  EXPECT_EQ(example.response_begin, static_cast<int32_t>(1 + prompt.size()));
  EXPECT_EQ(std::vector<int32_t>(example.tokens.begin() + example.response_begin, example.tokens.end()),
            (std::vector<int32_t>{'b', 'c', 2}));
}

TEST_F(TokenizeTest, AnEmptyOutputIsEosAlone) {
  const TokenizedExample example = Train(Make("ask", "")).value().front();
  EXPECT_EQ(example.response_begin, static_cast<int32_t>(example.tokens.size()) - 1);
  EXPECT_EQ(example.tokens.back(), 2);
}

TEST_F(TokenizeTest, ATokenizerThatAddsEosGivesTheSame) {
  const TokenizedExample without = Train(Make("ask", "xyz")).value().front();
  const TokenizedExample without_output = Train(Make("ask", "")).value().front();
  tokenizer_.adds_eos = true;
  EXPECT_EQ(Train(Make("ask", "xyz")).value().front().tokens, without.tokens);
  EXPECT_EQ(Train(Make("ask", "xyz")).value().front().response_begin, without.response_begin);
  EXPECT_EQ(Train(Make("ask", "")).value().front().tokens, without_output.tokens);
  EXPECT_EQ(Train(Make("ask", "")).value().front().response_begin, without_output.response_begin);
  EXPECT_NE(TokenizePrompts({Make("ask", "")}, tokenizer_, prompt_template_, 100, nullptr)->front().ids.back(), 2);
}

TEST_F(TokenizeTest, CutsThePromptAtItsBeginningAndKeepsBos) {
  const std::string prompt = Prompt("0123456789");
  for (const bool bos : {true, false}) {
    tokenizer_.adds_bos = bos;
    const int64_t whole = static_cast<int64_t>(Train(Make("0123456789", "xyz")).value().front().tokens.size());
    const TokenizedExample example = Train(Make("0123456789", "xyz"), static_cast<int32_t>(whole) - 3).value().front();
    std::vector<int32_t> wanted = Bytes(absl::StrCat(bos ? "\1" : "", prompt.substr(3), "xyz"));
    wanted.push_back(2);
    EXPECT_EQ(example.tokens, wanted);
    EXPECT_EQ(example.tokens[static_cast<size_t>(example.response_begin)], 'x');
    EXPECT_EQ(report_.prompts_cut, 1);
    EXPECT_EQ(report_.tokens_cut, 3);
    EXPECT_EQ(report_.longest, whole);
  }
}

TEST_F(TokenizeTest, NeverDropsAResponse) {
  // 3 + EOS = 4 tokens of response, so 5 leave one token of prompt.
  const auto result = Train(Make("ask", "xyz"), 5);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->front().tokens, (std::vector<int32_t>{1, 'x', 'y', 'z', 2}));
  EXPECT_EQ(result->front().response_begin, 1);
  EXPECT_EQ(report_.responses_cut + report_.skipped, 0);
}

// As TRL's keep_start and LLaMA-Factory do, the end goes, and EOS with it: a model that learned to stop there would learn wrongly.
TEST_F(TokenizeTest, CutsTheEndOfAnAnswerThatLeavesNoRoom) {
  const std::string answer = "0123456789abcdefghij";  // 21 tokens with EOS
  const auto result = Train(Make("ask", answer), 12);
  ASSERT_TRUE(result.ok()) << result.status();
  // Half of the 12 tokens are the prompt's: BOS and its last five characters.
  const std::string prompt = Prompt("ask");
  EXPECT_EQ(result->front().tokens, Bytes(absl::StrCat("\1", prompt.substr(prompt.size() - 5), "012345")));
  EXPECT_EQ(result->front().response_begin, 6);
  EXPECT_EQ(report_.responses_cut, 1);
  EXPECT_EQ(report_.response_tokens_cut, 21 - 6);
  EXPECT_EQ(report_.prompts_cut, 1);
  EXPECT_EQ(report_.skipped, 0);
  EXPECT_EQ(report_.longest, static_cast<int64_t>(1 + prompt.size()) + 21);
}

TEST_F(TokenizeTest, AShortPromptStaysWholeBeforeAnAnswerThatIsCut) {
  prompt_template_ = PromptTemplate::Named("none").value();
  const auto result = Train(Make("ask", "0123456789abcdefghij"), 12);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->front().tokens, Bytes("\1ask01234567"));
  EXPECT_EQ(report_.prompts_cut, 0);
  EXPECT_EQ(report_.response_tokens_cut, 21 - 8);
}

TEST_F(TokenizeTest, SkipsOrRefusesAnAnswerThatLeavesNoRoom) {
  const std::vector<Example> examples = {Make("ask", "xy", 0), Make("ask", "wxyz", 1), Make("ask", "", 2)};
  TokenizeReport report;
  const auto kept = TokenizeForTraining(examples, tokenizer_, prompt_template_, {5, TooLong::kSkip}, &report);
  ASSERT_TRUE(kept.ok()) << kept.status();
  ASSERT_EQ(kept->size(), 2u);
  EXPECT_EQ((*kept)[0].id, 0);
  EXPECT_EQ((*kept)[1].id, 2);
  EXPECT_EQ(report.examples, 3);
  EXPECT_EQ(report.skipped, 1);
  EXPECT_EQ(report.responses_cut, 0);
  const auto refused = TokenizeForTraining(examples, tokenizer_, prompt_template_, {5, TooLong::kRefuse}, nullptr);
  EXPECT_EQ(KindOf(refused.status()), ErrorKind::kData);
  EXPECT_SAYS(refused.status().message(), "example 1: its output has 5 tokens");
}

TEST_F(TokenizeTest, SaysWhatTheTokenizerCannotDo) {
  EXPECT_SAYS(Train(Make("a\xff", "xyz", 3)).status().message(), "example 3: invalid UTF-8");
  tokenizer_.has_eos = false;
  EXPECT_SAYS(Train(Make("ask", "xyz")).status().message(), "names no EOS token");
  EXPECT_EQ(KindOf(Train(Make("ask", "xyz")).status()), ErrorKind::kModel);
}

TEST_F(TokenizeTest, PromptsAlone) {
  TokenizeReport report;
  const std::string first = Prompt("ask"), second = Prompt("0123456789");
  const int32_t limit = static_cast<int32_t>(first.size()) + 1;
  const auto prompts =
      TokenizePrompts({Make("ask", "never seen"), Make("0123456789", "")}, tokenizer_, prompt_template_, limit, &report);
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  EXPECT_EQ((*prompts)[0].ids, Bytes(absl::StrCat("\1", first)));
  EXPECT_EQ((*prompts)[1].ids, Bytes(absl::StrCat("\1", second.substr(7))));
  EXPECT_EQ(report.examples, 2);
  EXPECT_EQ(report.prompts_cut, 1);
  EXPECT_SAYS(TokenizePrompts({Make("\xff", "", 4)}, tokenizer_, prompt_template_, 8, nullptr).status().message(),
              "example 4: invalid UTF-8");
}

}  // namespace
}  // namespace fedalt
