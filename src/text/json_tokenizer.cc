// tokenizer.json: added tokens -> normalizer -> added tokens again -> pre-tokenizer -> model -> post-processor, and the decoder
// back.
#include <algorithm>
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
    bos_id_ = Resolve(special.bos_token, special.bos_id);
    eos_id_ = Resolve(special.eos_token, special.eos_id);
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
  if (const Json* added = FindMember(json, "added_tokens")) {
    ASSIGN_OR_RETURN(pipeline.added, AddedTokens::FromJson(*added, pipeline.model->vocabulary(), *pipeline.normalizer));
  }
  return std::make_shared<PipelineTokenizer>(std::move(pipeline), special);
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

  Pipeline pipeline;
  ASSIGN_OR_RETURN(pipeline.normalizer, MakeNormalizer(Json()));
  pipeline.pre_tokenizer = MakeByteLevelPreTokenizer(special.add_prefix_space.value_or(false), /*use_regex=*/true);
  ASSIGN_OR_RETURN(pipeline.decoder, MakeDecoder(Json{{"type", "ByteLevel"}}));
  SpecialTokens named = special;
  constexpr char kEndOfText[] = "<|endoftext|>";
  if (!named.bos_token && !named.bos_id) named.bos_token = kEndOfText;
  if (!named.eos_token && !named.eos_id) named.eos_token = kEndOfText;
  std::vector<AddedToken> added;
  std::vector<std::string> contents = named.others;
  for (const std::optional<std::string>& token : {named.bos_token, named.eos_token, named.unk_token})
    if (token) contents.push_back(*token);
  contents.push_back(kEndOfText);
  for (const std::string& content : contents)
    if (vocabulary->IdOf(content)) added.push_back({.content = content, .special = true, .normalized = false});
  ASSIGN_OR_RETURN(pipeline.model, MakeBpeModel(*std::move(vocabulary), *merges, BpeOptions()));
  ASSIGN_OR_RETURN(pipeline.added, AddedTokens::Make(added, pipeline.model->vocabulary(), *pipeline.normalizer));
  const auto around = [&](const std::optional<std::string>& token, std::optional<bool> wanted) {
    const std::optional<int32_t> id = token && wanted == true ? pipeline.model->vocabulary().IdOf(*token) : std::nullopt;
    return id ? std::vector<int32_t>{*id} : std::vector<int32_t>();
  };
  pipeline.post_processor =
      PostProcessor::Around(around(named.bos_token, named.add_bos_token), around(named.eos_token, named.add_eos_token));
  return std::make_shared<PipelineTokenizer>(std::move(pipeline), named);
}

}  // namespace fedalt
