// The three kinds of tokenizer, made from bytes in memory. Tokenizer::Load reads the files and calls these; fuzzing calls them
// directly. The results are immutable and may be used from many threads. Errors: kModel.
#pragma once

#include <memory>
#include <string_view>

#include "base/status.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"

namespace fedalt {

/// A tokenizer.json.
StatusOr<std::shared_ptr<const Tokenizer>> LoadTokenizerJson(std::string_view bytes, const SpecialTokens& special);
/// A tokenizer.model of SentencePiece, model type BPE. Encoding puts BOS in front unless `special` says otherwise, as Llama does.
StatusOr<std::shared_ptr<const Tokenizer>> LoadSentencePiece(std::string_view bytes, const SpecialTokens& special);
/// vocab.json and merges.txt: GPT-2's byte level pipeline.
StatusOr<std::shared_ptr<const Tokenizer>> LoadVocabAndMerges(std::string_view vocab_json, std::string_view merges_text,
                                                              const SpecialTokens& special);

}  // namespace fedalt
