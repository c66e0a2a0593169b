// What a server knows only while it works, for whoever looks at its directory meanwhile or later: whom it has heard, when the
// certificates end, and whether it is adding up. A file beside the database: nothing depends on it, so the audit log does not cover
// it, and it may be deleted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "base/status.h"

namespace fedalt {

struct ServerNow {
  int64_t start = 0;                           ///< the number of the server's start (ServerJournal::SaveStart)
  int64_t aggregating_round = 0;               ///< 0: none
  std::map<std::string, int64_t> heard_ms;     ///< by site: Unix time of its last call
  std::map<std::string, int64_t> not_after_s;  ///< whose certificate ("site osaka") -> Unix time of its end
  bool operator==(const ServerNow&) const = default;
};

/// Replaces the file in the server's directory. Errors: kOutput.
Status WriteServerNow(const std::filesystem::path& directory, const ServerNow& now);
/// Nothing where the file is missing or is none of ours.
ServerNow ReadServerNow(const std::filesystem::path& directory);

}  // namespace fedalt
