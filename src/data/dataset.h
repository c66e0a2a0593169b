// Examples of one site: reading them from json or jsonl in any known format, splitting off a validation share, and turning them
// into tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
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

/// What a file calls the fields of an example; empty: as the known formats do.
struct FieldNames {
  std::string instruction = {}, input = {}, output = {}, tag = {};
  bool operator==(const FieldNames&) const = default;
};

struct ReadOptions {
  FieldNames fields = {};
  bool needs_output = true;  ///< false: the examples are prompts, which may have outputs
};

/// What a file says that nothing uses.
struct ReadReport {
  int64_t records = 0;
  std::map<std::string, int64_t> unused;  ///< field -> how many records have it with a value (neither null nor an empty text)
};

/// Reads a JSON array of objects, one object per line (jsonl), or one task of natural-instructions; the content decides, not the
/// name, and the fields of each object say what it is (data/example_formats.h, docs/data.md). A field that is named in
/// options.fields must be in every record, and the file is then no task. `report` is added to; it may be null. Errors (kData, with
/// file and line or index): cannot read, broken JSON, missing or non-string field, two formats mixed in one object, invalid UTF-8,
/// no examples.
StatusOr<std::vector<Example>> ReadExamples(const std::filesystem::path& path, const ReadOptions& options = {},
                                            ReadReport* report = nullptr);

/// The same for bytes in memory; `name` stands in front of every error, and as a path it names a task that does not name itself.
StatusOr<std::vector<Example>> ParseExamples(std::string_view bytes, const std::string& name, const ReadOptions& options = {},
                                             ReadReport* report = nullptr);

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

/// What becomes of an example whose response (with EOS) leaves no token of max_length to its prompt.
enum class TooLong {
  kCut,    ///< the response loses its end, EOS included, so that nobody learns to stop there; the prompt keeps its end, at most
           ///< half of max_length (docs/decisions/0010)
  kSkip,   ///< it is left out
  kRefuse  ///< an error
};

struct TokenizeOptions {
  int32_t max_length = 512;  ///< tokens of prompt + response + EOS; at least 2
  TooLong too_long = TooLong::kCut;
};

/// What was cut, left out or lost, so that it can be told. A response that fits is never cut: the prompt before it loses tokens
/// from its beginning (BOS kept).
struct TokenizeReport {
  int64_t examples = 0;  ///< all that were given
  int64_t prompts_cut = 0, tokens_cut = 0;
  int64_t responses_cut = 0, response_tokens_cut = 0;  ///< by TooLong::kCut, EOS counted
  int64_t skipped = 0;                                 ///< by TooLong::kSkip
  int64_t longest = 0;                                 ///< in tokens, before cutting
  int64_t answers_unwritable = 0;  ///< answers that their tokens do not give back, white space around them aside
  int64_t first_unwritable = 0;    ///< id of the first such example, and what its tokens give
  std::string first_written = {};
};

/// One clause about the answers that the tokenizer cannot write; empty if there are none. `what`: training, validation, test.
std::string UnwritableAnswers(const TokenizeReport& report, std::string_view what);

/// The tokens of the prompt, those of the answer behind it (text/prompt_tokens.h), and one EOS. At least one token of the prompt
/// stays (response_begin >= 1: the first token of a response is predicted from it). With TooLong::kSkip the result may have fewer
/// examples. `report` is added to; it may be null. Errors: kData (names the example), kModel (the tokenizer has no EOS).
StatusOr<std::vector<TokenizedExample>> TokenizeForTraining(const std::vector<Example>& examples, const Tokenizer& tokenizer,
                                                            const PromptTemplate& prompt_template, const TokenizeOptions& options,
                                                            TokenizeReport* report);
/// Prompts alone, for generation: what TokenizeForTraining has before response_begin, cut from the beginning (BOS kept) to
/// max_prompt_tokens. Errors: kData (names the example).
StatusOr<std::vector<PromptTokens>> TokenizePrompts(const std::vector<Example>& examples, const Tokenizer& tokenizer,
                                                    const PromptTemplate& prompt_template, int32_t max_prompt_tokens,
                                                    TokenizeReport* report);

}  // namespace fedalt
