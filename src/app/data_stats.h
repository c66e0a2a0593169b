// The work of `fedalt data stats`: every site's data read and described, and what the sites have in common.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "run/results_json.h"
#include "run/run_config.h"
#include "text/prompt_template.h"
#include "text/tokenizer.h"

namespace fedalt {

struct DataStatsRequest {
  std::vector<SiteFiles> sites;  ///< test and validation may be empty: they are left out
  double validation = 0.0;       ///< share of train that a run would hold out, by the seed
  uint64_t seed = 0;
  const Tokenizer* tokenizer = nullptr;  ///< null: lengths in tokens are left out
  std::string prompt_template = "alpaca_short";
  TokenizeOptions lengths;  ///< what a run would cut or skip; told where there is a tokenizer
};

/// Reads each site's files once. The object is described in docs/data.md. Errors: kData, kConfig (the template).
StatusOr<OrderedJson> DescribeData(const DataStatsRequest& request);

/// The same as a table and the sentences below it.
std::string StatsTable(const OrderedJson& stats);

}  // namespace fedalt
