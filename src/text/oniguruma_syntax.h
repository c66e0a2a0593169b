// Translates a pattern from Oniguruma's syntax, in which tokenizer.json files are written, to PCRE2's.
//
// The two differ in more than spelling: \s, \w, \h, \v and \d stand for other sets, ^ and $ always work per line, (?m) means what
// PCRE2 calls (?s), a class may contain classes and intersections, {,n} is a repeat, a{1,2}+ repeats a repeat. The translation
// writes every set out. What it does not know (back references, conditionals, callouts, absent operators, ...) is refused by name.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

/// For PCRE2 with UTF, UCP and MULTILINE. Errors: kModel.
StatusOr<std::string> PcreFromOniguruma(std::string_view pattern);

/// A pattern that matches exactly `text`.
std::string PcreFromLiteral(std::string_view text);

}  // namespace fedalt
