// The "decoder" section of a tokenizer.json: from tokens back to text. Immutable, safe from many threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "text/json_reader.h"

namespace fedalt {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Rewrites the list of tokens; the text is what they give one behind the other.
  virtual void Apply(std::vector<std::string>& tokens) const = 0;
};

/// Types: ByteLevel, Metaspace, Sequence, Replace, ByteFallback, Fuse, Strip, BPEDecoder. Null: tokens with single spaces between.
StatusOr<std::unique_ptr<Decoder>> MakeDecoder(const Json& json);

}  // namespace fedalt
