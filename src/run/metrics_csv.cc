#include "run/metrics_csv.h"

#include <vector>

namespace fedalt {
namespace {

const std::vector<std::string>& Columns() {
  static const auto& columns = *new std::vector<std::string>([] {
    std::vector<std::string> names = {"round",       "site",         "participated",          "train_loss",
                                      "train_steps", "train_tokens", "tokens_per_s",          "bytes_up",
                                      "bytes_down",  "deployed",     "mean_individual_weight"};
    for (const char* model : {"", "before_swap.", "after_swap.", "ablations.rest_of_world_off.", "ablations.individual_off.",
                              "ablations.individual_alone.", "ablations.rest_of_world_alone.", "ablations.base."})
      for (const char* score : {"loss", "rouge1", "rouge2", "rougeL", "exact_match", "validation_loss"})
        names.push_back(std::string(model) + score);
    return names;
  }());
  return columns;
}

}  // namespace

std::string MetricsCsvHeader() {
  std::string header;
  for (const std::string& column : Columns()) header += (header.empty() ? "" : ",") + column;
  return header;
}

std::string MetricsCsvLine(const OrderedJson& line) {
  std::string text;
  for (const std::string& column : Columns()) {
    if (&column != &Columns().front()) text += ',';
    const OrderedJson* value = FindField(line, column);
    if (value == nullptr || value->is_null()) continue;
    text += value->is_string() ? value->get<std::string>()
                               : value->dump();  // site names hold no comma or quote (checked with the configuration)
  }
  return text;
}

}  // namespace fedalt
