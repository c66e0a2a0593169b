// Whether the others help a site: one rule for the table of a run and for its report.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace fedalt {

/// Whether the model of the site (a line of metrics.jsonl) is better with the others than without: by ROUGE-1 of its answers, by
/// the loss where that ties or nothing was generated. "yes", "no", or "-" where it was not measured.
std::string FederationHelps(const nlohmann::ordered_json& site);

}  // namespace fedalt
