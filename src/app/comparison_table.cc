#include "app/comparison_table.h"

#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <cmath>

#include "app/text_table.h"
#include "base/progress.h"
#include "run/comparison.h"

namespace fedalt {
namespace {

constexpr double kPercent = 100.0;
constexpr char kValidation[] = "validation loss";
constexpr size_t kWidth = 110;  // of the variants in the table of sites; more go into another block

/// How values of the metric are written: percent, or the loss as it is.
class Scale {
 public:
  explicit Scale(const std::string& metric) : loss_(IsLoss(metric)), title_(TitleOf(metric)) {}
  const std::string& title() const { return title_; }
  bool is_validation() const { return title_ == kValidation; }
  std::string Value(const OrderedJson& value) const {
    if (!value.is_number()) return "-";
    return loss_ ? absl::StrFormat("%.3f", value.get<double>()) : absl::StrFormat("%.1f", kPercent * value.get<double>());
  }
  std::string Signed(const OrderedJson& value) const {
    if (!value.is_number()) return "-";
    return loss_ ? absl::StrFormat("%+.3f", value.get<double>()) : absl::StrFormat("%+.1f", kPercent * value.get<double>());
  }
  /// "28.8 [27.0, 30.1]"
  std::string Estimate(const OrderedJson& estimate) const {
    if (!estimate.is_object()) return "-";
    if (!estimate["low"].is_number()) return Value(estimate["value"]);
    return absl::StrCat(Value(estimate["value"]), " [", Value(estimate["low"]), ", ", Value(estimate["high"]), "]");
  }

 private:
  static std::string TitleOf(const std::string& metric) {
    if (metric == "validation_loss") return kValidation;
    return metric == "loss" ? "test loss" : metric + " %";
  }

  bool loss_;
  std::string title_;
};

std::string CountText(const OrderedJson& value) {
  if (!value.is_number()) return "-";
  if (value.is_number_integer()) return absl::StrCat(value.get<int64_t>());
  return absl::StrFormat("%.1f", value.get<double>());
}

std::string SizeText(const OrderedJson& value) {
  if (!value.is_number()) return "-";
  const double bytes = value.get<double>();
  if (bytes < 1e3) return absl::StrFormat("%.0f B", bytes);
  if (bytes < 1e6) return absl::StrFormat("%.1f kB", bytes / 1e3);
  if (bytes < 1e9) return absl::StrFormat("%.1f MB", bytes / 1e6);
  return absl::StrFormat("%.1f GB", bytes / 1e9);
}

std::string PText(const OrderedJson& value) {
  if (!value.is_number()) return "-";
  return value.get<double>() < 0.001 ? "<0.001" : absl::StrFormat("%.3f", value.get<double>());
}

bool IsUnequal(const OrderedJson& row) {
  return row["equal_budget"].is_boolean() && !row["equal_budget"].get<bool>();
}

std::string NameOf(const OrderedJson& row) {
  return row["name"].get<std::string>();
}

/// "train.lr=3e-3 train.steps=4"
std::string SettingsText(const OrderedJson& settings) {
  return absl::StrJoin(settings.items(), " ", [](std::string* out, const auto& item) {
    absl::StrAppend(out, item.key(), "=", item.value().template get<std::string>());
  });
}

/// The name, behind it in parentheses what a search chose.
std::string NameWithChoice(const OrderedJson& row) {
  const OrderedJson& chosen = row["chosen"];
  if (!chosen.is_object() || chosen["settings"].empty()) return NameOf(row);
  return absl::StrCat(NameOf(row), " (", SettingsText(chosen["settings"]), ")");
}

/// Whether something is chosen by the validation losses of this comparison.
bool IsSearch(const OrderedJson& comparison) {
  const OrderedJson& rows = comparison["rows"];
  return std::any_of(rows.begin(), rows.end(), [](const OrderedJson& row) { return row["best_of_search"].is_boolean(); });
}

std::string ValidationText(const OrderedJson& row) {
  const OrderedJson &loss = row["metrics"]["validation_loss"], &best = row["best_of_search"];
  const std::string mark = best.is_boolean() && best.get<bool>() ? " best" : "     ";
  return (loss.is_number() ? absl::StrFormat("%.4f", loss.get<double>()) : "-") + mark;
}

std::string WorstText(const OrderedJson& row, const Scale& scale) {
  const OrderedJson& worst = row["worst"];
  return worst.is_object() ? absl::StrCat(scale.Estimate(worst), " ", worst["site"].get<std::string>()) : "-";
}

TableRow SummaryRow(const OrderedJson& row, const Scale& scale, bool search) {
  const OrderedJson& versus = row["versus_reference"];
  std::string difference = "-", p = "-", p_holm = "-";
  if (versus.is_object()) {
    difference = scale.Signed(versus["difference"]);
    if (versus["low"].is_number())
      absl::StrAppend(&difference, " [", scale.Signed(versus["low"]), ", ", scale.Signed(versus["high"]), "]");
    p = PText(versus["p"]);
    p_holm = PText(versus["p_holm"]);
  }
  TableRow cells = {NameWithChoice(row),
                    scale.Estimate(row["mean"]),
                    WorstText(row, scale),
                    difference,
                    p,
                    p_holm,
                    CountText(row["steps"]) + (IsUnequal(row) ? " *" : "  "),
                    SizeText(row["bytes_up"]),
                    SizeText(row["bytes_down"]),
                    CountText(row["trained_parameters"]),
                    row["seconds"].is_number() ? DurationText(row["seconds"].get<double>()) : "-"};
  if (search) cells.insert(cells.begin() + 1, ValidationText(row));
  if (scale.is_validation()) cells.erase(cells.begin() + 2);  // it stands there already
  return cells;
}

std::string SummaryTable(const OrderedJson& comparison, const Scale& scale) {
  std::vector<TableRow> rows = {{"variant", "mean " + scale.title(), "worst site", "minus reference", "p", "p (Holm)", "steps  ",
                                 "up", "down", "parameters", "time"}};
  const bool search = IsSearch(comparison);
  if (search) rows.front().insert(rows.front().begin() + 1, "validation loss     ");
  if (scale.is_validation()) rows.front().erase(rows.front().begin() + 2);
  for (const OrderedJson& row : comparison["rows"]) rows.push_back(SummaryRow(row, scale, search));
  return AlignTable(rows);
}

/// One variant from top to bottom: its name, every site, the mean.
std::vector<std::string> SiteColumn(const OrderedJson& row, size_t sites, const Scale& scale) {
  std::vector<std::string> column = {NameOf(row)};
  for (size_t k = 0; k < sites; ++k) column.push_back(k < row["per_site"].size() ? scale.Estimate(row["per_site"][k]) : "-");
  column.push_back(scale.Estimate(row["mean"]));
  return column;
}

/// Lines are sites, columns are variants, as many at a time as fit.
std::string SiteTables(const OrderedJson& comparison, const Scale& scale) {
  const OrderedJson& sites = comparison["sites"];
  std::vector<std::string> names = {scale.title()};
  for (const OrderedJson& site : sites) names.push_back(site.get<std::string>());
  names.emplace_back("mean");
  std::string text;
  std::vector<TableRow> rows;
  size_t width = 0;
  for (const OrderedJson& variant : comparison["rows"]) {
    const std::vector<std::string> column = SiteColumn(variant, sites.size(), scale);
    size_t widest = 0;
    for (const std::string& cell : column) widest = std::max(widest, cell.size() + 2);
    if (width + widest > kWidth && !rows.empty()) {
      absl::StrAppend(&text, "\n", AlignTable(rows));
      rows.clear();
    }
    if (rows.empty()) {
      for (const std::string& name : names) rows.push_back({name});
      width = 0;
    }
    for (size_t i = 0; i < column.size(); ++i) rows[i].push_back(column[i]);
    width += widest;
  }
  return absl::StrCat(text, "\n", AlignTable(rows));
}

std::string TrainedText(const OrderedJson& row) {
  return absl::StrCat(CountText(row["steps"]), " steps of ", CountText(row["examples_per_step"]), " examples");
}

/// Which variants were trained equally much, and which were not.
std::string BudgetText(const OrderedJson& comparison) {
  std::vector<std::string> equal, unequal;
  const OrderedJson* measure = nullptr;
  for (const OrderedJson& row : comparison["rows"]) {
    if (row["name"] == comparison["budget_of"]) measure = &row;
    if (IsUnequal(row))
      unequal.push_back(absl::StrCat(NameOf(row), " (", TrainedText(row), ")"));
    else if (row["equal_budget"].is_boolean())
      equal.push_back(NameOf(row));
  }
  if (measure == nullptr) return {};
  std::string text =
      absl::StrCat("equal training: every site took ", TrainedText(*measure), " in ", absl::StrJoin(equal, ", "), "\n");
  if (!unequal.empty()) absl::StrAppend(&text, "* not equal: ", absl::StrJoin(unequal, ", "), "\n");
  return text;
}

/// What a search found, and what was chosen by one.
std::string ChoiceText(const OrderedJson& comparison) {
  std::string text;
  if (IsSearch(comparison)) text = "best: the least validation loss of its method among the values of --set\n";
  if (!comparison["chosen_by"].is_object()) return text;
  std::vector<std::string> configured;
  for (const OrderedJson& row : comparison["rows"])
    if (row["chosen"].is_null() && row["method"] != "base") configured.push_back(NameOf(row));
  absl::StrAppend(&text, "in parentheses: settings with the least validation loss in ",
                  comparison["chosen_by"]["directory"].get<std::string>(),
                  configured.empty() ? "" : absl::StrCat("; as configured: ", absl::StrJoin(configured, ", ")), "\n");
  return text;
}

std::string FailureText(const OrderedJson& comparison) {
  std::string text;
  for (const OrderedJson& row : comparison["rows"]) {
    for (const OrderedJson& failed : row["failed"])
      absl::StrAppend(&text, "failed: ", NameOf(row), ", seed ", failed["seed"].get<uint64_t>(), ": ",
                      failed["reason"].get<std::string>(), "\n");
  }
  return text;
}

/// What the intervals cover.
std::string MethodText(const OrderedJson& comparison) {
  const size_t seeds = comparison["seeds"].size();
  const bool loss = IsLoss(comparison["metric"].get<std::string>());
  if (loss && seeds == 1) return "a loss is one number per site and seed: with one seed there are no intervals\n";
  std::string text = absl::StrFormat("[..]: %.0f %% intervals, %d bootstrap resamples of ",
                                     kPercent * comparison["confidence"].get<double>(), comparison["bootstrap"].get<int64_t>());
  if (loss) return text + "seeds; a loss is one number per site and seed, so that test examples are chance is not covered\n";
  absl::StrAppend(&text, "each site's test examples");
  if (seeds == 1) return text + "; with one seed, what another seed would change is not covered\n";
  return text + " and of the seeds\n";
}

}  // namespace

std::string ComparisonTable(const OrderedJson& comparison) {
  const Scale scale(comparison["metric"].get<std::string>());
  const OrderedJson& seeds = comparison["seeds"];
  std::string text = absl::StrCat(comparison["config"].get<std::string>(), ": ", comparison["rows"].size(), " variants, ",
                                  comparison["sites"].size(), " sites, ", seeds.size(), seeds.size() == 1 ? " seed" : " seeds");
  absl::StrAppend(
      &text, " (", seeds.front().get<uint64_t>(), seeds.size() > 1 ? absl::StrCat(" to ", seeds.back().get<uint64_t>()) : "", ")\n",
      SummaryTable(comparison, scale), "reference: ", comparison["reference"].get<std::string>(), "\n", ChoiceText(comparison),
      BudgetText(comparison), MethodText(comparison), FailureText(comparison), SiteTables(comparison, scale));
  return text;
}

}  // namespace fedalt
