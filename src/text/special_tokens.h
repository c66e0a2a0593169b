// What the small files beside a tokenizer say: which tokens begin and end a text. A value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "text/json_reader.h"

namespace fedalt {

struct SpecialTokens {
  std::optional<std::string> bos_token, eos_token, unk_token;  ///< by text
  std::optional<int32_t> bos_id, eos_id;                       ///< by id; used where the text is not given
  std::optional<bool> add_bos_token, add_eos_token, add_prefix_space;
  std::vector<std::string> others;  ///< further texts that are special (pad_token, additional_special_tokens)

  /// Reads tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json, those that are there; what an
  /// earlier one says stands. Errors: kModel for a file that is not JSON.
  static StatusOr<SpecialTokens> Read(const std::filesystem::path& directory);
};

}  // namespace fedalt
