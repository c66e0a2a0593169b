// Turns ids that arrive one by one into text that may be printed at once: never half a character, never text that a later id
// changes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace fedalt {

class StreamingDecoder {
 public:
  /// `tokenizer` must outlive the decoder. Special tokens are skipped.
  explicit StreamingDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// The text that became certain with `id` (may be empty).
  std::string Push(int32_t id);
  /// The rest. Push...Push + Finish together equal Decode of all ids.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  std::vector<int32_t> ids_;
  size_t printed_bytes_ = 0;
};

}  // namespace fedalt
