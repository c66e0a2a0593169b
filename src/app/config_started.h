// Whether the configuration in a run's directory is still the one that the run was started with: its bits were made by that one,
// and a file that says something else would be untrue of every round before.
//
// StartRun keeps a copy beside config.yaml (RunDirectory::started) with a digest of itself. What decides about the machine and not
// about the numbers may change: threads, sites_at_once, device, keep.rounds; so may the places of files whose content is the same.
#pragma once

#include <filesystem>
#include <string>

#include "app/config.h"
#include "base/status.h"

namespace fedalt {

/// `now`: config.yaml of the run in `root`. A run of a version that kept no copy passes with a warning. Errors: kConfig (names the
/// first key that differs, with both values), kOutput (the copy itself was changed).
Status CheckAsStarted(const std::filesystem::path& root, const ParsedConfig& now);

/// What may change, from `given` into `config`.
void TakeMachineSettings(const RunConfig& given, RunConfig& config);

/// The first line in which two texts of "key: value" lines differ: `train.lr is 0.5, and was 0.01`; empty if they are the same.
std::string FirstDifference(const std::string& now, const std::string& then);

}  // namespace fedalt
