// metrics.csv: the numbers of metrics.jsonl in fixed columns, for spreadsheets.
#pragma once

#include <string>

#include "run/results_json.h"

namespace fedalt {

/// The header line, without a line end.
std::string MetricsCsvHeader();
/// One line of metrics.jsonl as a line of metrics.csv, without a line end; what was not measured stays empty.
std::string MetricsCsvLine(const OrderedJson& line);

}  // namespace fedalt
