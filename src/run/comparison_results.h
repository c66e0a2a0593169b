// The results of a comparison: comparison.json, which the table and the report are made of, and comparison.csv, one line per run
// and site.
//
// docs/compare.md explains every field and how the intervals are made. The same comparison gives the same bytes, but for the fields
// "seconds" and "train_seconds".
#pragma once

#include <filesystem>
#include <vector>

#include "base/status.h"
#include "run/compared_run.h"
#include "run/comparison.h"

namespace fedalt {

/// In the order of RunsOf(spec). Errors: kOutput, also where two runs were not scored on the same test examples.
StatusOr<std::vector<ComparedRun>> ReadComparedRuns(const std::filesystem::path& directory, const ComparisonSpec& spec);

/// The content of comparison.json. `runs`: those of RunsOf(spec).
OrderedJson ComparisonToJson(const ComparisonSpec& spec, const std::vector<ComparedRun>& runs);

/// The content of comparison.csv.
std::string ComparisonToCsv(const ComparisonSpec& spec, const std::vector<ComparedRun>& runs);

}  // namespace fedalt
