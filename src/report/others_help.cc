#include "report/others_help.h"

namespace fedalt {

std::string FederationHelps(const nlohmann::ordered_json& site) {
  const auto gain = site.find("gain_from_others");
  if (gain == site.end() || !gain->is_object()) return "-";
  for (const char* metric : {"rouge1", "loss"}) {  // answers decide; the loss where there are none, or where they tie
    const auto value = gain->find(metric);
    if (value != gain->end() && value->is_number() && value->get<double>() != 0.0) return value->get<double>() > 0.0 ? "yes" : "no";
  }
  const auto loss = gain->find("loss");
  return loss != gain->end() && loss->is_number() ? "no" : "-";  // null: not finite, so nothing is known
}

}  // namespace fedalt
