// What to answer to a name that is not known: the key that is called so elsewhere, or one that is spelled almost like it, or which
// names there are. A suggestion that is far off is worse than none, so there is none then. Pure; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/tool_words.h"

namespace fedalt {

/// A part of a sentence that begins after "unknown key ...; ", or nothing if the key tells nothing. `names`: the dotted keys of the
/// file, those of the configuration for SettingsFile::kConfiguration.
std::optional<std::string> FindKeyAdvice(std::string_view name, SettingsFile file, const std::vector<std::string>& names);

/// The same, or in its place which keys there are.
std::string KeyAdvice(std::string_view name, SettingsFile file, const std::vector<std::string>& names);

/// The candidate that `name` is a slip of: at most one letter in four is missing, wrong, too much or has changed its place with its
/// neighbour. Upper and lower case, '-' and '_' do not count. Empty if there is none; the first of several.
std::string CloseName(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace fedalt
