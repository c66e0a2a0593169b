// Over every tokenizer at hand: training, evaluation and generation read the same tokens of a prompt, and an answer's tokens behind
// them write the answer.
#include "text/prompt_tokens.h"

#include <absl/strings/ascii.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "text/golden_data.h"
#include "text/streaming_decoder.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// Every folder below `root` that holds a tokenizer, and every file that is one under another name.
void Collect(const fs::path& root, std::vector<fs::path>& paths) {
  if (!fs::is_directory(root)) return;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (!entry.is_directory()) continue;
    const fs::path path = entry.path();
    const bool whole =
        fs::exists(path / "tokenizer.json") || fs::exists(path / "tokenizer.model") || fs::exists(path / "merges.txt");
    if (whole) paths.push_back(path);
    for (const auto& file : fs::directory_iterator(path)) {
      const std::string name = file.path().filename();
      if (name.starts_with("tokenizer.") && name != "tokenizer.json" && name != "tokenizer.model") paths.push_back(file.path());
    }
  }
}

/// GPT-2's own two files name no family.
StatusOr<std::shared_ptr<const Tokenizer>> Load(const fs::path& path) {
  if (!fs::exists(path / "merges.txt") || fs::exists(path / "tokenizer_config.json")) return Tokenizer::Load(path);
  SpecialTokens special;
  special.tokenizer_class = "GPT2Tokenizer";
  return LoadVocabAndMerges(golden::ReadText(path / "vocab.json"), golden::ReadText(path / "merges.txt"), special);
}

std::vector<fs::path> Tokenizers() {
  std::vector<fs::path> paths;
  Collect(golden::DataDirectory(), paths);
  Collect(fs::path(FEDALT_TEST_DATA), paths);
  if (const fs::path assets = golden::AssetDirectory(); !assets.empty())
    for (const char* folder : {"tokenizers", "models", "cases"}) Collect(assets / folder, paths);
  std::sort(paths.begin(), paths.end());
  return paths;
}

const std::vector<Example>& Awkward() {
  static const std::vector<Example> examples = [] {
    std::vector<Example> made;
    const std::vector<std::pair<std::string, std::string>> prompts = {
        {"What is the capital of France?", ""},
        {"Answer:", "the input"},
        {"ends in blanks   ", ""},
        {"ends in a line break\n", ""},
        {"tab\t", " \t "},
        {"Wie heißt die Hauptstadt?", "\n\n"},
        {"東京は何ですか", "日本語"},
        {"Emoji \xF0\x9F\x98\x80\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9", "\xF0\x9F\x98\x80"},
        {"text of <s> special </s> tokens <|endoftext|> <|im_end|>", "</s>"},
        {"(", "\""},
    };
    const std::vector<std::string> answers = {"Paris",
                                              "yes",
                                              "42",
                                              "is it? yes.",
                                              " begins with a blank",
                                              "\nnew line",
                                              "two\n\nlines",
                                              "    indented",
                                              "trailing  ",
                                              "Привет, мир",
                                              "東京",
                                              "\xF0\x9F\x98\x80 ok",
                                              "\xCC\x81 accent",
                                              ":) (x)",
                                              "'s",
                                              "</s>",
                                              ""};
    for (const auto& [instruction, input] : prompts)
      for (const std::string& answer : answers) made.push_back({static_cast<int64_t>(made.size()), instruction, input, answer, ""});
    return made;
  }();
  return examples;
}

std::string Streamed(const Tokenizer& tokenizer, const PromptTokens& prompt, const std::vector<int32_t>& answer) {
  StreamingDecoder decoder(tokenizer, prompt);
  std::string text;
  for (const int32_t id : answer) text += decoder.Push(id);
  return text + decoder.Finish();
}

/// Returns how many of the answers were written exactly.
int64_t Check(const Tokenizer& tokenizer, const PromptTemplate& prompt_template) {
  TokenizeReport report;
  const auto trained = TokenizeForTraining(Awkward(), tokenizer, prompt_template, {100000}, &report);
  const auto prompts = TokenizePrompts(Awkward(), tokenizer, prompt_template, 100000, nullptr);
  EXPECT_TRUE(trained.ok() && prompts.ok()) << trained.status() << prompts.status();
  if (!trained.ok() || !prompts.ok()) return 0;
  int64_t exact = 0, differing = 0;
  for (size_t i = 0; i < Awkward().size(); ++i) {
    const Example& example = Awkward()[i];
    SCOPED_TRACE(Json({prompt_template.name(), example.instruction, example.input, example.output}).dump());
    const std::string text = prompt_template.Render(example.instruction, example.input);
    const std::vector<int32_t>& tokens = (*trained)[i].tokens;
    const PromptTokens& prompt = (*prompts)[i];
    const auto begin = tokens.begin() + (*trained)[i].response_begin;
    EXPECT_EQ(std::vector<int32_t>(tokens.begin(), begin), prompt.ids);
    EXPECT_EQ(EncodePrompt(tokenizer, text)->ids, prompt.ids);  // what `generate` feeds
    EXPECT_EQ(tokens.back(), *tokenizer.eos_id());
    const std::vector<int32_t> answer(begin, tokens.end() - 1);
    const std::string written = AnswerText(tokenizer, prompt, answer);
    EXPECT_EQ(Streamed(tokenizer, prompt, answer), written);
    differing += absl::StripAsciiWhitespace(written) != absl::StripAsciiWhitespace(example.output) ? 1 : 0;
    // A tokenizer that keeps this text as a whole keeps the answer, too.
    const auto whole = tokenizer.Encode(text + example.output, false);
    if (!whole.ok() || tokenizer.Decode(*whole, true) != text + example.output) continue;
    EXPECT_EQ(written, example.output);
    ++exact;
  }
  EXPECT_EQ(report.answers_unwritable, differing);
  return exact;
}

TEST(PromptTokens, TrainingAndGenerationReadTheSame) {
  int64_t tokenizers = 0, exact = 0;
  for (const fs::path& path : Tokenizers()) {
    SCOPED_TRACE(path.string());
    const auto loaded = Load(path);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const Tokenizer& tokenizer = **loaded;
    if (!tokenizer.eos_id()) continue;  // nothing could be trained with it
    ++tokenizers;
    for (const std::string& name : PromptTemplate::Names()) exact += Check(tokenizer, *PromptTemplate::Named(name));
  }
  EXPECT_GE(tokenizers, 3);
  EXPECT_GT(exact, 1000);
}

// A word keeps the tokens that it has in running text, whether the template ends in a space or in a line break. The small
// tokenizers of other folders have tokens that span words.
TEST(PromptTokens, OrdinaryAnswersAreEncodedAsRunningText) {
  std::vector<fs::path> paths = {golden::DataDirectory() / "llama3", golden::DataDirectory() / "qwen2"};
  if (const fs::path assets = golden::AssetDirectory(); !assets.empty())
    for (const char* name : {"gpt2", "llama2", "falcon", "phi2-codegen", "phi3-llama-style"})
      paths.push_back(assets / "tokenizers" / name);
  for (const fs::path& path : paths) {
    SCOPED_TRACE(path.string());
    const auto tokenizer = *Load(path);
    for (const std::string prompt : {"the father and ", "### Response:\n", "the father and  "}) {
      const auto tokens = EncodePrompt(*tokenizer, prompt);
      ASSERT_TRUE(tokens.ok()) << tokens.status();
      std::vector<int32_t> ids = tokens->ids;
      const auto answer = EncodeAnswer(*tokenizer, prompt, *tokens, "the son");
      ASSERT_TRUE(answer.ok()) << answer.status();
      ids.insert(ids.end(), answer->begin(), answer->end());
      std::vector<int32_t> whole = tokenizer->front_ids();
      const auto running = tokenizer->Encode(prompt + "the son", false);
      whole.insert(whole.end(), running->begin(), running->end());
      EXPECT_EQ(ids, whole) << Json(prompt).dump();
    }
  }
}

/// An own tokenizer.json: characters and the merges given, with a post-processor of BOS and EOS.
std::shared_ptr<const Tokenizer> Small(const std::vector<std::string>& merged, const std::string& pattern) {
  Json vocabulary = {{"<s>", 0}, {"</s>", 1}};
  Json merges = Json::array();
  for (const char* letter : {"a", "b", "c", "e", "s", "t", "y", ":", "Ġ", "Ċ"}) vocabulary[letter] = vocabulary.size();
  for (const std::string& pair : merged) {
    merges.push_back(pair);
    const size_t space = pair.find(' ');
    vocabulary[pair.substr(0, space) + pair.substr(space + 1)] = vocabulary.size();
  }
  const Json special = Json::parse(R"({"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                                       "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}})");
  const Json json = {
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}},
      {"added_tokens", {{{"id", 0}, {"content", "<s>"}, {"special", true}}, {{"id", 1}, {"content", "</s>"}, {"special", true}}}},
      {"pre_tokenizer",
       {{"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}, {{"SpecialToken", {{"id", "</s>"}}}}}},
        {"special_tokens", special}}}};
  SpecialTokens named;
  named.SetDefault("bos_token", "<s>");
  named.SetDefault("eos_token", "</s>");
  return *LoadTokenizerJson(json.dump(), named);
}

TEST(PromptTokens, WhatThePostProcessorPutsBehindATextIsNotPartOfAPrompt) {
  const auto tokenizer = Small({}, " ?.");
  EXPECT_EQ(tokenizer->Encode("a")->back(), 1);
  const PromptTokens tokens = *EncodePrompt(*tokenizer, "ab");
  EXPECT_EQ(tokens.ids, (std::vector<int32_t>{0, 2, 3}));
  EXPECT_EQ(tokens.border, "");
  EXPECT_EQ(EncodePrompt(*tokenizer, "<s>ab")->ids, tokens.ids) << "BOS stands once";
}

TEST(PromptTokens, SpacesAtTheEndBelongToTheAnswer) {
  const auto tokenizer = Small({"Ġ a"}, " ?.");
  const int32_t space_a = *tokenizer->IdOf("Ġa");
  const PromptTokens tokens = *EncodePrompt(*tokenizer, "b ");
  EXPECT_EQ(tokens.ids, (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(tokens.border, " ");
  EXPECT_EQ(*EncodeAnswer(*tokenizer, "b ", tokens, "a"), (std::vector<int32_t>{space_a}));
  EXPECT_EQ(AnswerText(*tokenizer, tokens, std::vector<int32_t>{space_a}), "a");
  EXPECT_EQ(AnswerText(*tokenizer, tokens, std::vector<int32_t>{2}), "a") << "a model may leave the space out";
  EXPECT_TRUE(EncodeAnswer(*tokenizer, "b ", tokens, "")->empty());
  EXPECT_EQ(EncodePrompt(*tokenizer, " ")->ids.size(), 2u) << "spaces alone are the prompt";
}

TEST(PromptTokens, ATokenAcrossTheBorderIsNotUsed) {
  const auto tokenizer = Small({": y", "Ċ Ċ"}, ":?[a-z]+|[\\n]+|.");
  for (const auto& [prompt, answer] : std::vector<std::pair<std::string, std::string>>{{"a:", "yes"}, {"a\n", "\nb"}}) {
    const PromptTokens tokens = *EncodePrompt(*tokenizer, prompt);
    const auto ids = *EncodeAnswer(*tokenizer, prompt, tokens, answer);
    EXPECT_EQ(ids.size(), answer.size()) << "letter by letter";
    EXPECT_EQ(AnswerText(*tokenizer, tokens, ids), answer);
  }
}

// A token beyond the model's ids stands in the file; only a text that uses it is refused.
TEST(PromptTokens, TokensBeyondTheModelAreForNobodyToUse) {
  Json json = golden::ReadJson(golden::DataDirectory() / "qwen2" / "tokenizer.json");
  json["added_tokens"].push_back({{"id", 0}, {"content", "<pad>"}, {"special", true}, {"normalized", false}});
  SpecialTokens special;
  const int32_t pad = *LoadTokenizerJson(json.dump(), special).value()->IdOf("<pad>");
  special.model_ids = pad;
  const auto tokenizer = LoadTokenizerJson(json.dump(), special).value();
  EXPECT_LE(tokenizer->base_vocab_size(), pad);
  const auto tokens = EncodePrompt(*tokenizer, "the father");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(KindOf(EncodePrompt(*tokenizer, "the <pad>").status()), ErrorKind::kData);
  EXPECT_EQ(KindOf(EncodeAnswer(*tokenizer, "the father", *tokens, "<pad>").status()), ErrorKind::kData);
  special.SetDefault("eos_token", "<pad>");
  const auto ends = LoadTokenizerJson(json.dump(), special).value();
  EXPECT_EQ(KindOf(TokenizeForTraining({{0, "a", "", "b", ""}}, *ends, *PromptTemplate::Named("plain"), {100}, nullptr).status()),
            ErrorKind::kModel);
}

TEST(PromptTokens, APromptWithoutTokensIsRefused) {
  const auto tokenizer = *Tokenizer::Load(golden::DataDirectory() / "qwen2");
  EXPECT_EQ(KindOf(EncodePrompt(*tokenizer, "").status()), ErrorKind::kData);
  EXPECT_EQ(KindOf(EncodePrompt(*tokenizer, "\xff").status()), ErrorKind::kData);
}

}  // namespace
}  // namespace fedalt
