#include "report/run_data.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.h"
#include "report/metrics_history.h"
#include "report/others_help.h"
#include "report/run_files.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

// A report of 200 sites and 100 rounds should open at once: so many numbers per curve field, and of the mixer over rounds.
constexpr size_t kCurveCells = 5000;
constexpr size_t kFewestRounds = 20;
constexpr size_t kMixerCells = 100'000;
constexpr const char* kScores[] = {"examples", "loss", "rouge1", "rouge2", "rougeL", "exact_match"};

ordered_json Number(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}

/// `count` of `from`, evenly spread, the first and the last among them.
std::vector<size_t> Spread(const std::vector<size_t>& from, size_t count) {
  if (from.size() <= count) return from;
  if (count < 2) return {from.back()};
  std::vector<size_t> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(from[i * (from.size() - 1) / (count - 1)]);
  return chosen;
}

/// Indices of the rounds that curves show: all, or at most `limit`, evaluated ones first.
std::vector<size_t> ChooseRounds(const MetricsHistory& history, size_t limit) {
  std::vector<size_t> evaluated, others;
  for (size_t i = 0; i < history.rounds.size(); ++i) (history.rounds[i].evaluated ? evaluated : others).push_back(i);
  std::vector<size_t> chosen = Spread(evaluated, limit);
  const size_t left = limit - std::min(limit, chosen.size());
  if (left > 0) {
    const std::vector<size_t> more = Spread(others, left);
    chosen.insert(chosen.end(), more.begin(), more.end());
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

ordered_json RoundNumbers(const MetricsHistory& history, const std::vector<size_t>& chosen) {
  ordered_json numbers = ordered_json::array();
  for (const size_t i : chosen) numbers.push_back(history.rounds[i].round);
  return numbers;
}

/// {"rounds", "of", "sites": [{field: [...]}, ...], "mean": {field: [...]}}; a field that was never measured is absent.
ordered_json Curves(const MetricsHistory& history) {
  const std::vector<size_t> chosen = ChooseRounds(history, std::max(kFewestRounds, kCurveCells / history.sites.size()));
  const auto curves_of = [&](const auto& line_of) {
    ordered_json curves = ordered_json::object();
    for (size_t field = 0; field < kCurveFields.size(); ++field) {
      ordered_json values = ordered_json::array();
      bool any = false;
      for (const size_t i : chosen) {
        const double value = line_of(history.rounds[i]).curves[field];
        any = any || std::isfinite(value);
        values.push_back(Number(value));
      }
      if (any) curves[std::string(kCurveFields[field])] = std::move(values);
    }
    return curves;
  };
  ordered_json sites = ordered_json::array();
  for (size_t k = 0; k < history.sites.size(); ++k)
    sites.push_back(curves_of([k](const MetricsRound& round) -> const MetricsLine& { return round.sites[k]; }));
  return {{"rounds", RoundNumbers(history, chosen)},
          {"of", history.rounds.size()},
          {"sites", std::move(sites)},
          {"mean", curves_of([](const MetricsRound& round) -> const MetricsLine& { return round.mean; })}};
}

/// Sums over sites: {"rounds", "bytes_up", "bytes_down", "train_seconds", "total": {...}}; rounds are spread as in curves.
ordered_json Traffic(const MetricsHistory& history) {
  ordered_json traffic = {{"rounds", ordered_json::array()}}, total = ordered_json::object();
  const std::vector<size_t> chosen = ChooseRounds(history, kCurveCells / 10);
  traffic["rounds"] = RoundNumbers(history, chosen);
  for (const auto& [name, member] :
       {std::pair{"bytes_up", &MetricsLine::bytes_up}, std::pair{"bytes_down", &MetricsLine::bytes_down},
        std::pair{"train_seconds", &MetricsLine::train_seconds}}) {
    std::vector<double> sums;
    double all = 0.0;
    for (const MetricsRound& round : history.rounds) {
      double sum = 0.0;
      for (const MetricsLine& line : round.sites) sum += line.*member;
      sums.push_back(sum);
      all += sum;
    }
    for (const size_t i : chosen) traffic[name].push_back(sums[i]);
    total[name] = all;
  }
  traffic["total"] = std::move(total);
  return traffic;
}

/// What became of the contributions of site k; null where no server says. Rounds one after the other in which the same older
/// contribution counted stand together.
ordered_json ContributionsOf(const MetricsHistory& history, size_t k) {
  int64_t rounds = 0, counted = 0;
  ordered_json missed = ordered_json::array();
  for (const MetricsRound& round : history.rounds) {
    const MetricsLine& line = round.sites[k];
    if (!line.counted_round || !line.participated) continue;
    ++rounds;
    if (*line.counted_round == round.round) {
      ++counted;
    } else if (!missed.empty() && missed.back()["last"] == round.round - 1 &&
               missed.back()["counted_round"] == *line.counted_round) {
      missed.back()["last"] = round.round;
    } else {
      missed.push_back({{"first", round.round}, {"last", round.round}, {"counted_round", *line.counted_round}});
    }
  }
  if (rounds == 0) return nullptr;
  return {{"site", history.sites[k]}, {"rounds", rounds}, {"counted", counted}, {"missed", std::move(missed)}};
}

ordered_json Contributions(const MetricsHistory& history) {
  ordered_json sites = ordered_json::array();
  for (size_t k = 0; k < history.sites.size(); ++k)
    if (ordered_json of = ContributionsOf(history, k); !of.is_null()) sites.push_back(std::move(of));
  return sites;
}

ordered_json WeightsOf(const MetricsLine& line) {
  if (line.mixer.empty()) return nullptr;
  ordered_json weights = ordered_json::array();
  for (const double weight : line.mixer) weights.push_back(Number(weight));
  return weights;
}

/// {"layers", "rounds", "sites": per site a list per round of a list per layer (or null)}; null for a method without a mixer.
ordered_json Mixer(const MetricsHistory& history) {
  if (history.layers.empty()) return nullptr;
  std::vector<size_t> indices;
  for (size_t i = 0; i < history.rounds.size(); ++i) {
    const auto& sites = history.rounds[i].sites;
    if (std::any_of(sites.begin(), sites.end(), [](const MetricsLine& line) { return !line.mixer.empty(); })) indices.push_back(i);
  }
  const size_t limit = std::max<size_t>(1, kMixerCells / (history.layers.size() * history.sites.size()));
  const std::vector<size_t> chosen = Spread(indices, limit);
  ordered_json sites = ordered_json::array();
  for (size_t k = 0; k < history.sites.size(); ++k) {
    ordered_json rounds = ordered_json::array();
    for (const size_t i : chosen) rounds.push_back(WeightsOf(history.rounds[i].sites[k]));
    sites.push_back(std::move(rounds));
  }
  return {
      {"layers", history.layers}, {"rounds", RoundNumbers(history, chosen)}, {"of", indices.size()}, {"sites", std::move(sites)}};
}

/// {"round", "contributors", "shares": per site a number per contributor, or null}; null where no site says.
ordered_json Influence(const MetricsHistory& history) {
  constexpr const char* kField = "rest_of_world_influence";
  std::vector<std::string> contributors = history.sites;
  std::set<std::string> known(contributors.begin(), contributors.end());
  bool any = false;
  for (const ordered_json& line : history.final_lines) {
    if (!line.is_object() || !line.contains(kField) || !line[kField].is_object()) continue;
    any = true;
    for (const auto& [name, share] : line[kField].items())
      if (known.insert(name).second) contributors.push_back(name);
  }
  if (!any) return nullptr;
  ordered_json shares = ordered_json::array();
  for (const ordered_json& line : history.final_lines) {
    ordered_json row = ordered_json::array();
    for (const std::string& name : contributors) {
      const bool there = line.is_object() && line.contains(kField) && line[kField].is_object() && line[kField].contains(name);
      row.push_back(there && line[kField][name].is_number() ? line[kField][name] : ordered_json(nullptr));
    }
    shares.push_back(std::move(row));
  }
  return {{"round", history.evaluated_round}, {"contributors", contributors}, {"shares", std::move(shares)}};
}

ordered_json ScoresOf(const ordered_json& scores) {
  ordered_json kept = ordered_json::object();
  for (const char* name : kScores)
    if (scores.is_object() && scores.contains(name)) kept[name] = scores[name].is_number() ? scores[name] : ordered_json(nullptr);
  return kept;
}

/// What the table of sites shows of one line of metrics.jsonl.
ordered_json FinalOf(const ordered_json& line) {
  if (!line.is_object()) return nullptr;
  ordered_json kept = ScoresOf(line);
  for (const char* name : {"participated", "deployed", "train_loss", "tokens_per_s", "validation_loss", "mean_individual_weight",
                           "rouge_beyond_latin"})
    if (line.contains(name) && line[name].is_primitive()) kept[name] = line[name];
  for (const char* group : {"ablations", "by_tag"}) {
    if (!line.contains(group) || !line[group].is_object()) continue;
    for (const auto& [name, scores] : line[group].items()) kept[group][name] = ScoresOf(scores);
  }
  if (line.contains("gain_from_others")) kept["gain_from_others"] = ScoresOf(line["gain_from_others"]);
  kept["helps"] = FederationHelps(line);
  return kept;
}

/// When the run began, as the first line of its log says it: "2026-11-25T16:00:00.123+0000 ..."; null where there is none.
ordered_json StartOf(const fs::path& root) {
  std::ifstream file(root / "log.txt");
  std::string line;
  if (!std::getline(file, line)) return nullptr;
  constexpr std::string_view kDay = "0000-00-00T00:00:00";
  if (line.size() < kDay.size() || line[4] != '-' || line[10] != 'T') return nullptr;
  return RepairUtf8(line.substr(0, 10) + " " + line.substr(11, 5));
}

std::vector<std::string> ShownMetrics(const std::string& config) {
  std::vector<std::string> metrics;
  for (std::string& metric : ConfigList(config, "eval.metrics"))
    if (std::find(std::begin(kScores) + 1, std::end(kScores), metric) != std::end(kScores)) metrics.push_back(std::move(metric));
  if (metrics.empty()) metrics = {"rouge1", "exact_match"};
  return metrics;
}

/// The name of the directory; of a run of a comparison (COMPARISON/runs/VARIANT/seed-S) the variant and the seed.
std::string TitleOf(const fs::path& directory) {
  constexpr std::string_view kSeed = "seed-";
  const std::string name = directory.filename().string();
  const fs::path variant = directory.parent_path();
  const auto spec = ReadJsonObject(variant.parent_path().parent_path() / "comparison-spec.json");
  if (!name.starts_with(kSeed) || !spec.ok() || !*spec || !(*spec)->contains("variants")) return name;
  for (const json& of : (**spec)["variants"])
    if (of.is_object() && of.value("folder", json()) == variant.filename().string() && of.value("name", json()).is_string())
      return absl::StrCat(of["name"].get<std::string>(), ", seed ", name.substr(kSeed.size()));
  return name;
}

/// Method, preset, seed and the like; from summary.json where the run is finished.
Status AddHead(const fs::path& root, const std::string& config, const MetricsHistory& history, ordered_json& data) {
  ASSIGN_OR_RETURN(const std::optional<json> summary, ReadJsonObject(root / "summary.json"));
  std::error_code error;
  data["directory"] = RepairUtf8(TitleOf(fs::weakly_canonical(root, error)));
  data["date"] = StartOf(root);
  data["finished"] = summary.has_value();
  data["method"] = ConfigValue(config, "method");
  data["preset"] = ConfigValue(config, "preset");
  data["model"] = RepairUtf8(fs::path(ConfigValue(config, "model")).filename().string());
  data["seed"] = ConfigValue(config, "seed");
  data["rounds"] = history.rounds.back().round;
  data["rounds_planned"] = ConfigValue(config, "train.rounds");
  for (const char* name : {"best_round", "seconds", "train_seconds"})
    data[name] =
        summary && summary->contains(name) && (*summary)[name].is_number() ? ordered_json((*summary)[name]) : ordered_json();
  const json worst = summary ? summary->value("worst", json::object()) : json::object();
  data["worst"] =
      worst.is_object() && worst.contains("site") && worst["site"].is_string() ? ordered_json(worst["site"]) : ordered_json();
  data["metrics"] = ShownMetrics(config);
  return absl::OkStatus();
}

}  // namespace

StatusOr<ordered_json> CollectRun(const fs::path& root) {
  ASSIGN_OR_RETURN(const std::string config_bytes, ReadFile(root / "config.yaml", ErrorKind::kOutput));
  const std::string config = RepairUtf8(config_bytes);
  ASSIGN_OR_RETURN(const MetricsHistory history, ReadMetrics(root / "metrics.jsonl"));
  ordered_json data = {{"kind", "run"}};
  RETURN_IF_ERROR(AddHead(root, config, history, data));
  data["sites"] = history.sites;
  data["evaluated_round"] = history.evaluated_round;
  data["final"] = ordered_json::array();
  for (const ordered_json& line : history.final_lines) data["final"].push_back(FinalOf(line));
  data["mean"] = FinalOf(history.final_mean);
  data["curves"] = Curves(history);
  data["traffic"] = Traffic(history);
  if (ordered_json contributions = Contributions(history); !contributions.empty()) data["contributions"] = std::move(contributions);
  data["mixer"] = Mixer(history);
  data["influence"] = Influence(history);
  ASSIGN_OR_RETURN(data["cross_site"], ReadCrossSite(root));
  ASSIGN_OR_RETURN(data["predictions"], ReadPredictions(root, history.evaluated_round, history.sites));
  data["config"] = config;
  ASSIGN_OR_RETURN(const std::optional<json> environment, ReadJsonObject(root / "environment.json"));
  data["environment"] = environment ? ordered_json(*environment) : ordered_json(nullptr);
  return data;
}

}  // namespace fedalt
