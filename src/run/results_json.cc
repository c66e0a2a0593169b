#include "run/results_json.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

namespace fedalt {
namespace {

OrderedJson Number(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

OrderedJson ScoresToJson(const Scores& scores, bool generated) {
  OrderedJson json;
  json["examples"] = scores.examples;
  json["loss"] = Number(scores.loss);
  for (const auto& [name, value] : {std::pair{"rouge1", scores.rouge1},
                                    {"rouge2", scores.rouge2},
                                    {"rougeL", scores.rougeL},
                                    {"exact_match", scores.exact_match}})
    json[name] = generated ? Number(value) : OrderedJson(nullptr);
  if (scores.beyond_latin > 0) json["rouge_beyond_latin"] = scores.beyond_latin;
  return json;
}

OrderedJson SiteScoresToJson(const SiteScores& scores, bool generated) {
  OrderedJson json = ScoresToJson(scores.test.all, generated);
  json["validation_loss"] = scores.validation_loss ? Number(*scores.validation_loss) : OrderedJson(nullptr);
  if (!scores.test.by_tag.empty())
    for (const auto& [tag, by_tag] : scores.test.by_tag) json["by_tag"][tag] = ScoresToJson(by_tag, generated);
  return json;
}

constexpr const char* kScoreNames[] = {"loss", "rouge1", "rouge2", "rougeL", "exact_match", "validation_loss"};
constexpr const char* kOptionalScoreNames[] = {"rouge_beyond_latin", "by_tag"};

}  // namespace

const OrderedJson* FindField(const OrderedJson& json, const std::string& path) {
  const OrderedJson* place = &json;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    if (!place->is_object()) return nullptr;
    const auto found = place->find(path.substr(begin, end - begin));
    if (found == place->end()) return nullptr;
    place = &*found;
    begin = end + 1;
  }
  return place;
}

OrderedJson ReportToJson(const TrainReport& report) {
  return {{"steps", report.steps},         {"tokens", report.tokens},         {"response_tokens", report.response_tokens},
          {"mean_loss", report.mean_loss}, {"first_loss", report.first_loss}, {"last_loss", report.last_loss},
          {"seconds", report.seconds}};
}

TrainReport ReportFromJson(const OrderedJson& json) {
  TrainReport report;
  const auto read = [&json](const char* name, auto& field) {
    if (json.contains(name) && json[name].is_number()) json[name].get_to(field);
  };
  read("steps", report.steps);
  read("tokens", report.tokens);
  read("response_tokens", report.response_tokens);
  read("mean_loss", report.mean_loss);
  read("first_loss", report.first_loss);
  read("last_loss", report.last_loss);
  read("seconds", report.seconds);
  return report;
}

OrderedJson SiteToJson(const SiteRoundResult& result) {
  const bool trained = result.train.steps > 0;
  OrderedJson json;
  json["round"] = result.round;
  json["site"] = result.site;
  json["participated"] = result.participated;
  json["train_loss"] = trained ? Number(result.train.mean_loss) : OrderedJson(nullptr);
  json["train_steps"] = result.train.steps;
  json["train_tokens"] = result.train.tokens;
  json["tokens_per_s"] = trained && result.train.seconds > 0
                             ? Number(static_cast<double>(result.train.tokens) / result.train.seconds)
                             : OrderedJson(nullptr);
  json["bytes_up"] = result.bytes_up;
  json["bytes_down"] = result.bytes_down;
  json["deployed"] = result.deployed;
  if (result.reads_round > 0) json["reads_round"] = result.reads_round;
  if (!result.refused.empty()) json["refused"] = result.refused;
  const auto& deployed = result.deployed == "after_swap" ? result.after_swap : result.before_swap;
  // Predictions are written beside the metrics; without them nothing was generated and only losses count.
  const bool generated = deployed && !deployed->test.predictions.empty();
  const OrderedJson scores = deployed ? SiteScoresToJson(*deployed, generated) : OrderedJson::object();
  for (const char* name : kScoreNames) json[name] = scores.contains(name) ? scores[name] : OrderedJson(nullptr);
  for (const char* name : kOptionalScoreNames)
    if (scores.contains(name)) json[name] = scores[name];
  json["before_swap"] = result.before_swap ? SiteScoresToJson(*result.before_swap, generated) : OrderedJson(nullptr);
  json["after_swap"] = result.after_swap ? SiteScoresToJson(*result.after_swap, generated) : OrderedJson(nullptr);
  json["ablations"] = OrderedJson::object();
  for (const auto& [name, ablation] : result.ablations) json["ablations"][name] = SiteScoresToJson(ablation, generated);
  json["mean_individual_weight"] = deployed ? Number(result.mean_individual_weight) : OrderedJson(nullptr);
  for (const auto& [name, values] : {std::pair{"mixer", &result.mixer}, {"rest_of_world_influence", &result.influence}}) {
    if (values->empty()) continue;
    json[name] = OrderedJson::object();
    for (const auto& [key, value] : *values) json[name][key] = Number(value);
  }
  json["gain_from_others"] = nullptr;
  if (const auto off = result.ablations.find("rest_of_world_off"); off != result.ablations.end() && deployed) {
    const Scores &with = deployed->test.all, &without = off->second.test.all;
    json["gain_from_others"] = {{"loss", Number(without.loss - with.loss)},
                                {"rouge1", generated ? Number(with.rouge1 - without.rouge1) : OrderedJson(nullptr)},
                                {"exact_match", generated ? Number(with.exact_match - without.exact_match) : OrderedJson(nullptr)}};
  }
  return json;
}

namespace {

OrderedJson MeanOfValues(const std::vector<OrderedJson>& values) {
  const OrderedJson& first = values.front();
  if (first.is_object()) {
    OrderedJson mean = OrderedJson::object();
    for (const auto& [key, unused] : first.items()) {
      std::vector<OrderedJson> column;
      for (const OrderedJson& value : values)
        if (value.is_object() && value.contains(key)) column.push_back(value[key]);
      if (column.size() != values.size()) continue;
      if (OrderedJson cell = MeanOfValues(column); !cell.is_discarded()) mean[key] = cell;
    }
    return mean;
  }
  double sum = 0.0;
  for (const OrderedJson& value : values) {
    if (!value.is_number()) return value.is_null() ? OrderedJson(nullptr) : OrderedJson(nlohmann::detail::value_t::discarded);
    sum += value.get<double>();
  }
  return sum / static_cast<double>(values.size());
}

}  // namespace

OrderedJson MeanOf(const std::vector<OrderedJson>& sites) {
  OrderedJson mean;
  if (sites.empty()) return mean;
  mean["round"] = sites.front()["round"];
  mean["site"] = "mean";
  std::vector<OrderedJson> by_name = sites;  // so that the sums do not depend on how the sites are listed
  std::stable_sort(by_name.begin(), by_name.end(),
                   [](const OrderedJson& a, const OrderedJson& b) { return a["site"] < b["site"]; });
  std::vector<OrderedJson> trained;
  for (const OrderedJson& site : by_name)
    if (site.contains("train_loss") && !site["train_loss"].is_null()) trained.push_back(site);
  const OrderedJson values = MeanOfValues(by_name);
  for (const auto& [key, value] : values.items())
    if (key != "round") mean[key] = value;
  if (!trained.empty()) {
    const OrderedJson of_trained = MeanOfValues(trained);
    for (const char* key : {"train_loss", "tokens_per_s"})
      if (of_trained.contains(key)) mean[key] = of_trained[key];
  }
  return mean;
}

OrderedJson WorstOf(const std::vector<OrderedJson>& sites) {
  const OrderedJson* worst = nullptr;
  // Least exact match, then least ROUGE-1, then, which alone counts where nothing was generated, greatest loss.
  const auto badness = [](const OrderedJson& site) {
    const auto number = [&site](const char* name, double otherwise) {
      return site[name].is_number() ? site[name].get<double>() : otherwise;
    };
    const double lost = std::numeric_limits<double>::infinity();  // a loss that is not finite stands as null
    return std::array{-number("exact_match", 0.0), -number("rouge1", 0.0), number("loss", lost)};
  };
  for (const OrderedJson& site : sites)
    if (worst == nullptr || badness(site) > badness(*worst) ||
        (badness(site) == badness(*worst) && site["site"] < (*worst)["site"]))
      worst = &site;
  OrderedJson json;
  if (worst != nullptr)
    for (const char* name : {"site", "exact_match", "rouge1", "loss"}) json[name] = (*worst)[name];
  return json;
}

OrderedJson SummaryToJson(const RunSummary& summary, const std::vector<OrderedJson>& sites) {
  OrderedJson json;
  json["method"] = summary.method;
  json["preset"] = summary.preset;
  json["rounds"] = summary.rounds;
  json["best_round"] = summary.best_round > 0 ? OrderedJson(summary.best_round) : OrderedJson(nullptr);
  json["seconds"] = Number(summary.seconds);
  json["train_seconds"] = Number(summary.train_seconds);
  json["sites"] = sites;
  json["mean"] = MeanOf(sites);
  json["worst"] = WorstOf(sites);
  return json;
}

}  // namespace fedalt
