// The results of a run as a table for people, from the same JSON object that --format json prints.
#pragma once

#include <string>
#include <vector>

#include "run/results_json.h"

namespace fedalt {

/// One line per site, then the mean and the worst site. `metrics`: names of RunConfig::metrics. Scores are in percent.
std::string ResultTable(const OrderedJson& summary, const std::vector<std::string>& metrics);

/// The scores of an evaluation alone: loss, ROUGE and exact match per site, by tag where examples carry tags.
std::string ScoreTable(const OrderedJson& summary);

}  // namespace fedalt
