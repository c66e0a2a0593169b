#include "text/special_tokens.h"

#include <system_error>

#include "base/file.h"
#include "base/strict_json.h"
#include "text/token_model.h"

namespace fedalt {
namespace {

constexpr size_t kFileLimitBytes = 64 << 20;

/// "text" or {"content": "text", ...}.
std::optional<std::string> TokenText(const Json* json) {
  if (json && json->is_object()) json = FindMember(*json, "content");
  if (!json || !json->is_string()) return std::nullopt;
  return json->get<std::string>();
}

/// A number or a list whose first element counts.
std::optional<int32_t> TokenId(const Json* json) {
  if (json && json->is_array() && !json->empty()) json = &json->front();
  const std::optional<int64_t> id = json ? AsInt(*json, kIdLimit - 1) : std::nullopt;
  if (!id) return std::nullopt;
  return static_cast<int32_t>(*id);
}

template <class Value>
void SetIfAbsent(std::optional<Value>& target, std::optional<Value> value) {
  if (!target) target = std::move(value);
}

void SetFlag(std::optional<bool>& target, const Json* json) {
  if (!target && json && json->is_boolean()) target = json->get<bool>();
}

void Collect(const Json& json, SpecialTokens& tokens) {
  SetIfAbsent(tokens.bos_token, TokenText(FindMember(json, "bos_token")));
  SetIfAbsent(tokens.eos_token, TokenText(FindMember(json, "eos_token")));
  SetIfAbsent(tokens.unk_token, TokenText(FindMember(json, "unk_token")));
  SetIfAbsent(tokens.bos_id, TokenId(FindMember(json, "bos_token_id")));
  SetIfAbsent(tokens.eos_id, TokenId(FindMember(json, "eos_token_id")));
  SetFlag(tokens.add_bos_token, FindMember(json, "add_bos_token"));
  SetFlag(tokens.add_eos_token, FindMember(json, "add_eos_token"));
  SetFlag(tokens.add_prefix_space, FindMember(json, "add_prefix_space"));
  if (const std::optional<std::string> pad = TokenText(FindMember(json, "pad_token"))) tokens.others.push_back(*pad);
  if (const Json* list = FindMember(json, "additional_special_tokens"); list && list->is_array())
    for (const Json& item : *list)
      if (const std::optional<std::string> text = TokenText(&item)) tokens.others.push_back(*text);
}

}  // namespace

StatusOr<SpecialTokens> SpecialTokens::Read(const std::filesystem::path& directory) {
  SpecialTokens tokens;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json"}) {
    const std::filesystem::path path = directory / name;
    std::error_code error;
    if (!std::filesystem::exists(path, error)) continue;
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, ErrorKind::kModel, kFileLimitBytes));
    const StatusOr<Json> json = ParseJson(bytes, {.kind = ErrorKind::kModel});
    if (!json.ok()) return Annotate(json.status(), path.string());
    Collect(*json, tokens);
  }
  return tokens;
}

}  // namespace fedalt
