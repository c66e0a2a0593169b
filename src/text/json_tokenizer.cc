// tokenizer.json: added tokens -> normalizer -> added tokens again -> pre-tokenizer -> model -> post-processor, and the decoder
// back.
#include <algorithm>
#include <initializer_list>
#include <utility>

#include "base/strict_json.h"
#include "text/added_tokens.h"
#include "text/bpe_model.h"
#include "text/decoder.h"
#include "text/json_reader.h"
#include "text/loaders.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/unknown_fields.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

struct Pipeline {
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  std::unique_ptr<TokenModel> model;
  std::unique_ptr<Decoder> decoder;
  AddedTokens added;
  PostProcessor post_processor;
};

class PipelineTokenizer : public Tokenizer {
 public:
  PipelineTokenizer(Pipeline pipeline, const SpecialTokens& special) : p_(std::move(pipeline)) {
    bos_id_ = Resolve(special.Name("bos_token"), special.bos_id);
    eos_id_ = Resolve(special.Name("eos_token"), special.eos_id);
    model_ids_ = special.model_ids;
    notes_ = special.notes;
    for (std::string& moved : special.MovedIds(p_.added)) notes_.push_back(std::move(moved));
  }

  StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override {
    if (const std::optional<size_t> at = FirstInvalidUtf8(text))
      return DataError(absl::StrCat("the text to encode is not valid UTF-8 at byte ", *at, "; convert it to UTF-8"));
    std::vector<int32_t> ids;
    for (Segment& raw : p_.added.Split(text, /*at_start=*/true, /*normalized=*/false)) {
      if (raw.id) {
        ids.push_back(*raw.id);
        continue;
      }
      RETURN_IF_ERROR(p_.normalizer->Apply(raw.text));
      for (Segment& segment : p_.added.Split(raw.text, raw.at_start, /*normalized=*/true)) {
        if (segment.id) {
          ids.push_back(*segment.id);
        } else {
          RETURN_IF_ERROR(EncodePart(std::move(segment), ids));
        }
      }
    }
    return add_special_tokens ? p_.post_processor.Apply(std::move(ids)) : ids;
  }

  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (int32_t id : ids) {
      const AddedToken* added = p_.added.TokenOf(id);
      if (added && skip_special_tokens && p_.added.IsSpecial(added->content)) continue;
      const std::string* token = added ? p_.added.DecodedTextOf(id) : p_.model->vocabulary().TokenOf(id);
      if (token) tokens.push_back(*token);
    }
    p_.decoder->Apply(tokens);
    std::string text;
    for (const std::string& token : tokens) text += token;
    return text;
  }

  std::vector<int32_t> front_ids() const override { return p_.post_processor.Front(); }
  int32_t vocab_size() const override { return std::max(p_.model->vocabulary().largest_id(), p_.added.largest_id()) + 1; }
  int32_t base_vocab_size() const override { return p_.model->vocabulary().largest_id() + 1; }
  std::optional<int32_t> IdOf(std::string_view token) const override {
    const std::optional<int32_t> id = p_.added.IdOf(token);
    return id ? id : p_.model->vocabulary().IdOf(token);
  }
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  std::optional<int32_t> eos_id() const override { return eos_id_; }

 private:
  Status EncodePart(Segment segment, std::vector<int32_t>& ids) const {
    std::vector<Piece> pieces;
    pieces.push_back({std::move(segment.text), segment.at_start});
    RETURN_IF_ERROR(p_.pre_tokenizer->Apply(pieces));
    for (const Piece& piece : pieces) RETURN_IF_ERROR(p_.model->Tokenize(piece.text, ids));
    return absl::OkStatus();
  }

  std::optional<int32_t> Resolve(const std::optional<std::string>& token, std::optional<int32_t> otherwise) const {
    const std::optional<int32_t> id = token ? IdOf(*token) : std::nullopt;
    return id ? id : otherwise;
  }

  Pipeline p_;
  std::optional<int32_t> bos_id_, eos_id_;
};

const Json& Section(const Json& json, const char* name) {
  static const Json null;
  const Json* section = FindMember(json, name);
  return section ? *section : null;
}

/// Where the files beside a tokenizer.json want other tokens around a text than its post-processor puts there.
void NoteAround(const Pipeline& pipeline, SpecialTokens& special) {
  const size_t front = pipeline.post_processor.Front().size(), around = pipeline.post_processor.Apply({}).size();
  const auto note = [&](const char* key, std::optional<bool> wanted, bool there) {
    if (wanted && *wanted != there)
      special.notes.push_back(absl::StrCat("tokenizer_config.json: \"", key, "\" is ", *wanted ? "true" : "false",
                                           ", but the post_processor of tokenizer.json decides, as in transformers 5, and adds ",
                                           there ? "one" : "none"));
  };
  note("add_bos_token", special.add_bos_token, front > 0);
  note("add_eos_token", special.add_eos_token, around > front);
}

/// Added tokens whose number is not the id that they get.
void NoteMoved(const Json& list, const AddedTokens& added, SpecialTokens& special) {
  SpecialTokens own;
  for (const Json& item : list) own.listed.push_back({item["id"].get<int32_t>(), {.content = item["content"].get<std::string>()}});
  for (std::string& moved : own.MovedIds(added)) special.notes.push_back(std::move(moved));
}

// Families whose tokenizer is vocab.json and merges.txt, by transformers' classes.
constexpr char kQwen2Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// "Qwen2Tokenizer", "GPT2Tokenizer" or an error. As transformers 5: a Qwen2 model has Qwen2's tokenizer whatever its files say.
StatusOr<std::string> FamilyOf(const SpecialTokens& special) {
  const std::string &name = special.tokenizer_class, &type = special.model_type;
  const auto is_one_of = [](const std::string& text, std::initializer_list<const char*> list) {
    return std::find(list.begin(), list.end(), text) != list.end();
  };
  if (type == "qwen2") return "Qwen2Tokenizer";
  if (is_one_of(name, {"Qwen2Tokenizer", "GPT2Tokenizer"})) return name;
  if (name == "CodeGenTokenizer") return "GPT2Tokenizer";  // the same but for its name
  if (name.empty() && is_one_of(type, {"qwen2_moe", "qwen3", "qwen3_moe"})) return "Qwen2Tokenizer";
  if (name.empty() && is_one_of(type, {"gpt2", "gpt_neo", "phi", "codegen"})) return "GPT2Tokenizer";
  return ModelError(absl::StrCat("vocab.json and merges.txt do not say how text is cut into words, and ",
                                 name.empty() ? absl::StrCat("no tokenizer_class and the model_type '", Shown(type), "'")
                                              : absl::StrCat("the tokenizer_class '", Shown(name), "'"),
                                 " names no known way (Qwen2Tokenizer, GPT2Tokenizer); add the model's tokenizer.json"));
}

Status MakeFamily(const std::string& family, SpecialTokens& special, Pipeline& pipeline) {
  constexpr char kEndOfText[] = "<|endoftext|>";
  const bool prefix = special.add_prefix_space.value_or(false);
  Json normalizer;
  pipeline.pre_tokenizer = MakeByteLevelPreTokenizer(prefix, /*use_regex=*/true);
  if (family == "Qwen2Tokenizer") {
    const Json split = {{"type", "Split"}, {"pattern", {{"Regex", kQwen2Pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
    const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"use_regex", false}};
    ASSIGN_OR_RETURN(pipeline.pre_tokenizer, MakePreTokenizer({{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}));
    normalizer = {{"type", "NFC"}};
    special.SetDefault("pad_token", kEndOfText);
  } else {
    special.SetDefault("bos_token", kEndOfText);
  }
  special.SetDefault("eos_token", kEndOfText);
  special.SetDefault("unk_token", kEndOfText);
  ASSIGN_OR_RETURN(pipeline.normalizer, MakeNormalizer(normalizer));
  ASSIGN_OR_RETURN(pipeline.decoder, MakeDecoder(Json{{"type", "ByteLevel"}}));
  return absl::OkStatus();
}

}  // namespace

StatusOr<std::shared_ptr<const Tokenizer>> LoadTokenizerJson(std::string_view bytes, const SpecialTokens& special) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(bytes, {.kind = ErrorKind::kModel}));
  if (!json.is_object()) return ModelError(absl::StrCat("holds ", json.type_name(), ", expected the object of a tokenizer.json"));
  Pipeline pipeline;
  // The sections "truncation" and "padding" are settings of the last user of the file, not of the tokenizer: they are left aside.
  ASSIGN_OR_RETURN(pipeline.normalizer, MakeNormalizer(Section(json, "normalizer")));
  ASSIGN_OR_RETURN(pipeline.pre_tokenizer, MakePreTokenizer(Section(json, "pre_tokenizer")));
  ASSIGN_OR_RETURN(pipeline.model, MakeTokenModel(Section(json, "model")));
  ASSIGN_OR_RETURN(pipeline.decoder, MakeDecoder(Section(json, "decoder")));
  ASSIGN_OR_RETURN(pipeline.post_processor, PostProcessor::FromJson(Section(json, "post_processor")));
  SpecialTokens told = special;
  const Json* list = FindMember(json, "added_tokens");
  std::vector<AddedToken> own;
  if (list != nullptr) {
    ASSIGN_OR_RETURN(own, AddedTokens::ListFromJson(*list));
  }
  ASSIGN_OR_RETURN(pipeline.added, AddedTokens::Make(special.Joined(own), pipeline.model->vocabulary(), *pipeline.normalizer));
  if (list != nullptr) NoteMoved(*list, pipeline.added, told);
  NoteAround(pipeline, told);
  for (std::string& unknown : UnknownFields(json)) told.notes.push_back(std::move(unknown));
  return std::make_shared<PipelineTokenizer>(std::move(pipeline), told);
}

StatusOr<std::shared_ptr<const Tokenizer>> LoadVocabAndMerges(std::string_view vocab_json, std::string_view merges_text,
                                                              const SpecialTokens& special) {
  const auto in = [](const char* name, const Status& status) { return Annotate(status, name); };
  const StatusOr<Json> json = ParseJson(vocab_json, {.kind = ErrorKind::kModel});
  if (!json.ok()) return in("vocab.json", json.status());
  StatusOr<Vocabulary> vocabulary = Vocabulary::FromJson(*json);
  if (!vocabulary.ok()) return in("vocab.json", vocabulary.status());
  const StatusOr<Merges> merges = ParseMergesText(merges_text);
  if (!merges.ok()) return in("merges.txt", merges.status());

  ASSIGN_OR_RETURN(const std::string family, FamilyOf(special));
  Pipeline pipeline;
  SpecialTokens named = special;
  RETURN_IF_ERROR(MakeFamily(family, named, pipeline));
  ASSIGN_OR_RETURN(pipeline.model, MakeBpeModel(*std::move(vocabulary), *merges, BpeOptions()));
  std::vector<AddedToken> tokens = named.Joined({});
  const auto plain = [&](const AddedToken& token) {
    tokens.push_back({.content = token.content, .special = true, .normalized = false});
  };
  if (family == "Qwen2Tokenizer") {  // which adds its special tokens once more, without their flags
    for (const SpecialTokens::Named& entry : named.named)
      if (entry.token) plain(*entry.token);
    for (const AddedToken& token : named.extra) plain(token);
  }
  ASSIGN_OR_RETURN(pipeline.added, AddedTokens::Make(tokens, pipeline.model->vocabulary(), *pipeline.normalizer));
  const auto around = [&](const char* key, std::optional<bool> wanted) {
    const std::optional<std::string> token = named.Name(key);
    const std::optional<int32_t> id = token && wanted == true ? pipeline.added.IdOf(*token) : std::nullopt;
    return id ? std::vector<int32_t>{*id} : std::vector<int32_t>();
  };
  pipeline.post_processor =
      PostProcessor::Around(around("bos_token", named.add_bos_token), around("eos_token", named.add_eos_token));
  return std::make_shared<PipelineTokenizer>(std::move(pipeline), named);
}

}  // namespace fedalt
