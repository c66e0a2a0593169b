// Files that hold a secret: only their owner reads them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

/// WriteFileAtomic (base/file.h) with mode 0600 from the first byte on. Errors: kOutput; no temporary file is left.
Status WritePrivateFileAtomic(const std::filesystem::path& path, std::string_view bytes);

/// The whole file. Errors: kConfig, also for a file that all users may read, or that its group may change: a secret that others
/// know protects nothing. (Its group may read it, as orchestrators hand out secrets in that way.)
StatusOr<std::string> ReadPrivateFile(const std::filesystem::path& path, size_t limit_bytes);

}  // namespace fedalt
