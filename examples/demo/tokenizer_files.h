// The demo's tokenizer in the layout of Hugging Face: one token per word, split at white space.
#pragma once

#include <filesystem>

#include "base/status.h"

namespace fedalt::demo {

inline constexpr int kUnknownId = 0, kBosId = 1, kEosId = 2;

/// Words of the world plus the three special tokens.
int VocabularySize();

/// Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json. Same bytes every time. Errors: kOutput.
Status WriteTokenizerFiles(const std::filesystem::path& directory);

}  // namespace fedalt::demo
