// JSON from outside, parsed strictly: nothing after the value, no name twice in one object, bounded nesting, valid UTF-8.
// Never throws. Used for everything that the program reads as JSON, so that broken files are reported in one way.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/status.h"

namespace fedalt {

struct JsonOptions {
  ErrorKind kind = ErrorKind::kInternal;  ///< of the errors returned
  int max_depth = 64;
  int64_t first_line = 1;  ///< line of the file on which `bytes` begins
};

/// The value, or an error "line L, column C: what is wrong" (the file is for the caller to name).
StatusOr<nlohmann::json> ParseJson(std::string_view bytes, const JsonOptions& options);

/// `text` shortened and made printable for a message.
std::string QuoteForMessage(std::string_view text);

}  // namespace fedalt
