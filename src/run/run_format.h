// Whether a run directory was begun with the draws that this program makes (kRunFormat).
#pragma once

#include <filesystem>

#include "base/status.h"

namespace fedalt {

/// Errors: kOutput (the run has another format, so it cannot go on or stand beside new ones; environment.json cannot be read).
Status CheckRunFormat(const std::filesystem::path& directory);

}  // namespace fedalt
