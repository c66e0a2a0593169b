// Regular expressions of tokenizer.json: Oniguruma's syntax, run by PCRE2 within limits, so that no pattern can hang the program.
// Immutable after construction; FindAll may be called from many threads.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace fedalt {

/// Byte positions [first, second).
using Span = std::pair<size_t, size_t>;

class Regex {
 public:
  /// Errors: kModel, with the pattern and the reason.
  static StatusOr<Regex> FromOniguruma(std::string_view pattern);
  static StatusOr<Regex> FromLiteral(std::string_view text);

  /// All matches from left to right, none overlapping. An empty match directly behind the match before it does not count.
  /// Precondition: valid UTF-8. Errors: kData, if the limits are exceeded.
  StatusOr<std::vector<Span>> FindAll(std::string_view text) const;

  /// It may match an empty text.
  bool CanBeEmpty() const;

 private:
  Regex() = default;
  static StatusOr<Regex> Compile(std::string_view shown, const std::string& pcre);
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace fedalt
