#include "run/comparison_results.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>

#include "base/check.h"
#include "run/bootstrap.h"
#include "run/comparison_search.h"

namespace fedalt {
namespace {

constexpr double kConfidence = 0.95;
constexpr const char* kMetrics[] = {"loss", "rouge1", "rouge2", "rougeL", "exact_match", "validation_loss"};

/// A variant with its runs that finished.
struct Row {
  const Variant* variant = nullptr;
  std::vector<const ComparedRun*> runs;  ///< finished, by seed
  std::vector<const ComparedRun*> failed;
  VariantScores scores;
  VariantStatistics statistics;
};

std::vector<Row> RowsOf(const ComparisonSpec& spec, const std::vector<ComparedRun>& runs) {
  std::vector<Row> rows(spec.variants.size());
  const std::vector<ComparisonRun> places = RunsOf(spec);
  FEDALT_CHECK(places.size() == runs.size(), "a result of every run");
  for (size_t v = 0; v < rows.size(); ++v) {
    rows[v].variant = &spec.variants[v];
    rows[v].scores.seeds.assign(spec.seeds.size(), nullptr);
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    Row& row = rows[places[i].variant];
    if (!runs[i].failure.empty()) {
      row.failed.push_back(&runs[i]);
      continue;
    }
    row.runs.push_back(&runs[i]);
    for (size_t s = 0; s < spec.seeds.size(); ++s)
      if (!row.variant->depends_on_seed || spec.seeds[s] == runs[i].seed) row.scores.seeds[s] = &runs[i].scores;
  }
  return rows;
}

size_t ReferenceOf(const ComparisonSpec& spec) {
  const auto found = std::find_if(spec.variants.begin(), spec.variants.end(),
                                  [&](const Variant& variant) { return variant.name == spec.reference; });
  FEDALT_CHECK(found != spec.variants.end(), "the reference is a variant");
  return static_cast<size_t>(found - spec.variants.begin());
}

/// The row whose optimizer steps the others are measured by: the reference, or the first that each site trains by itself.
const Row* BudgetOf(const ComparisonSpec& spec, const std::vector<Row>& rows) {
  const auto trains = [](const Row& row) {
    return !row.runs.empty() && row.variant->method != "base" && row.variant->method != "pooled";
  };
  if (const Row& reference = rows[ReferenceOf(spec)]; trains(reference)) return &reference;
  const auto found = std::find_if(rows.begin(), rows.end(), trains);
  return found == rows.end() ? nullptr : &*found;
}

/// Whether every site took the same optimizer steps on as many examples; empty where there is nothing to compare.
std::optional<bool> EqualBudget(const Row& row, const Row* budget) {
  if (budget == nullptr || row.runs.empty() || row.variant->method == "base") return std::nullopt;
  if (row.variant->examples_per_step != budget->variant->examples_per_step) return false;
  for (const ComparedRun* run : row.runs) {
    for (const ComparedRun* other : budget->runs)
      if (other->seed == run->seed && other->steps != run->steps) return false;
  }
  return true;
}

OrderedJson EstimateToJson(const Estimate& estimate, bool interval) {
  OrderedJson json;
  json["value"] = estimate.value;
  json["low"] = interval ? OrderedJson(estimate.low) : OrderedJson(nullptr);
  json["high"] = interval ? OrderedJson(estimate.high) : OrderedJson(nullptr);
  return json;
}

OrderedJson NoEstimate() {
  return {{"value", nullptr}, {"low", nullptr}, {"high", nullptr}};
}

/// The mean of a number over runs; null where a run has none.
OrderedJson MeanOver(const std::vector<const ComparedRun*>& runs, const std::function<OrderedJson(const ComparedRun&)>& value) {
  double sum = 0.0;
  for (const ComparedRun* run : runs) {
    const OrderedJson of_run = value(*run);
    if (!of_run.is_number()) return nullptr;
    sum += of_run.get<double>();
  }
  return runs.empty() ? OrderedJson(nullptr) : OrderedJson(sum / static_cast<double>(runs.size()));
}

/// The mean over sites and runs of a total per site, as an integer where it is one.
OrderedJson MeanTotal(const std::vector<const ComparedRun*>& runs, std::vector<int64_t> ComparedRun::*totals) {
  int64_t sum = 0, count = 0;
  for (const ComparedRun* run : runs) {
    for (int64_t total : run->*totals) sum += total;
    count += static_cast<int64_t>((run->*totals).size());
  }
  if (count == 0) return nullptr;
  return sum % count == 0 ? OrderedJson(sum / count) : OrderedJson(static_cast<double>(sum) / static_cast<double>(count));
}

OrderedJson Field(const OrderedJson& json, const std::string& name) {
  return json.contains(name) ? json[name] : OrderedJson(nullptr);
}

void AddScores(const ComparisonSpec& spec, const Row& row, bool intervals, OrderedJson& json) {
  const VariantStatistics& statistics = row.statistics;
  json["mean"] = statistics.mean ? EstimateToJson(*statistics.mean, intervals) : NoEstimate();
  json["worst"] = nullptr;
  json["per_site"] = OrderedJson::array();
  const bool higher_is_better = !IsLoss(spec.metric);
  size_t worst = 0;
  for (size_t k = 0; k < statistics.per_site.size(); ++k) {
    OrderedJson site = {{"site", spec.sites[k]}};
    site.update(EstimateToJson(statistics.per_site[k], intervals));
    json["per_site"].push_back(std::move(site));
    const double value = statistics.per_site[k].value, least = statistics.per_site[worst].value;
    if (higher_is_better ? value < least : value > least) worst = k;
  }
  if (!statistics.per_site.empty()) json["worst"] = json["per_site"][worst];
}

OrderedJson CurveOf(const Row& row, const std::string& metric) {
  OrderedJson curve = OrderedJson::array();
  for (size_t round = 0; !row.runs.empty() && round < row.runs.front()->curve.size(); ++round) {
    const auto mean = [&](const std::string& name) {
      return MeanOver(row.runs, [&](const ComparedRun& run) {
        return round < run.curve.size() ? Field(run.curve[round], name) : OrderedJson(nullptr);
      });
    };
    curve.push_back({{"round", round + 1}, {"train_loss", mean("train_loss")}, {"value", mean(metric)}});
  }
  return curve;
}

OrderedJson SettingsObject(const Settings& settings) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [key, value] : settings) json[key] = value;
  return json;
}

OrderedJson RowToJson(const ComparisonSpec& spec, const Row& row, const Row* budget) {
  const Variant& variant = *row.variant;
  OrderedJson json = {{"name", variant.name}, {"method", variant.method}, {"preset", variant.preset}};
  json["overrides"] = SettingsObject(variant.overrides);
  json["searched"] = SettingsObject(variant.searched);
  json["best_of_search"] = nullptr;  // known when all rows are
  json["chosen"] = nullptr;
  if (const auto& choice = variant.choice)
    json["chosen"] = {
        {"row", choice->row}, {"settings", SettingsObject(choice->settings)}, {"validation_loss", choice->validation_loss}};
  json["seeds_done"] = row.runs.size();
  // A loss is one number per site and run: without several runs nothing is known of its spread.
  const bool intervals = !IsLoss(spec.metric) || row.runs.size() > 1;
  AddScores(spec, row, intervals, json);
  json["versus_reference"] = nullptr;
  if (const auto& difference = row.statistics.versus_reference) {
    const bool known = !IsLoss(spec.metric) || spec.seeds.size() > 1;
    const OrderedJson estimate = EstimateToJson(difference->estimate, known);
    json["versus_reference"] = {{"difference", estimate["value"]},
                                {"low", estimate["low"]},
                                {"high", estimate["high"]},
                                {"p", known ? OrderedJson(difference->p) : OrderedJson(nullptr)},
                                {"p_holm", nullptr}};
  }
  for (const char* metric : kMetrics) {
    if (spec.metric == "validation_loss" && spec.metric != metric) continue;  // a search tells nothing of the test data
    json["metrics"][metric] = MeanOver(row.runs, [&](const ComparedRun& run) { return Field(run.mean, metric); });
  }
  json["bytes_up"] = MeanTotal(row.runs, &ComparedRun::bytes_up);
  json["bytes_down"] = MeanTotal(row.runs, &ComparedRun::bytes_down);
  json["steps"] = MeanTotal(row.runs, &ComparedRun::steps);
  json["examples_per_step"] = variant.examples_per_step;
  const std::optional<bool> equal = EqualBudget(row, budget);
  json["equal_budget"] = equal ? OrderedJson(*equal) : OrderedJson(nullptr);
  json["trained_parameters"] = row.runs.empty() ? OrderedJson(nullptr) : OrderedJson(row.runs.front()->trained_parameters);
  json["seconds"] = MeanOver(row.runs, [](const ComparedRun& run) { return run.seconds; });
  json["train_seconds"] = MeanOver(row.runs, [](const ComparedRun& run) { return run.train_seconds; });
  json["curve"] = CurveOf(row, spec.metric);
  json["runs"] = OrderedJson::array();
  for (const ComparedRun* run : row.runs) json["runs"].push_back(run->path);
  json["failed"] = OrderedJson::array();
  for (const ComparedRun* run : row.failed)
    json["failed"].push_back({{"seed", run->seed}, {"run", run->path}, {"reason", run->failure}});
  return json;
}

void CorrectP(OrderedJson& rows) {
  std::vector<double> p_values;
  std::vector<OrderedJson*> tests;
  for (OrderedJson& row : rows) {
    OrderedJson& versus = row["versus_reference"];
    if (!versus.is_object() || !versus["p"].is_number()) continue;
    tests.push_back(&versus);
    p_values.push_back(versus["p"].get<double>());
  }
  const std::vector<double> corrected = HolmCorrection(p_values);
  for (size_t i = 0; i < tests.size(); ++i) (*tests[i])["p_holm"] = corrected[i];
}

/// Quoted where it has to be (RFC 4180).
std::string CsvText(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + "\"";
}

std::string CsvNumber(const OrderedJson& value) {
  return value.is_number() ? value.dump() : "";
}

}  // namespace

StatusOr<std::vector<ComparedRun>> ReadComparedRuns(const std::filesystem::path& directory, const ComparisonSpec& spec) {
  std::vector<ComparedRun> runs;
  const ComparedRun* first = nullptr;
  const std::vector<ComparisonRun> places = RunsOf(spec);
  runs.reserve(places.size());
  for (const ComparisonRun& place : places) {
    ASSIGN_OR_RETURN(ComparedRun run, ReadComparedRun(directory, spec, place));
    runs.push_back(std::move(run));
    if (!runs.back().failure.empty()) continue;
    if (first == nullptr) first = &runs.back();
    if (runs.back().examples != first->examples)
      return OutputError(absl::StrCat((directory / runs.back().path).string(), ": was scored on other test examples than ",
                                      (directory / first->path).string(),
                                      ", so the two cannot be compared; start the comparison in another directory"));
  }
  return runs;
}

OrderedJson ComparisonToJson(const ComparisonSpec& spec, const std::vector<ComparedRun>& runs) {
  std::vector<Row> rows = RowsOf(spec, runs);
  std::vector<VariantScores> scores;
  scores.reserve(rows.size());
  for (const Row& row : rows) scores.push_back(row.scores);
  const BootstrapOptions options{spec.resamples, kConfidence, spec.seeds.front(), ReferenceOf(spec), spec.sites};
  std::vector<VariantStatistics> statistics = CompareVariants(scores, options);
  for (size_t v = 0; v < rows.size(); ++v) rows[v].statistics = std::move(statistics[v]);
  const Row* budget = BudgetOf(spec, rows);
  OrderedJson json = {{"metric", spec.metric},     {"higher_is_better", !IsLoss(spec.metric)},
                      {"seeds", spec.seeds},       {"sites", spec.sites},
                      {"confidence", kConfidence}, {"bootstrap", spec.resamples},
                      {"config", spec.config},     {"reference", spec.reference}};
  json["budget_of"] = budget == nullptr ? OrderedJson(nullptr) : OrderedJson(budget->variant->name);
  json["chosen_by"] = nullptr;
  if (const auto& source = spec.chosen_by)
    json["chosen_by"] = {{"directory", source->directory}, {"spec_sha256", source->spec_sha256}};
  json["rows"] = OrderedJson::array();
  for (const Row& row : rows) json["rows"].push_back(RowToJson(spec, row, budget));
  MarkBestOfSearch(spec, json["rows"]);
  CorrectP(json["rows"]);
  return json;
}

std::string ComparisonToCsv(const ComparisonSpec& spec, const std::vector<ComparedRun>& runs) {
  std::string csv =
      "variant,method,preset,seed,site,deployed,test_examples,loss,rouge1,rouge2,rougeL,exact_match,validation_loss,train_steps,"
      "examples_per_step,bytes_up,bytes_down,trained_parameters,failed\n";
  const std::vector<ComparisonRun> places = RunsOf(spec);
  for (size_t i = 0; i < runs.size(); ++i) {
    const ComparedRun& run = runs[i];
    const Variant& variant = spec.variants[places[i].variant];
    for (size_t k = 0; k < spec.sites.size(); ++k) {
      absl::StrAppend(&csv, CsvText(variant.name), ",", variant.method, ",", variant.preset, ",", run.seed, ",", spec.sites[k],
                      ",");
      if (!run.failure.empty()) {
        absl::StrAppend(&csv, std::string(13, ','), CsvText(run.failure), "\n");
        continue;
      }
      const OrderedJson& site = run.sites[k];
      const OrderedJson deployed = Field(site, "deployed");
      const OrderedJson model = Field(site, deployed == "after_swap" ? "after_swap" : "before_swap");
      absl::StrAppend(&csv, deployed.is_string() ? deployed.get<std::string>() : std::string(), ",",
                      model.is_object() ? CsvNumber(Field(model, "examples")) : std::string());
      for (const char* metric : kMetrics) absl::StrAppend(&csv, ",", CsvNumber(Field(site, metric)));
      absl::StrAppend(&csv, ",", run.steps[k], ",", variant.examples_per_step, ",", run.bytes_up[k], ",", run.bytes_down[k], ",",
                      run.trained_parameters, ",\n");
    }
  }
  return csv;
}

}  // namespace fedalt
