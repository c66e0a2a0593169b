// Byte pair encoding as `tokenizers` does it: the pair of lowest rank is merged first, the leftmost of equal ones.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/token_model.h"

namespace fedalt {

struct BpeOptions {
  std::optional<std::string> unknown;  ///< stands for characters outside the vocabulary; without it they vanish
  std::string continuing_prefix;       ///< before every character of a word but the first
  std::string end_suffix;              ///< behind the last character of a word
  bool fuse_unknown = false;           ///< one unknown token for a run of unknown characters
  bool byte_fallback = false;          ///< unknown characters as tokens <0x00> ... <0xFF>
  bool ignore_merges = false;          ///< a word of the vocabulary is that token, whatever the merges say
};

using Merges = std::vector<std::pair<std::string, std::string>>;

/// Errors (kModel): merges that name tokens outside the vocabulary.
StatusOr<std::unique_ptr<TokenModel>> MakeBpeModel(Vocabulary vocabulary, const Merges& merges, BpeOptions options);
/// From the "model" section of a tokenizer.json, its vocabulary already read.
StatusOr<std::unique_ptr<TokenModel>> MakeBpeModel(const Json& json, Vocabulary vocabulary);
/// From the lines of a merges.txt.
StatusOr<Merges> ParseMergesText(std::string_view text);

}  // namespace fedalt
