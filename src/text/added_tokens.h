// The "added_tokens" of a tokenizer.json: tokens that are found in the text before the model sees it. Immutable after Make; safe
// from many threads.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/json_reader.h"
#include "text/literal_matcher.h"
#include "text/normalizer.h"
#include "text/token_model.h"

namespace fedalt {

struct AddedToken {
  std::string content;
  bool special = false;      ///< left out of decoded text on request
  bool normalized = true;    ///< looked for in the normalized text, not in the raw one
  bool single_word = false;  ///< only where no word character stands beside it
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space behind it

  bool operator==(const AddedToken&) const = default;
};

/// An object with "content" and flags. `where` names it in an error.
StatusOr<AddedToken> AddedTokenFromJson(const Json& json, const std::string& where);

/// A part of a text: an added token, or text that still has to be encoded.
struct Segment {
  std::optional<int32_t> id;
  std::string text;
  bool at_start = false;
};

class AddedTokens {
 public:
  /// The list in tokenizer.json.
  static StatusOr<std::vector<AddedToken>> ListFromJson(const Json& list);
  /// As in the original, a token of the model's vocabulary keeps that id, and every other one gets the next free id in the order of
  /// the list.
  static StatusOr<AddedTokens> Make(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary,
                                    const Normalizer& normalizer);

  /// Cuts out the tokens that are looked for in raw text (normalized = false) or in normalized text (normalized = true).
  std::vector<Segment> Split(std::string_view text, bool at_start, bool normalized) const;

  std::optional<int32_t> IdOf(std::string_view content) const;
  const AddedToken* TokenOf(int32_t id) const;
  /// What a decoder gets for an added token: its text as it is looked for, so the normalized text of a normalized token.
  const std::string* DecodedTextOf(int32_t id) const;
  bool IsSpecial(std::string_view content) const { return special_contents_.contains(content); }
  bool empty() const { return tokens_.empty(); }
  int32_t largest_id() const { return tokens_.empty() ? -1 : tokens_.rbegin()->first; }

 private:
  StringMap<int32_t> ids_;
  std::map<int32_t, AddedToken> tokens_;
  std::map<int32_t, std::string> decoded_texts_;
  StringMap<bool> special_contents_;
  LiteralMatcher raw_, normalized_;
};

}  // namespace fedalt
