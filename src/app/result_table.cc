#include "app/result_table.h"

#include <absl/strings/str_format.h>

#include <algorithm>

#include "app/text_table.h"
#include "base/progress.h"
#include "report/others_help.h"

namespace fedalt {
namespace {

constexpr double kPercent = 100.0;

const OrderedJson* Find(const OrderedJson& json, const std::string& name) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(name);
  return found == json.end() ? nullptr : &*found;
}

std::string NumberCell(const OrderedJson& site, const std::string& name, bool percent) {
  const OrderedJson* value = Find(site, name);
  if (value == nullptr || !value->is_number()) return "-";
  return percent ? absl::StrFormat("%.1f", kPercent * value->get<double>()) : absl::StrFormat("%.3f", value->get<double>());
}

bool IsLoss(const std::string& metric) {
  return metric == "loss";
}

using Row = TableRow;

Row MakeRow(const OrderedJson& site, const std::vector<std::string>& metrics) {
  const OrderedJson* name = Find(site, "site");
  Row row = {name != nullptr && name->is_string() ? name->get<std::string>() : "-", NumberCell(site, "train_loss", false)};
  for (const std::string& metric : metrics) row.push_back(NumberCell(site, metric, !IsLoss(metric)));
  const OrderedJson* ablations = Find(site, "ablations");
  const OrderedJson* off = ablations != nullptr ? Find(*ablations, "rest_of_world_off") : nullptr;
  row.push_back(off != nullptr ? NumberCell(*off, metrics.front(), !IsLoss(metrics.front())) : "-");
  row.push_back(FederationHelps(site));
  const OrderedJson* rate = Find(site, "tokens_per_s");
  row.push_back(rate != nullptr && rate->is_number() ? absl::StrFormat("%.0f", rate->get<double>()) : "-");
  return row;
}

std::string Title(const OrderedJson& summary) {
  std::string title;
  if (const OrderedJson* method = Find(summary, "method"); method != nullptr && method->is_string()) {
    absl::StrAppend(&title, method->get<std::string>(), " (preset ", summary.value("preset", "none"), ")");
  }
  if (const OrderedJson* rounds = Find(summary, "rounds"); rounds != nullptr && rounds->is_number_integer()) {
    absl::StrAppend(&title, ", ", rounds->get<int64_t>(), rounds->get<int64_t>() == 1 ? " round" : " rounds");
  }
  if (const OrderedJson* best = Find(summary, "best_round"); best != nullptr && best->is_number_integer()) {
    absl::StrAppend(&title, ", best by validation: round ", best->get<int64_t>());
  }
  if (const OrderedJson* seconds = Find(summary, "seconds"); seconds != nullptr && seconds->is_number()) {
    absl::StrAppend(&title, ", ", DurationText(seconds->get<double>()));
  }
  return title.empty() ? title : title + "\n";
}

// "5 of 8", or "-" where it was not measured.
std::string HelpedSites(const OrderedJson& sites) {
  int64_t yes = 0, known = 0;
  for (const OrderedJson& site : sites) {
    const std::string helps = FederationHelps(site);
    yes += helps == "yes" ? 1 : 0;
    known += helps == "-" ? 0 : 1;
  }
  return known == 0 ? "-" : absl::StrCat(yes, " of ", known);
}

}  // namespace

std::string ScoreTable(const OrderedJson& summary) {
  static const std::vector<std::string> kMetrics = {"loss", "rouge1", "rouge2", "rougeL", "exact_match"};
  std::vector<Row> rows = {{"site", "test loss", "rouge1 %", "rouge2 %", "rougeL %", "exact_match %", "examples"}};
  const auto add = [&rows](const std::string& name, const OrderedJson& scores) {
    Row row = {name};
    for (const std::string& metric : kMetrics) row.push_back(NumberCell(scores, metric, !IsLoss(metric)));
    const OrderedJson* examples = Find(scores, "examples");
    row.push_back(examples != nullptr && examples->is_number() ? absl::StrFormat("%.0f", examples->get<double>()) : "-");
    rows.push_back(std::move(row));
  };
  for (const OrderedJson& site : summary["sites"]) {
    add(site["site"].get<std::string>(), site);
    if (const OrderedJson* tags = Find(site, "by_tag"); tags != nullptr && tags->is_object()) {
      for (const auto& [tag, scores] : tags->items()) add("  " + tag, scores);
    }
  }
  if (summary["sites"].size() > 1) add("mean", summary["mean"]);
  return Title(summary) + AlignTable(rows);
}

std::string ResultTable(const OrderedJson& summary, const std::vector<std::string>& metrics) {
  const OrderedJson* sites = Find(summary, "sites");
  if (sites == nullptr || !sites->is_array() || metrics.empty()) return Title(summary);
  Row header = {"site", "train loss"};
  for (const std::string& metric : metrics) header.push_back(IsLoss(metric) ? "test loss" : metric + " %");
  header.insert(header.end(), {metrics.front() + ", others off", "others help", "tokens/s"});
  std::vector<Row> rows = {header};
  for (const OrderedJson& site : *sites) rows.push_back(MakeRow(site, metrics));
  if (const OrderedJson* mean = Find(summary, "mean"); mean != nullptr && sites->size() > 1) {
    rows.push_back(MakeRow(*mean, metrics));
    rows.back()[0] = "mean";
    rows.back()[rows.back().size() - 2] = HelpedSites(*sites);
  }
  std::string text = Title(summary) + AlignTable(rows);
  const OrderedJson* worst = Find(summary, "worst");
  if (worst != nullptr && sites->size() > 1 && Find(*worst, "site") != nullptr && (*worst)["site"].is_string()) {
    absl::StrAppend(&text, "worst site: ", (*worst)["site"].get<std::string>(), "\n");
  }
  return text;
}

}  // namespace fedalt
