// The work of `fedalt data split`: files read, split into sites, written as a directory that `fedalt run` can use.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/site_split.h"
#include "run/results_json.h"

namespace fedalt {

struct DataSplitRequest {
  std::vector<std::filesystem::path> inputs;
  std::vector<std::filesystem::path> tests;  ///< with SplitRule::kTask: test examples that come from files of their own
  std::filesystem::path out;                 ///< free, or an empty directory
  SplitOptions options;
};

/// Reads the inputs, splits them, and writes out/train, out/test, out/config.yaml and out/split.json, all or nothing. Returns what
/// split.json holds: how it was made, and each site's counts. Equal inputs and options give equal bytes. Errors: kUsage (the
/// options do not fit the data), kData, kOutput.
StatusOr<OrderedJson> SplitData(const DataSplitRequest& request);

/// The same as a table.
std::string SplitTable(const OrderedJson& split);

}  // namespace fedalt
