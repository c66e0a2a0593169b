// What SentencePiece does to text before it cuts it into pieces: its table of replacements and its rules for spaces. Immutable
// after Make; safe from many threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/literal_matcher.h"
#include "text/sentencepiece_model.h"

namespace fedalt {

inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581

class SentencePieceNormalizer {
 public:
  /// Errors: a table of replacements that is malformed. `user_defined`: pieces that no replacement touches.
  static StatusOr<SentencePieceNormalizer> Make(const SentencePieceModel& model, LiteralMatcher user_defined);

  /// `begins`: the text gets the space at its beginning that the model's text has, if the model is of that kind. Precondition:
  /// valid UTF-8.
  std::string Apply(std::string_view text, bool begins = true) const;

 private:
  /// What the start of `text` becomes, and how many bytes it takes.
  std::pair<std::string_view, size_t> Prefix(std::string_view text) const;

  bool add_dummy_prefix_ = true, remove_extra_whitespaces_ = true, escape_whitespaces_ = true, whitespace_as_suffix_ = false;
  LiteralMatcher user_defined_;
  std::vector<uint32_t> trie_;  // double array of darts-clone; empty: nothing is replaced
  std::string replacements_;    // zero-terminated texts
};

}  // namespace fedalt
