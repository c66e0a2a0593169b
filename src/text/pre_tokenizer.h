// The "pre_tokenizer" section of a tokenizer.json: cuts normalized text into the words that the model sees. Immutable, safe from
// many threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "text/json_reader.h"

namespace fedalt {

/// A part of the text on its way to the model.
struct Piece {
  std::string text;
  bool at_start = false;  ///< it begins where the whole input begins (Metaspace asks for it)
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Replaces the pieces by smaller ones; empty ones disappear. Errors: a regular expression that exceeds its limits.
  virtual Status Apply(std::vector<Piece>& pieces) const = 0;
};

/// Types: Sequence, ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, WhitespaceSplit; null does nothing.
StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(const Json& json);
/// ByteLevel as GPT-2 has it.
std::unique_ptr<PreTokenizer> MakeByteLevelPreTokenizer(bool add_prefix_space, bool use_regex);

}  // namespace fedalt
