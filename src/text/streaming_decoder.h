// Turns ids that arrive one by one into text that may be printed at once: never half a character, never text that a later id
// changes.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "text/prompt_tokens.h"
#include "text/tokenizer.h"

namespace fedalt {

class StreamingDecoder {
 public:
  /// `tokenizer` must outlive the decoder. `prompt`: what the ids stand behind. Special tokens are skipped.
  explicit StreamingDecoder(const Tokenizer& tokenizer, PromptTokens prompt = {})
      : tokenizer_(tokenizer), prompt_(std::move(prompt)) {}

  /// The text that became certain with `id` (may be empty).
  std::string Push(int32_t id);
  /// The rest. Push...Push + Finish together equal AnswerText of all ids.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  PromptTokens prompt_;
  std::vector<int32_t> ids_;
  size_t printed_bytes_ = 0;
};

}  // namespace fedalt
