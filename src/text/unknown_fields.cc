#include "text/unknown_fields.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace fedalt {
namespace {

using Names = std::vector<std::string_view>;

/// The fields of each type as `tokenizers` 0.23 and older versions write them, "type" aside.
const Names* FieldsOf(const std::string& section, const std::string& type) {
  static const Names byte_level = {"add_prefix_space", "trim_offsets", "use_regex"};
  static const Names metaspace = {"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"};
  static const Names replace = {"pattern", "content"};
  static const std::map<std::string, Names> fields = {
      {"model/BPE",
       {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges",
        "vocab", "merges"}},
      {"model/WordLevel", {"vocab", "unk_token"}},
      {"normalizer/Sequence", {"normalizers"}},
      {"normalizer/Prepend", {"prepend"}},
      {"normalizer/Replace", replace},
      {"normalizer/Strip", {"strip_left", "strip_right"}},
      {"pre_tokenizer/Sequence", {"pretokenizers"}},
      {"pre_tokenizer/ByteLevel", byte_level},
      {"pre_tokenizer/Metaspace", metaspace},
      {"pre_tokenizer/Split", {"pattern", "behavior", "invert"}},
      {"pre_tokenizer/Digits", {"individual_digits"}},
      {"pre_tokenizer/Punctuation", {"behavior"}},
      {"post_processor/Sequence", {"processors"}},
      {"post_processor/ByteLevel", byte_level},
      {"post_processor/TemplateProcessing", {"single", "pair", "special_tokens"}},
      {"decoder/Sequence", {"decoders"}},
      {"decoder/ByteLevel", byte_level},
      {"decoder/Metaspace", metaspace},
      {"decoder/Replace", replace},
      {"decoder/Strip", {"content", "start", "stop"}},
      {"decoder/BPEDecoder", {"suffix"}},
  };
  const auto found = fields.find(section + "/" + type);
  static const Names none;
  return found == fields.end() ? &none : &found->second;
}

void Check(const Json& object, const std::string& where, const Names& known, std::vector<std::string>& unknown) {
  for (const auto& [name, value] : object.items()) {
    if (value.is_null() || std::find(known.begin(), known.end(), name) != known.end()) continue;
    unknown.push_back(absl::StrCat("tokenizer.json: the field \"", Shown(name), "\" of ", where, " is not known and not used"));
  }
}

void CheckPart(const Json& part, const std::string& section, std::vector<std::string>& unknown) {
  const Json* type = part.is_object() ? FindMember(part, "type") : nullptr;
  const std::string name = type && type->is_string() ? type->get<std::string>() : section == "model" ? "BPE" : "";
  if (name.empty()) return;
  Names known = *FieldsOf(section, name);
  known.push_back("type");
  Check(part, absl::StrCat("the ", section, " ", Shown(name)), known, unknown);
  if (name != "Sequence") return;
  for (const auto& [field, list] : part.items())
    if (list.is_array())
      for (const Json& inner : list) CheckPart(inner, section, unknown);
}

}  // namespace

std::vector<std::string> UnknownFields(const Json& tokenizer_json) {
  std::vector<std::string> unknown;
  Check(tokenizer_json, "the file",
        {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "model", "decoder"},
        unknown);
  for (const char* section : {"normalizer", "pre_tokenizer", "post_processor", "model", "decoder"})
    if (const Json* part = FindMember(tokenizer_json, section)) CheckPart(*part, section, unknown);
  if (const Json* list = FindMember(tokenizer_json, "added_tokens"); list && list->is_array())
    for (const Json& token : *list)
      if (token.is_object())
        Check(token, "an added token", {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}, unknown);
  constexpr size_t kEnough = 5;  // a broken file can have many
  if (unknown.size() > kEnough) unknown.resize(kEnough);
  return unknown;
}

}  // namespace fedalt
