// Finding the files that a configuration names: relative to its folder, else to the working directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/status.h"

namespace fedalt {

enum class InputKind { kFile, kDirectory };

/// A path as a shell would take it: "~" and "~/..." begin in the home of the user, "~NAME/..." in NAME's if there is such a user.
/// Options of the command line and paths in files go through here, since a shell leaves "--out=~/x" and "'~/x'" as they are.
std::string ExpandHome(const std::string& text);

/// `pattern` with every {site} replaced by the site's number.
std::string FillSite(const std::string& pattern, int64_t site);

/// Absolute, normal path of an existing input. `text` may begin with "~". `what` names it in the error, which lists the places
/// looked at.
StatusOr<std::filesystem::path> FindInput(const std::filesystem::path& folder, const std::string& text, InputKind kind,
                                          const std::string& what, ErrorKind error_kind);

/// The same for an adapter directory that may hold {site}: every site's directory must exist. The pattern comes back with an
/// absolute path.
StatusOr<std::filesystem::path> FindPattern(const std::filesystem::path& folder, const std::string& pattern, size_t sites);

}  // namespace fedalt
