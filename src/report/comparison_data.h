// The content of a comparison's report as one JSON object: comparison.json, checked, and which of its runs have a report to link
// to.
//
// {"kind": "comparison", "comparison": the object of comparison.json, "links": per row a list of {"run", "report": true | false}}.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/status.h"

namespace fedalt {

/// Errors (kOutput): comparison.json is damaged.
StatusOr<nlohmann::ordered_json> CollectComparison(const std::filesystem::path& root);

}  // namespace fedalt
