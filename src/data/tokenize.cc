// From examples to token ids, and what is cut where they are too long.
#include <absl/strings/ascii.h>

#include <algorithm>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/strict_json.h"
#include "data/dataset.h"
#include "text/prompt_tokens.h"

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

void Count(int64_t longest, int64_t cut, TokenizeReport& report) {
  report.examples += 1;
  report.prompts_cut += cut > 0 ? 1 : 0;
  report.tokens_cut += cut;
  report.longest = std::max(report.longest, longest);
}

/// Whether the tokens of an answer give it back; white space around it does not count, as in exact match.
void CountUnwritable(const Example& example, const std::string& written, TokenizeReport& report) {
  if (absl::StripAsciiWhitespace(written) == absl::StripAsciiWhitespace(example.output)) return;
  if (report.answers_unwritable++ > 0) return;
  report.first_unwritable = example.id;
  report.first_written = written;
}

/// Cuts the end of a response that leaves no room for a prompt of `prompt_size` tokens, so that the prompt keeps up to half of it.
void CutResponse(int64_t prompt_size, const TokenizeOptions& options, std::vector<int32_t>& ids, TokenizeReport& report) {
  const int64_t kept = std::min<int64_t>(prompt_size, options.max_length / 2);
  const int64_t excess = static_cast<int64_t>(ids.size()) - prompt_size - (options.max_length - kept);
  ids.resize(ids.size() - static_cast<size_t>(excess));
  report.responses_cut += 1;
  report.response_tokens_cut += excess;
}

/// Nothing if it is skipped. `report` may be null.
StatusOr<std::optional<TokenizedExample>> TokenizeOne(const Example& example, const Tokenizer& tokenizer,
                                                      const PromptTemplate& prompt_template, const TokenizeOptions& options,
                                                      int32_t eos, TokenizeReport* report) {
  TokenizeReport nobodys;
  TokenizeReport& counts = report != nullptr ? *report : nobodys;
  const std::string prompt = prompt_template.Render(example.instruction, example.input);
  ASSIGN_OR_RETURN(const PromptTokens prompt_tokens, EncodePrompt(tokenizer, prompt));
  ASSIGN_OR_RETURN(std::vector<int32_t> answer, EncodeAnswer(tokenizer, prompt, prompt_tokens, example.output));
  if (report != nullptr) CountUnwritable(example, AnswerText(tokenizer, prompt_tokens, answer), counts);
  if (answer.empty() || answer.back() != eos) answer.push_back(eos);  // data may end an answer with the text of EOS
  TokenizedExample result;
  result.id = example.id;
  result.tokens = prompt_tokens.ids;
  result.tokens.insert(result.tokens.end(), answer.begin(), answer.end());
  int64_t begin = static_cast<int64_t>(prompt_tokens.ids.size());
  const int64_t size = static_cast<int64_t>(result.tokens.size());
  const int64_t response = size - begin;
  if (response >= options.max_length) {
    if (options.too_long == TooLong::kRefuse)
      return DataError(absl::StrCat("its output has ", response,
                                    " tokens (with EOS), which leaves no room for a prompt in max_length ", options.max_length,
                                    "; raise train.max_length, or set train.too_long to cut or skip"));
    if (options.too_long == TooLong::kSkip) {
      Count(size, 0, counts);
      counts.skipped += 1;
      return std::nullopt;
    }
    CutResponse(begin, options, result.tokens, counts);
  }
  const int64_t cut = CutPrompt(tokenizer, begin, options.max_length, &result.tokens);
  begin -= cut;
  result.response_begin = static_cast<int32_t>(begin);
  Count(size, cut, counts);
  return std::optional(std::move(result));
}

}  // namespace

std::string UnwritableAnswers(const TokenizeReport& report, std::string_view what) {
  if (report.answers_unwritable == 0) return std::string();
  return absl::StrCat(report.answers_unwritable, " of ", report.examples, " ", std::string(what),
                      " answers cannot be written by this tokenizer, so generation cannot reach them; the first is example ",
                      report.first_unwritable, ", which becomes ", QuoteForMessage(report.first_written));
}

StatusOr<std::vector<TokenizedExample>> TokenizeForTraining(const std::vector<Example>& examples, const Tokenizer& tokenizer,
                                                            const PromptTemplate& prompt_template, const TokenizeOptions& options,
                                                            TokenizeReport* report) {
  const std::optional<int32_t> eos = tokenizer.eos_id();
  if (!eos.has_value())
    return ModelError(
        "the tokenizer names no EOS token, which must end every response; add \"eos_token\" to tokenizer_config.json");
  if (tokenizer.model_ids() && *eos >= *tokenizer.model_ids())
    return ModelError(absl::StrCat("the tokenizer's EOS has the id ", *eos, ", but the model has ", *tokenizer.model_ids(),
                                   " ids by its config.json; name an \"eos_token\" in tokenizer_config.json that the model has"));
  std::vector<TokenizedExample> result;
  result.reserve(examples.size());
  for (const Example& example : examples) {
    RETURN_IF_ERROR(CheckInterrupt("examples were tokenized"));
    auto tokenized = TokenizeOne(example, tokenizer, prompt_template, options, *eos, report);
    if (!tokenized.ok()) return InExample(tokenized.status(), example);
    if (tokenized->has_value()) result.push_back(std::move(**tokenized));
  }
  return result;
}

StatusOr<std::vector<PromptTokens>> TokenizePrompts(const std::vector<Example>& examples, const Tokenizer& tokenizer,
                                                    const PromptTemplate& prompt_template, int32_t max_prompt_tokens,
                                                    TokenizeReport* report) {
  FEDALT_CHECK(max_prompt_tokens > 0, "the caller checks that max_length leaves room for a prompt");
  TokenizeReport nobodys;
  std::vector<PromptTokens> result;
  result.reserve(examples.size());
  for (const Example& example : examples) {
    RETURN_IF_ERROR(CheckInterrupt("prompts were tokenized"));
    StatusOr<PromptTokens> prompt = EncodePrompt(tokenizer, prompt_template.Render(example.instruction, example.input));
    if (!prompt.ok()) return InExample(prompt.status(), example);
    const int64_t size = static_cast<int64_t>(prompt->ids.size());
    Count(size, CutPrompt(tokenizer, size, max_prompt_tokens, &prompt->ids), report != nullptr ? *report : nobodys);
    result.push_back(*std::move(prompt));
  }
  return result;
}

}  // namespace fedalt
