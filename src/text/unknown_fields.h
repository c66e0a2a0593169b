// Fields of a tokenizer.json that this program does not know: something newer than it may be in them.
#pragma once

#include <string>
#include <vector>

#include "text/json_reader.h"

namespace fedalt {

/// One sentence for every field of `tokenizer_json` or of its parts that nothing reads. Types that are not supported are refused
/// elsewhere.
std::vector<std::string> UnknownFields(const Json& tokenizer_json);

}  // namespace fedalt
