// report.html: what a run, or a comparison of runs, found, as one file that opens by itself and asks no network for anything.
//
// The report is made from the files of the directory alone (docs/metrics.md), so it can be made again at any time. All that comes
// from these files goes into the page as one JSON object, which the page's script shows as text and never as markup. No function
// here keeps state; different directories may be reported from different threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"

namespace fedalt {

struct WrittenReport {
  std::filesystem::path path;
  std::string kind;  ///< "run" or "comparison"
  int64_t bytes = 0;
};

/// Writes `directory`/report.html; an older one is replaced. Errors: kUsage (neither a run nor a comparison, or nothing is recorded
/// yet), kOutput (a file of the directory is damaged; the report cannot be written).
StatusOr<WrittenReport> WriteReport(const std::filesystem::path& directory);

/// At the end of a run or a comparison, which is whole without its report: a failure is a warning that says how to make it.
void WriteReportOrWarn(const std::filesystem::path& directory);

/// The page with its data. The same data give the same bytes.
std::string RenderPage(const nlohmann::ordered_json& data);

}  // namespace fedalt
