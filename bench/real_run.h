// Runs of the program itself, in a process of its own, on models and data made for it.
#pragma once

#include <filesystem>

#include "synthetic.h"

namespace fedalt::bench {

struct RealRun {
  const char* name;
  Geometry geometry;
  at::ScalarType dtype;
  int64_t sites, examples, words;  ///< of a site: examples of each file; prompts have between half of `words` and all of them
  const char* options;             ///< lines of config.yaml
};

/// Everything that the run needs, in a folder of its own below Scratch().
std::filesystem::path PrepareRealRun(const RealRun& what);

struct RealRunResult {
  double peak_bytes = 0.0;     ///< its greatest resident memory, from the kernel
  double train_seconds = 0.0;  ///< what its summary says
};
/// `fedalt run`, anew, with `folder`/run as its directory.
RealRunResult ExecuteRealRun(const std::filesystem::path& folder, at::ScalarType dtype);

}  // namespace fedalt::bench
