// Patterns of tokenizer.json ({"String": ...} or {"Regex": ...}) and the step that replaces what they match. Immutable.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "text/json_reader.h"
#include "text/regex.h"

namespace fedalt {

/// The member "pattern" of an object.
StatusOr<Regex> PatternFromJson(const Json& object, std::string_view where);

/// {"pattern": ..., "content": "..."}, a normalizer and a decoder. The content is plain text, groups mean nothing in it.
class Replacement {
 public:
  static StatusOr<Replacement> FromJson(const Json& object, std::string_view where);
  Status Apply(std::string& text) const;
  bool CanMatchEmpty() const { return regex_.CanBeEmpty(); }

 private:
  Replacement(Regex regex, std::string content) : regex_(std::move(regex)), content_(std::move(content)) {}
  Regex regex_;
  std::string literal_;  // if not empty: what to look for instead of the regular expression
  std::string content_;
};

}  // namespace fedalt
