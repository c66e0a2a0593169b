// The results of a comparison as text, from the same JSON object that comparison.json holds.
#pragma once

#include <string>

#include "run/results_json.h"

namespace fedalt {

/// A table with one line per variant: mean with its interval, worst site, difference to the reference, steps, bytes, trained
/// parameters and time; one with a line per site; and in words what was equal and what was not. Scores are in percent. The same
/// results give the same bytes, but for the last column of the first table.
std::string ComparisonTable(const OrderedJson& comparison);

}  // namespace fedalt
