// Timing of pieces of work against each other, and the file that records it together with the machine.
//
// The cases of one group run in turn, not one after the other, so that a disturbance of the machine meets all of them alike; the
// median counts. One thread.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/machine.h"
#include "base/status.h"

namespace fedalt::bench {

struct Case {
  std::string name;
  std::string unit;  ///< what the work consists of: "tokens", "bytes"
  double units = 0;  ///< how much of it one run does
  std::function<void()> run;
};

struct Result {
  std::string group, name, unit;
  int runs = 0;
  double median_seconds = 0, fastest_seconds = 0;
  double units_per_second = 0;  ///< by the median
  double ratio = 1;             ///< median time over that of the group's first case
};

/// Runs each case once unmeasured, then `runs` times, fewer (at least 3) if a group takes more than half a minute. The first case
/// is what the others are compared with.
std::vector<Result> Measure(const std::string& group, const std::vector<Case>& cases, int runs);

/// One line per result.
std::string Table(const std::vector<Result>& results);
/// A JSON object with the machine, the number of threads and the results.
Status WriteReport(const std::filesystem::path& path, const Machine& machine, int threads, const std::vector<Result>& results);

}  // namespace fedalt::bench
