// Examples of one site: reading them from json or jsonl in any known format, splitting off a validation share, and turning them
// into tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/prompt_template.h"
#include "text/prompt_tokens.h"
#include "text/tokenizer.h"

namespace fedalt {

/// One instruction with its wanted answer. `id` is its place in the file (0-based); random draws are addressed by it.
struct Example {
  int64_t id = 0;
  std::string instruction;
  std::string input;  ///< may be empty
  std::string output;
  std::string tag;                             ///< the task it belongs to, if that is known: evaluation is also reported per tag
  std::vector<std::string> more_outputs = {};  ///< other right answers: evaluation accepts them, training does not see them
};

/// Reads a JSON array of objects, one object per line (jsonl), or one task of natural-instructions; the content decides, not the
/// name, and the fields of each object say what it is (data/example_formats.h, docs/data.md). Unknown fields are ignored. Errors
/// (kData, with file and line or index): cannot read, broken JSON, missing or non-string field, two formats mixed in one object,
/// invalid UTF-8, no examples.
StatusOr<std::vector<Example>> ReadExamples(const std::filesystem::path& path);

/// The same for bytes in memory; `name` stands in front of every error, and as a path it names a task that does not name itself.
StatusOr<std::vector<Example>> ParseExamples(std::string_view bytes, const std::string& name);

struct TrainValidationSplit {
  std::vector<Example> train;
  std::vector<Example> validation;
};
/// Holds out round(share * n) examples (if share > 0 and n > 1 at least 1, and at least 1 stays), chosen by (seed, site); order in
/// the file is kept. 0 <= share < 1.
TrainValidationSplit SplitValidation(std::vector<Example> examples, double share, uint64_t seed, uint64_t site);

/// One example as the model sees it: prompt, response, EOS.
struct TokenizedExample {
  int64_t id = 0;
  std::vector<int32_t> tokens;
  int32_t response_begin = 0;  ///< index of the first token of the response; the loss is taken on tokens[response_begin..]
};

struct TokenizeOptions {
  int32_t max_length = 512;  ///< tokens of prompt + response + EOS
};

/// What was cut or lost, so that it can be told. A response is never dropped: a prompt that is too long loses tokens from its
/// beginning (BOS kept); a response that alone exceeds max_length is an error.
struct TokenizeReport {
  int64_t examples = 0;
  int64_t prompts_cut = 0;
  int64_t tokens_cut = 0;
  int64_t longest = 0;             ///< in tokens, before cutting
  int64_t answers_unwritable = 0;  ///< answers that their tokens do not give back, white space around them aside
  int64_t first_unwritable = 0;    ///< id of the first such example, and what its tokens give
  std::string first_written = {};
};

/// One clause about the answers that the tokenizer cannot write; empty if there are none. `what`: training, validation, test.
std::string UnwritableAnswers(const TokenizeReport& report, std::string_view what);

/// The tokens of the prompt, those of the answer behind it (text/prompt_tokens.h), and one EOS. At least one token of the prompt
/// stays (response_begin >= 1: the first token of a response is predicted from it). `report` is added to; it may be null. Errors:
/// kData (names the example), kModel (the tokenizer has no EOS).
StatusOr<std::vector<TokenizedExample>> TokenizeForTraining(const std::vector<Example>& examples, const Tokenizer& tokenizer,
                                                            const PromptTemplate& prompt_template, const TokenizeOptions& options,
                                                            TokenizeReport* report);
/// Prompts alone, for generation: what TokenizeForTraining has before response_begin, cut from the beginning (BOS kept) to
/// max_prompt_tokens. Errors: kData (names the example).
StatusOr<std::vector<PromptTokens>> TokenizePrompts(const std::vector<Example>& examples, const Tokenizer& tokenizer,
                                                    const PromptTemplate& prompt_template, int32_t max_prompt_tokens,
                                                    TokenizeReport* report);

}  // namespace fedalt
