// The content of a run's report as one JSON object, from the files of the run directory.
//
// {"kind": "run", "method", "preset", "model", "seed", "date", "finished", "rounds", "seconds", ..., "metrics": [...], "sites":
// [...],
//  "final": one object per site, of the last evaluated round; "curves", "traffic", "mixer", "influence", "cross_site",
//  "predictions", "config", "environment", "notes": [...]}. What the directory does not have is null. Lists per site are in the
//  order of "sites".
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/status.h"

namespace fedalt {

/// Reads a run directory, finished or not. Errors: kUsage (no round is recorded yet), kOutput (a file is damaged).
StatusOr<nlohmann::ordered_json> CollectRun(const std::filesystem::path& root);

}  // namespace fedalt
