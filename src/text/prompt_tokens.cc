#include "text/prompt_tokens.h"

#include <algorithm>
#include <optional>

#include "base/strict_json.h"

namespace fedalt {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

using Ids = std::vector<int32_t>;

/// What stands behind `head` in `ids`, if they begin with it.
std::optional<Ids> Behind(const Ids& ids, const Ids& head) {
  if (head.size() > ids.size() || !std::equal(head.begin(), head.end(), ids.begin())) return std::nullopt;
  return Ids(ids.begin() + static_cast<std::ptrdiff_t>(head.size()), ids.end());
}

Ids Joined(Ids ids, std::span<const int32_t> more) {
  ids.insert(ids.end(), more.begin(), more.end());
  return ids;
}

/// Ids of a text with what the tokenizer puts in front of it.
StatusOr<Ids> EncodeBegun(const Tokenizer& tokenizer, std::string_view text) {
  ASSIGN_OR_RETURN(Ids ids, tokenizer.Encode(text, /*add_special_tokens=*/false));
  const Ids front = tokenizer.front_ids();
  return Behind(ids, front) ? ids : Joined(front, ids);
}

/// A token may stand beyond the model's ids as long as nothing uses it.
Status CheckIds(const Tokenizer& tokenizer, const Ids& ids) {
  for (const int32_t id : ids)
    if (tokenizer.model_ids() && id >= *tokenizer.model_ids())
      return DataError(absl::StrCat("the text uses the token ", QuoteForMessage(tokenizer.Decode(std::span(&id, 1))), " (id ", id,
                                    "), but the model has ", *tokenizer.model_ids(),
                                    " ids by its config.json; take the token out of the text"));
  return absl::OkStatus();
}

std::string_view WithoutSpaces(std::string_view prompt) {
  const size_t end = prompt.find_last_not_of(' ');
  return end == std::string_view::npos ? prompt : prompt.substr(0, end + 1);  // spaces alone are all that there is to read
}

std::string_view WhiteSpaceAtTheEnd(std::string_view text) {
  const size_t end = text.find_last_not_of(kWhiteSpace);
  return end == std::string_view::npos ? text : text.substr(end + 1);
}

/// The end of the prompt decides how an answer decodes; a few tokens of it are enough.
std::span<const int32_t> EndOf(const Ids& ids) {
  constexpr size_t kEnough = 32;
  return std::span<const int32_t>(ids).last(std::min(ids.size(), kEnough));
}

}  // namespace

StatusOr<PromptTokens> EncodePrompt(const Tokenizer& tokenizer, std::string_view prompt) {
  PromptTokens tokens;
  const std::string_view encoded = WithoutSpaces(prompt);
  ASSIGN_OR_RETURN(tokens.ids, EncodeBegun(tokenizer, encoded));
  if (tokens.ids.empty()) return DataError("the prompt has no token; expected some text");
  RETURN_IF_ERROR(CheckIds(tokenizer, tokens.ids));
  const std::string written = tokenizer.Decode(EndOf(tokens.ids), /*skip_special_tokens=*/true);
  const std::string_view wanted = WhiteSpaceAtTheEnd(prompt), found = WhiteSpaceAtTheEnd(written);
  tokens.border = wanted.starts_with(found) ? wanted.substr(found.size()) : prompt.substr(encoded.size());
  return tokens;
}

StatusOr<Ids> EncodeAnswer(const Tokenizer& tokenizer, std::string_view prompt, const PromptTokens& tokens,
                           std::string_view answer) {
  if (answer.empty()) return Ids();
  const std::string text = std::string(prompt.substr(WithoutSpaces(prompt).size())).append(answer);
  ASSIGN_OR_RETURN(const Ids whole, EncodeBegun(tokenizer, std::string(prompt).append(answer)));
  RETURN_IF_ERROR(CheckIds(tokenizer, whole));
  if (std::optional<Ids> behind = Behind(whole, tokens.ids)) return *std::move(behind);
  // The candidates are the answer encoded alone, which may begin with a space that the tokenizer adds, and behind a character that
  // joins no word. The first that writes what the whole would write is taken.
  const std::string wanted = tokenizer.Decode(whole);
  Ids first;
  for (const std::string anchor : {"", "\n", "."}) {
    ASSIGN_OR_RETURN(const Ids head, tokenizer.Encode(anchor, false));
    ASSIGN_OR_RETURN(const Ids ids, tokenizer.Encode(anchor + text, false));
    std::optional<Ids> behind = Behind(ids, head);
    if (!behind) continue;
    if (tokenizer.Decode(Joined(tokens.ids, *behind)) == wanted) return *std::move(behind);
    if (anchor.empty()) first = *std::move(behind);
  }
  return first;
}

std::string AnswerText(const Tokenizer& tokenizer, const PromptTokens& prompt, std::span<const int32_t> answer) {
  if (answer.empty()) return std::string();
  const std::span<const int32_t> end = EndOf(prompt.ids);
  const std::string head = tokenizer.Decode(end, /*skip_special_tokens=*/true);
  std::string text = tokenizer.Decode(Joined(Ids(end.begin(), end.end()), answer), /*skip_special_tokens=*/true);
  // Bytes of the answer can spoil those of the prompt (a run of byte tokens is a character or it is not): it is decoded alone then.
  if (!text.starts_with(head)) return tokenizer.Decode(answer, /*skip_special_tokens=*/true);
  text.erase(0, head.size());
  if (text.starts_with(prompt.border)) return text.substr(prompt.border.size());
  size_t spaces = 0;  // a tokenizer that keeps no white space writes a space for it
  while (spaces < std::min(prompt.border.size(), text.size()) && text[spaces] == ' ') ++spaces;
  return text.substr(spaces);
}

}  // namespace fedalt
