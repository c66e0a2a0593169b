// Results as JSON: the lines of metrics.jsonl, the object that `fedalt run --format json` prints, and back for a resumed run.
// The fields are explained in docs/metrics.md. A value that was not measured or is not finite is null.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "fed/federation.h"

namespace fedalt {

using OrderedJson = nlohmann::ordered_json;

/// "a.b.c" inside nested objects; null if a step is absent.
const OrderedJson* FindField(const OrderedJson& json, const std::string& path);

/// One site in one round.
OrderedJson SiteToJson(const SiteRoundResult& result);

/// The mean over sites of every number that all of them have (bytes and tokens included), as a line of metrics.jsonl; train_loss
/// and tokens_per_s over those that trained. Null where a site's number is not finite.
OrderedJson MeanOf(const std::vector<OrderedJson>& sites);
/// The site that is worst by exact_match, then rouge1, then loss (which alone counts where nothing was generated), the first by
/// name of equal ones: {"site", "exact_match", "rouge1", "loss"}.
OrderedJson WorstOf(const std::vector<OrderedJson>& sites);

OrderedJson ReportToJson(const TrainReport& report);
/// The inverse, as far as a resumed round needs it; absent fields keep their default.
TrainReport ReportFromJson(const OrderedJson& json);

/// {"method", "preset", "rounds", "best_round", "seconds", "sites": [...], "mean": {...}, "worst": {...}}.
OrderedJson SummaryToJson(const RunSummary& summary, const std::vector<OrderedJson>& sites);

}  // namespace fedalt
