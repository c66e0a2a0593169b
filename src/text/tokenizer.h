// Text to token ids and back, exactly as the original libraries do it.
//
// Reads `tokenizer.json` (model types BPE and WordLevel, with the normalizers, pre-tokenizers, added tokens, post-processors and
// decoders of the supported families), SentencePiece BPE models (`tokenizer.model`) and the older pair `vocab.json` + `merges.txt`
// (byte level). A Tokenizer is immutable after loading; all methods may be called from many threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fedalt {

class Tokenizer {
 public:
  /// `path`: a model directory (tokenizer.json is preferred, then tokenizer.model, then vocab.json + merges.txt) or one such file.
  /// Added and special tokens come from the small files beside it, too (text/special_tokens.h). Errors: kModel.
  static StatusOr<std::shared_ptr<const Tokenizer>> Load(const std::filesystem::path& path);
  virtual ~Tokenizer() = default;

  /// Ids of `text`. With `add_special_tokens` the post-processor applies (for example a leading BOS). Errors: invalid UTF-8
  /// (kData).
  virtual StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens = true) const = 0;

  /// Text of `ids`; ids out of range are skipped; bytes that are not valid UTF-8 become U+FFFD, as the original library does.
  /// Special: the added tokens marked so; in a SentencePiece model its control pieces (which never give text) and the unknown one.
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens = false) const = 0;

  /// What the post-processor puts in front of a text, usually BOS or nothing.
  virtual std::vector<int32_t> front_ids() const = 0;

  /// Largest id + 1, added tokens included.
  virtual int32_t vocab_size() const = 0;
  /// Largest id + 1 of the vocabulary itself.
  virtual int32_t base_vocab_size() const { return vocab_size(); }
  virtual std::optional<int32_t> IdOf(std::string_view token) const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;

  /// Ids that the model beside the tokenizer has, by its config.json; tokens may stand beyond them as long as no text uses them.
  std::optional<int32_t> model_ids() const { return model_ids_; }
  /// What the files say that is not followed or could surprise, one sentence each.
  const std::vector<std::string>& notes() const { return notes_; }

 protected:
  std::optional<int32_t> model_ids_;
  std::vector<std::string> notes_;
};

}  // namespace fedalt
