// What the small files beside a tokenizer say about its tokens, read as transformers 5 reads them. A value.
//
// Named tokens ("bos_token": "<s>" or {"content": "<s>", "lstrip": ...}; every key that ends in "_token") and the lists
// "extra_special_tokens" / "additional_special_tokens" become special added tokens. "added_tokens_decoder" of tokenizer_config.json
// lists added tokens with their flags; only without it special_tokens_map.json is read, over tokenizer_config.json, and
// added_tokens.json. Tokens that the tokenizer lacks get its next free ids in this order: the listed ones by their numbers, then
// the named ones (bos, eos, unk, sep, pad, cls, mask, others), then the extra ones. "add_bos_token" and "add_eos_token" do not
// count beside a tokenizer.json, whose post-processor decides.
//
// Where this departs: a SentencePiece model without "add_bos_token" gets BOS in front, as the Llama of its authors does
// (transformers 5 puts none); without "bos_token" and "eos_token" the ids of generation_config.json and config.json count.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"
#include "text/json_reader.h"

namespace fedalt {

struct SpecialTokens {
  struct Named {
    std::string key;                  ///< "eos_token"
    std::optional<AddedToken> token;  ///< nullopt: the file says that there is none
  };
  struct Listed {
    int32_t id = 0;  ///< as the file has it
    AddedToken token;
  };

  std::vector<Listed> listed;     ///< by id
  std::vector<Named> named;       ///< in the order of their ids
  std::vector<AddedToken> extra;  ///< further special tokens
  std::optional<int32_t> bos_id, eos_id;
  std::optional<bool> add_bos_token, add_eos_token, add_prefix_space;
  bool legacy = false;                  ///< every part of a text between added tokens begins with SentencePiece's space
  std::string tokenizer_class;          ///< without "Fast"; empty: not named
  std::string model_type;               ///< of config.json
  std::optional<int32_t> model_ids;     ///< "vocab_size" of config.json
  bool has_files = false;               ///< there was a file that speaks of tokens
  std::vector<std::string> notes = {};  ///< what is not followed, one sentence each

  /// Reads tokenizer_config.json, special_tokens_map.json, added_tokens.json, generation_config.json and config.json, those that
  /// are there. Errors: kModel for a file that is not JSON, or that names tokens in a form that cannot be read.
  static StatusOr<SpecialTokens> Read(const std::filesystem::path& directory);

  /// The text of a named token, if there is one.
  std::optional<std::string> Name(std::string_view key) const;
  /// Names `content` where the files do not speak of `key`.
  void SetDefault(const std::string& key, const std::string& content);
  /// The tokens of a tokenizer (`own`) and those that the files add, in the order in which they get their ids. A named or extra
  /// token that is there already keeps its flags and is special.
  std::vector<AddedToken> Joined(std::vector<AddedToken> own) const;
  /// One note for every listed token whose id is another one in `added`.
  std::vector<std::string> MovedIds(const AddedTokens& added) const;
};

}  // namespace fedalt
