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
/// Where `special` has read files, their tokens and the model's own BOS, EOS and unknown are found in the text, and SentencePiece
/// sees what stands between; only the text's beginning gets its space in front (every part, if `special.legacy`).
StatusOr<std::shared_ptr<const Tokenizer>> LoadSentencePiece(std::string_view bytes, const SpecialTokens& special);
/// vocab.json and merges.txt, byte level. How text is cut into words stands in neither, so `special` must name a family that is
/// known (Qwen2, GPT-2); otherwise it is an error.
StatusOr<std::shared_ptr<const Tokenizer>> LoadVocabAndMerges(std::string_view vocab_json, std::string_view merges_text,
                                                              const SpecialTokens& special);

}  // namespace fedalt
