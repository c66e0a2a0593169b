#include "text/token_model.h"

#include "base/check.h"
#include "text/bpe_model.h"

namespace fedalt {
namespace {

class WordLevelModel : public TokenModel {
 public:
  WordLevelModel(Vocabulary vocabulary, std::string unknown) : vocabulary_(std::move(vocabulary)), unknown_(std::move(unknown)) {}

  Status Tokenize(std::string_view word, std::vector<int32_t>& ids) const override {
    if (word.empty()) return absl::OkStatus();
    std::optional<int32_t> id = vocabulary_.IdOf(word);
    if (!id) id = vocabulary_.IdOf(unknown_);
    if (!id) {
      return DataError(absl::StrCat("the word '", Shown(word),
                                    "' is not in the tokenizer's vocabulary, and neither is its unknown token '", unknown_,
                                    "'; use words of the vocabulary or add the token"));
    }
    ids.push_back(*id);
    return absl::OkStatus();
  }
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  std::string unknown_;
};

}  // namespace

StatusOr<Vocabulary> Vocabulary::FromJson(const Json& json) {
  if (!json.is_object())
    return ModelError(absl::StrCat("the vocabulary is ", json.type_name(), ", expected an object of tokens and ids"));
  Vocabulary vocabulary;
  vocabulary.ids_.reserve(json.size());
  vocabulary.tokens_.reserve(json.size());
  for (const auto& [token, value] : json.items()) {
    const std::optional<int64_t> id = AsInt(value, kIdLimit - 1);
    if (!id) {
      return ModelError(absl::StrCat("the vocabulary gives the token '", Shown(token), "' the id ", Shown(value.dump()),
                                     ", expected a whole number from 0 to ", kIdLimit - 1));
    }
    const auto entry = vocabulary.ids_.emplace(token, static_cast<int32_t>(*id)).first;
    const auto [other, is_new] = vocabulary.tokens_.emplace(entry->second, &entry->first);
    if (!is_new) {
      return ModelError(absl::StrCat("the vocabulary gives the id ", *id, " to two tokens, '", Shown(*other->second), "' and '",
                                     Shown(token), "'; every token needs its own"));
    }
    vocabulary.largest_id_ = std::max(vocabulary.largest_id_, entry->second);
  }
  return vocabulary;
}

Vocabulary Vocabulary::Of(StringMap<int32_t> ids) {
  Vocabulary vocabulary;
  vocabulary.ids_ = std::move(ids);
  for (const auto& [token, id] : vocabulary.ids_) {
    FEDALT_CHECK(vocabulary.tokens_.emplace(id, &token).second, "every id stands once");
    vocabulary.largest_id_ = std::max(vocabulary.largest_id_, id);
  }
  return vocabulary;
}

std::optional<int32_t> Vocabulary::IdOf(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::TokenOf(int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : found->second;
}

StatusOr<std::unique_ptr<TokenModel>> MakeTokenModel(const Json& json) {
  if (!json.is_object()) return ModelError("the section 'model' is missing; this is not a tokenizer.json");
  const Json* vocab = FindMember(json, "vocab");
  std::string type = "BPE";  // files of the first versions have no type
  if (json.contains("type")) {
    ASSIGN_OR_RETURN(type, RequireString(json, "type", "model"));
  }
  if (type != "BPE" && type != "WordLevel") {
    return ModelError(absl::StrCat("the tokenizer model '", Shown(type),
                                   "' is not supported; BPE and WordLevel are (Llama, Mistral, Qwen, Phi, Falcon, GPT-2, Bloom)"));
  }
  if (!vocab) return ModelError("model: 'vocab' is absent; the file is incomplete");
  ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromJson(*vocab));
  if (type == "WordLevel") {
    ASSIGN_OR_RETURN(std::string unknown, RequireString(json, "unk_token", "model"));
    return std::make_unique<WordLevelModel>(std::move(vocabulary), std::move(unknown));
  }
  return MakeBpeModel(json, std::move(vocabulary));
}

}  // namespace fedalt
