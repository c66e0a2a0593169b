// From examples to token ids, and what is cut where they are too long.
#include <algorithm>

#include "base/check.h"
#include "data/dataset.h"

namespace fedalt {
namespace {

Status InExample(const Status& status, const Example& example) {
  return Annotate(status, absl::StrCat("example ", example.id));
}

/// Drops tokens from the beginning of the first `prompt_size` ids until `ids` has at most `limit`; a leading BOS stays. Returns how
/// many.
int64_t CutPrompt(const Tokenizer& tokenizer, int64_t prompt_size, int64_t limit, std::vector<int32_t>* ids) {
  const int64_t excess = static_cast<int64_t>(ids->size()) - limit;
  if (excess <= 0) return 0;
  const bool has_bos = prompt_size > 0 && tokenizer.bos_id().has_value() && ids->front() == *tokenizer.bos_id();
  const int64_t first = has_bos && excess < prompt_size ? 1 : 0;
  FEDALT_CHECK(first + excess <= static_cast<int64_t>(ids->size()), "more tokens are cut than there are");
  ids->erase(ids->begin() + first, ids->begin() + first + excess);
  return excess;
}

void Count(int64_t longest, int64_t cut, TokenizeReport* report) {
  if (report == nullptr) return;
  report->examples += 1;
  report->prompts_cut += cut > 0 ? 1 : 0;
  report->tokens_cut += cut;
  report->longest = std::max(report->longest, longest);
}

StatusOr<TokenizedExample> TokenizeOne(const Example& example, const Tokenizer& tokenizer, const PromptTemplate& prompt_template,
                                       const TokenizeOptions& options, int32_t eos, TokenizeReport* report) {
  const std::string prompt = prompt_template.Render(example.instruction, example.input);
  ASSIGN_OR_RETURN(const std::vector<int32_t> prompt_ids, tokenizer.Encode(prompt));
  TokenizedExample result;
  result.id = example.id;
  ASSIGN_OR_RETURN(result.tokens, tokenizer.Encode(prompt + example.output));
  // A post-processor may end the text with EOS by itself; the example has one EOS, and the prompt none.
  if (!result.tokens.empty() && result.tokens.back() == eos) result.tokens.pop_back();
  // Where a token spans the border of prompt and output, it belongs to the response: the model has to predict it.
  int64_t begin =
      std::mismatch(prompt_ids.begin(), prompt_ids.end(), result.tokens.begin(), result.tokens.end()).first - prompt_ids.begin();
  result.tokens.push_back(eos);
  const int64_t size = static_cast<int64_t>(result.tokens.size());
  const int64_t response = size - begin;
  if (response > options.max_length)
    return DataError(absl::StrCat("the output alone has ", response, " tokens (with EOS), max_length is ", options.max_length,
                                  "; raise max_length or shorten the output"));
  if (begin < 1) return DataError("its prompt has no token of its own from which the response could be predicted");
  const int64_t cut = CutPrompt(tokenizer, begin, options.max_length, &result.tokens);
  begin -= cut;
  if (begin < 1)
    return DataError(absl::StrCat("the output has ", response, " tokens (with EOS) and max_length ", options.max_length,
                                  " leaves no token of the prompt; raise max_length or shorten the output"));
  result.response_begin = static_cast<int32_t>(begin);
  Count(size, cut, report);
  return result;
}

}  // namespace

StatusOr<std::vector<TokenizedExample>> TokenizeForTraining(const std::vector<Example>& examples, const Tokenizer& tokenizer,
                                                            const PromptTemplate& prompt_template, const TokenizeOptions& options,
                                                            TokenizeReport* report) {
  const std::optional<int32_t> eos = tokenizer.eos_id();
  if (!eos.has_value())
    return ModelError(
        "the tokenizer names no EOS token, which must end every response; add \"eos_token\" to tokenizer_config.json");
  std::vector<TokenizedExample> result;
  result.reserve(examples.size());
  for (const Example& example : examples) {
    StatusOr<TokenizedExample> tokenized = TokenizeOne(example, tokenizer, prompt_template, options, *eos, report);
    if (!tokenized.ok()) return InExample(tokenized.status(), example);
    result.push_back(std::move(tokenized).value());
  }
  return result;
}

StatusOr<std::vector<std::vector<int32_t>>> TokenizePrompts(const std::vector<Example>& examples, const Tokenizer& tokenizer,
                                                            const PromptTemplate& prompt_template, int32_t max_prompt_tokens,
                                                            TokenizeReport* report) {
  FEDALT_CHECK(max_prompt_tokens > 0, "the caller checks that max_length leaves room for a prompt");
  std::vector<std::vector<int32_t>> result;
  result.reserve(examples.size());
  for (const Example& example : examples) {
    StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(prompt_template.Render(example.instruction, example.input));
    if (!ids.ok()) return InExample(ids.status(), example);
    if (tokenizer.eos_id().has_value() && ids->size() > 1 && ids->back() == *tokenizer.eos_id()) ids->pop_back();
    if (ids->empty()) return InExample(DataError("its prompt has no tokens"), example);
    const int64_t size = static_cast<int64_t>(ids->size());
    Count(size, CutPrompt(tokenizer, size, max_prompt_tokens, &*ids), report);
    result.push_back(std::move(ids).value());
  }
  return result;
}

}  // namespace fedalt
