// The tokens of a prompt and of the answer behind it: one rule for training, evaluation and generation, so that a model answers the
// very tokens that it was trained behind.
//
// A prompt's tokens depend on its text alone, never on the answer:
//   * in front stands what the tokenizer puts in front of a text (BOS), once, also where the text begins with it; what it puts
//     behind a text (EOS) is left out, because the text goes on;
//   * spaces at the prompt's end are not encoded: most tokenizers join a space to the word behind it, so they belong to the answer.
// An answer's tokens are those that prompt and answer encoded together have behind the prompt's. Where the two would share a token
// (a prompt ending in ":" and a tokenizer that has ":yes", "\n" before "\nthe"), the answer is encoded by itself instead, so that
// the prompt's tokens stay as they are. An empty answer has no tokens, and no EOS is added here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer.h"

namespace fedalt {

struct PromptTokens {
  std::vector<int32_t> ids;
  std::string border;  ///< the white space at the end of the prompt's text that `ids` do not write: an answer begins with it
};

/// Errors: invalid UTF-8, no token at all, a token beyond the model's ids (kData).
StatusOr<PromptTokens> EncodePrompt(const Tokenizer& tokenizer, std::string_view prompt);

/// Ids of `answer` behind `prompt`, whose tokens are `tokens`. Errors as EncodePrompt.
StatusOr<std::vector<int32_t>> EncodeAnswer(const Tokenizer& tokenizer, std::string_view prompt, const PromptTokens& tokens,
                                            std::string_view answer);

/// The text of `answer` where it stands: behind `prompt` (its beginning may be cut), without the border. Special tokens are
/// skipped.
std::string AnswerText(const Tokenizer& tokenizer, const PromptTokens& prompt, std::span<const int32_t> answer);

}  // namespace fedalt
