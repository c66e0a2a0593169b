#include "text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "text/unicode_class.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

bool EndsWithWord(std::string_view text) {
  size_t start = 0;
  return !text.empty() && IsWordCharacter(PreviousCodePoint(text, text.size(), start));
}

bool StartsWithWord(std::string_view text) {
  return !text.empty() && IsWordCharacter(ReadUtf8(text).code_point);
}

/// Where the white space begins that ends at `end`.
size_t SpaceBefore(std::string_view text, size_t end) {
  size_t start = end;
  while (start > 0) {
    size_t previous = 0;
    if (!IsWhitespace(PreviousCodePoint(text, start, previous))) break;
    start = previous;
  }
  return start;
}

size_t SpaceBehind(std::string_view text, size_t begin) {
  size_t end = begin;
  while (end < text.size()) {
    size_t next = end;
    if (!IsWhitespace(NextCodePoint(text, next))) break;
    end = next;
  }
  return end;
}

}  // namespace

StatusOr<AddedToken> AddedTokenFromJson(const Json& json, const std::string& where) {
  AddedToken token;
  ASSIGN_OR_RETURN(token.content, RequireString(json, "content", where));
  ASSIGN_OR_RETURN(token.special, OptionalBool(json, "special", false, where));
  ASSIGN_OR_RETURN(token.normalized, OptionalBool(json, "normalized", !token.special, where));
  ASSIGN_OR_RETURN(token.single_word, OptionalBool(json, "single_word", false, where));
  ASSIGN_OR_RETURN(token.lstrip, OptionalBool(json, "lstrip", false, where));
  ASSIGN_OR_RETURN(token.rstrip, OptionalBool(json, "rstrip", false, where));
  return token;
}

StatusOr<std::vector<AddedToken>> AddedTokens::ListFromJson(const Json& list) {
  constexpr char kWhere[] = "added_tokens";
  if (!list.is_array()) return ModelError(absl::StrCat("'added_tokens' is ", list.type_name(), ", expected a list"));
  std::vector<AddedToken> tokens;
  for (const Json& json : list) {
    ASSIGN_OR_RETURN(AddedToken token, AddedTokenFromJson(json, kWhere));
    RETURN_IF_ERROR(RequireInt(json, "id", kIdLimit - 1, kWhere).status());
    tokens.push_back(std::move(token));
  }
  return tokens;
}

StatusOr<AddedTokens> AddedTokens::Make(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary,
                                        const Normalizer& normalizer) {
  AddedTokens added;
  const int32_t model_size = static_cast<int32_t>(vocabulary.size());
  int32_t largest = -1;
  std::vector<const AddedToken*> special, ordinary;
  for (const AddedToken& token : tokens)
    if (token.special && !token.content.empty() && added.special_contents_.emplace(token.content, true).second)
      special.push_back(&token);
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    std::optional<int32_t> id = added.IdOf(token.content);
    if (id && *added.TokenOf(*id) == token) continue;
    if (!id) id = vocabulary.IdOf(token.content);
    if (!id) id = std::max(largest + 1, model_size);
    largest = std::max(largest, *id);
    added.ids_[token.content] = *id;
    added.tokens_[*id] = token;
    if (!added.IsSpecial(token.content)) ordinary.push_back(&token);
  }
  // The original prefers special tokens where two tokens are looked for by the same text.
  special.insert(special.end(), ordinary.begin(), ordinary.end());
  for (const auto& [id, token] : added.tokens_) {
    std::string& text = added.decoded_texts_[id] = token.content;
    if (token.normalized) RETURN_IF_ERROR(normalizer.Apply(text));
  }
  for (const AddedToken* token : special) {
    const int32_t id = *added.IdOf(token->content);
    if (!token->normalized) {
      added.raw_.Add(token->content, id);
      continue;
    }
    std::string text = token->content;
    RETURN_IF_ERROR(normalizer.Apply(text));
    added.normalized_.Add(std::move(text), id);
  }
  added.raw_.Freeze();
  added.normalized_.Freeze();
  return added;
}

std::vector<Segment> AddedTokens::Split(std::string_view text, bool at_start, bool normalized) const {
  const LiteralMatcher& matcher = normalized ? normalized_ : raw_;
  std::vector<Segment> segments;
  size_t done = 0;
  const auto add_text = [&](size_t end) {
    if (done < end) segments.push_back({std::nullopt, std::string(text.substr(done, end - done)), at_start && done == 0});
  };
  for (size_t i = 0; i < text.size();) {
    const LiteralMatcher::Literal* literal = matcher.LongestAt(text, i);
    if (!literal) {
      ++i;
      continue;
    }
    size_t start = i, stop = i + literal->text.size();
    i = stop;
    const AddedToken& token = *TokenOf(literal->value);
    if (token.single_word && (EndsWithWord(text.substr(0, start)) || StartsWithWord(text.substr(stop)))) continue;
    if (token.lstrip) start = std::max(SpaceBefore(text, start), done);
    if (token.rstrip) stop = SpaceBehind(text, stop);
    add_text(start);
    segments.push_back({literal->value, std::string(), false});
    done = stop;
  }
  add_text(text.size());
  return segments;
}

std::optional<int32_t> AddedTokens::IdOf(std::string_view content) const {
  const auto found = ids_.find(content);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const AddedToken* AddedTokens::TokenOf(int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second;
}

const std::string* AddedTokens::DecodedTextOf(int32_t id) const {
  const auto found = decoded_texts_.find(id);
  return found == decoded_texts_.end() ? nullptr : &found->second;
}

}  // namespace fedalt
