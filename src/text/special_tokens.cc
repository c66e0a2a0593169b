#include "text/special_tokens.h"

#include <algorithm>
#include <array>
#include <system_error>

#include "base/file.h"
#include "base/strict_json.h"
#include "text/token_model.h"

namespace fedalt {
namespace {

constexpr size_t kFileLimitBytes = 64 << 20;
constexpr std::array<std::string_view, 7> kOrder = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                    "pad_token", "cls_token", "mask_token"};

/// Place among the named tokens; those of no fixed place come last.
size_t PlaceOf(std::string_view key) {
  return static_cast<size_t>(std::find(kOrder.begin(), kOrder.end(), key) - kOrder.begin());
}

AddedToken Special(const std::string& content) {
  return {.content = content, .special = true, .normalized = false};
}

/// "text" or {"content": "text", ...}; nullopt for anything else.
StatusOr<std::optional<AddedToken>> TokenOf(const Json& json, const std::string& where) {
  if (json.is_string()) return std::optional<AddedToken>(Special(json.get<std::string>()));
  if (!json.is_object() || FindMember(json, "content") == nullptr) return std::optional<AddedToken>();
  ASSIGN_OR_RETURN(AddedToken token, AddedTokenFromJson(json, where));
  return std::optional<AddedToken>(std::move(token));
}

/// A number or a list whose first element counts.
std::optional<int32_t> TokenId(const Json* json) {
  if (json && json->is_array() && !json->empty()) json = &json->front();
  const std::optional<int64_t> id = json ? AsInt(*json, kIdLimit - 1) : std::nullopt;
  if (!id) return std::nullopt;
  return static_cast<int32_t>(*id);
}

std::optional<bool> Flag(const Json& json, const char* name) {
  const Json* flag = FindMember(json, name);
  return flag && flag->is_boolean() ? std::optional<bool>(flag->get<bool>()) : std::nullopt;
}

/// The object in `directory`/`name`, or an empty one if there is no such file.
StatusOr<Json> ReadObject(const std::filesystem::path& directory, const char* name) {
  const std::filesystem::path path = directory / name;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Json::object();
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, ErrorKind::kModel, kFileLimitBytes));
  const StatusOr<Json> json = ParseJson(bytes, {.kind = ErrorKind::kModel});
  if (!json.ok()) return Annotate(json.status(), path.string());
  if (!json->is_object()) return ModelError(absl::StrCat(path.string(), ": holds ", json->type_name(), ", expected an object"));
  return *json;
}

Status ReadNamed(const Json& config, SpecialTokens& tokens) {
  const auto add = [&](const std::string& key, const Json& value) -> Status {
    ASSIGN_OR_RETURN(std::optional<AddedToken> token, TokenOf(value, key));
    if (!token && !value.is_null()) return absl::OkStatus();  // "add_bos_token": true
    if (token) token->special = true;
    tokens.named.push_back({key, std::move(token)});
    return absl::OkStatus();
  };
  for (const auto& [key, value] : config.items())
    if (key.ends_with("_token")) RETURN_IF_ERROR(add(key, value));
  const Json* extra = FindMember(config, "extra_special_tokens");
  if (extra && extra->is_object())
    for (const auto& [key, value] : extra->items()) RETURN_IF_ERROR(add(key, value));
  std::stable_sort(tokens.named.begin(), tokens.named.end(),
                   [](const auto& a, const auto& b) { return PlaceOf(a.key) < PlaceOf(b.key); });
  if (!extra || extra->empty()) extra = FindMember(config, "additional_special_tokens");
  if (!extra || !extra->is_array()) return absl::OkStatus();
  for (const Json& item : *extra) {
    ASSIGN_OR_RETURN(std::optional<AddedToken> token, TokenOf(item, "additional_special_tokens"));
    if (!token) return ModelError("additional_special_tokens: an item is no token; expected a text or an object with \"content\"");
    token->special = true;
    tokens.extra.push_back(*std::move(token));
  }
  return absl::OkStatus();
}

Status ReadDecoder(const Json& list, SpecialTokens& tokens) {
  constexpr char kWhere[] = "added_tokens_decoder";
  if (!list.is_object()) return ModelError(absl::StrCat("'", kWhere, "' is ", list.type_name(), ", expected an object"));
  for (const auto& [key, value] : list.items()) {
    const bool digits = !key.empty() && key.size() < 9 && key.find_first_not_of("0123456789") == key.npos;
    if (!digits || std::stoll(key) >= kIdLimit)
      return ModelError(absl::StrCat(kWhere, ": '", Shown(key), "' is no token id; expected a whole number below ", kIdLimit));
    ASSIGN_OR_RETURN(AddedToken token, AddedTokenFromJson(value, kWhere));
    tokens.listed.push_back({static_cast<int32_t>(std::stoll(key)), std::move(token)});
  }
  return absl::OkStatus();
}

/// added_tokens.json: text -> id. Those that are named or extra are special.
Status ReadAdded(const Json& list, SpecialTokens& tokens) {
  for (const auto& [content, value] : list.items()) {
    const std::optional<int64_t> id = AsInt(value, kIdLimit - 1);
    if (!id)
      return ModelError(absl::StrCat("added_tokens.json: '", Shown(content), "' has the id ", Shown(value.dump()),
                                     ", expected a whole number from 0 to ", kIdLimit - 1));
    const auto is_it = [&text = content](const AddedToken& token) { return token.content == text; };
    const bool special = std::any_of(tokens.extra.begin(), tokens.extra.end(), is_it) ||
                         std::any_of(tokens.named.begin(), tokens.named.end(),
                                     [&](const auto& named) { return named.token && is_it(*named.token); });
    tokens.listed.push_back({static_cast<int32_t>(*id), {.content = content, .special = special, .normalized = !special}});
  }
  return absl::OkStatus();
}

/// Settings that change tokens or text and are not followed.
void NoteIgnored(const Json& config, SpecialTokens& tokens) {
  const auto note = [&](const char* key, const char* effect) {
    if (Flag(config, key) == true)
      tokens.notes.push_back(absl::StrCat("tokenizer_config.json: \"", key, "\": true is not followed; ", effect));
  };
  note("split_special_tokens", "special tokens in a text are special");
  note("clean_up_tokenization_spaces", "answers keep the spaces before their punctuation");
  note("do_lower_case", "text keeps its case unless the tokenizer itself changes it");
  note("fix_mistral_regex", "the pattern of tokenizer.json is used as it is");
  const Json* kwargs = FindMember(config, "sp_model_kwargs");
  if (kwargs && kwargs->is_object() && !kwargs->empty())
    tokens.notes.push_back("tokenizer_config.json: \"sp_model_kwargs\" is not followed; the SentencePiece model is used as it is");
}

}  // namespace

StatusOr<SpecialTokens> SpecialTokens::Read(const std::filesystem::path& directory) {
  SpecialTokens tokens;
  ASSIGN_OR_RETURN(Json config, ReadObject(directory, "tokenizer_config.json"));
  ASSIGN_OR_RETURN(const Json map, ReadObject(directory, "special_tokens_map.json"));
  ASSIGN_OR_RETURN(const Json added, ReadObject(directory, "added_tokens.json"));
  NoteIgnored(config, tokens);
  tokens.has_files = !config.empty() || !map.empty() || !added.empty();
  const Json* decoder = FindMember(config, "added_tokens_decoder");
  if (decoder == nullptr) config.update(map);
  RETURN_IF_ERROR(ReadNamed(config, tokens));
  RETURN_IF_ERROR(decoder != nullptr ? ReadDecoder(*decoder, tokens) : ReadAdded(added, tokens));
  std::stable_sort(tokens.listed.begin(), tokens.listed.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  tokens.add_bos_token = Flag(config, "add_bos_token");
  tokens.add_eos_token = Flag(config, "add_eos_token");
  tokens.add_prefix_space = Flag(config, "add_prefix_space");
  tokens.legacy = Flag(config, "legacy").value_or(false);
  if (const Json* name = FindMember(config, "tokenizer_class"); name && name->is_string()) tokens.tokenizer_class = *name;
  if (tokens.tokenizer_class.ends_with("Fast")) tokens.tokenizer_class.resize(tokens.tokenizer_class.size() - 4);

  ASSIGN_OR_RETURN(const Json generation, ReadObject(directory, "generation_config.json"));
  ASSIGN_OR_RETURN(const Json model, ReadObject(directory, "config.json"));
  for (const Json* json : {&generation, &model}) {
    if (!tokens.bos_id) tokens.bos_id = TokenId(FindMember(*json, "bos_token_id"));
    if (!tokens.eos_id) tokens.eos_id = TokenId(FindMember(*json, "eos_token_id"));
  }
  tokens.model_ids = TokenId(FindMember(model, "vocab_size"));
  if (const Json* type = FindMember(model, "model_type"); type && type->is_string()) tokens.model_type = *type;
  return tokens;
}

std::optional<std::string> SpecialTokens::Name(std::string_view key) const {
  for (const Named& entry : named)
    if (entry.key == key && entry.token) return entry.token->content;
  return std::nullopt;
}

void SpecialTokens::SetDefault(const std::string& key, const std::string& content) {
  for (const Named& entry : named)
    if (entry.key == key) return;
  const auto place =
      std::find_if(named.begin(), named.end(), [&](const Named& entry) { return PlaceOf(entry.key) > PlaceOf(key); });
  named.insert(place, {key, Special(content)});
}

std::vector<AddedToken> SpecialTokens::Joined(std::vector<AddedToken> own) const {
  for (const Listed& entry : listed) own.push_back(entry.token);
  std::vector<AddedToken> special;
  for (const Named& entry : named)
    if (entry.token) special.push_back(*entry.token);
  special.insert(special.end(), extra.begin(), extra.end());
  for (AddedToken& token : special) {
    const auto known =
        std::find_if(own.rbegin(), own.rend(), [&](const AddedToken& other) { return other.content == token.content; });
    if (known != own.rend()) token = *known;
    token.special = true;
    own.push_back(token);
  }
  return own;
}

std::vector<std::string> SpecialTokens::MovedIds(const AddedTokens& added) const {
  std::vector<std::string> moved;
  for (const Listed& entry : listed) {
    const std::optional<int32_t> id = added.IdOf(entry.token.content);
    if (id && *id != entry.id)
      moved.push_back(absl::StrCat("the token '", Shown(entry.token.content), "' has the id ", *id, ", not ", entry.id,
                                   " as its list says: ids follow the vocabulary without gaps, as in transformers"));
  }
  return moved;
}

}  // namespace fedalt
