// Cutting text at matches, in the five ways of `tokenizers`.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace fedalt {

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// From the JSON names ("Removed", "MergedWithNext", ...).
std::optional<SplitBehavior> SplitBehaviorNamed(std::string_view name);

/// The parts of a text of `size` bytes whose matches are `matches` (ascending, not overlapping). With `invert` the matches are what
/// is kept and the rest is what the behavior is about. Parts may be empty only where matches are.
std::vector<Span> SplitAt(size_t size, const std::vector<Span>& matches, SplitBehavior behavior, bool invert);

}  // namespace fedalt
