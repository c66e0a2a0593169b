// The "normalizer" section of a tokenizer.json: what happens to text before it is cut into words. Immutable, safe from many
// threads.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "text/json_reader.h"

namespace fedalt {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Precondition: valid UTF-8. Errors: a regular expression that exceeds its limits.
  virtual Status Apply(std::string& text) const = 0;
};

/// Types: Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, Strip, StripAccents; null does nothing.
StatusOr<std::unique_ptr<Normalizer>> MakeNormalizer(const Json& json);

}  // namespace fedalt
