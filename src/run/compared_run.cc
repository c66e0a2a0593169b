#include "run/compared_run.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <system_error>

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/strict_json.h"
#include "model/safetensors.h"
#include "run/run_directory.h"
#include "train/rouge.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

Status Damaged(const fs::path& path, std::string_view what) {
  return OutputError(absl::StrCat(path.string(), ": ", std::string(what),
                                  ", so this run cannot be compared; move the run's directory away and it is made again"));
}

StatusOr<OrderedJson> ReadObject(const fs::path& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kOutput));
  OrderedJson json = OrderedJson::parse(text, nullptr, false);
  if (!json.is_object()) return Damaged(path, "is not a JSON object");
  return json;
}

int64_t IntegerOf(const OrderedJson& json, const char* name) {
  return json.contains(name) && json[name].is_number_integer() ? json[name].get<int64_t>() : 0;
}

double NumberOf(const OrderedJson& json, const char* name) {
  return json.contains(name) && json[name].is_number() ? json[name].get<double>() : 0.0;
}

template <typename Json>
std::string TextOf(const Json& json, const char* name) {
  return json.contains(name) && json[name].is_string() ? json[name].template get<std::string>() : std::string();
}

/// Fills in what metrics.jsonl tells: totals over the rounds, the last round, the mean of each round.
Status ReadMetrics(const fs::path& path, const std::vector<std::string>& sites, ComparedRun& run) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kOutput));
  for (std::vector<int64_t>* totals : {&run.steps, &run.bytes_up, &run.bytes_down}) totals->assign(sites.size(), 0);
  std::vector<OrderedJson> round;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    OrderedJson json = OrderedJson::parse(line.begin(), line.end(), nullptr, false);
    if (!json.is_object() || !json.contains("site") || !json["site"].is_string()) return Damaged(path, "has a damaged line");
    const size_t k = round.size();
    const bool is_mean = k == sites.size();
    if (json["site"] != (is_mean ? "mean" : sites[k])) return Damaged(path, "does not list the comparison's sites");
    if (is_mean) {
      run.sites = std::move(round);
      round.clear();
      run.mean = json;
      run.curve.push_back(std::move(json));
      continue;
    }
    run.steps[k] += IntegerOf(json, "train_steps");
    run.bytes_up[k] += IntegerOf(json, "bytes_up");
    run.bytes_down[k] += IntegerOf(json, "bytes_down");
    round.push_back(std::move(json));
  }
  if (run.sites.empty() || !round.empty()) return Damaged(path, "does not end with a whole round");
  return absl::OkStatus();
}

/// Scores of one site's answers, and the hash of the examples that they answer.
Status ReadPredictions(const fs::path& path, const std::string& metric, std::vector<double>& scores, std::string& examples) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kOutput));
  Sha256Stream hash;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    auto json = ParseJson({line.data(), line.size()}, {.kind = ErrorKind::kOutput});
    if (!json.ok() || !json->is_object()) return Damaged(path, "has a damaged line");
    const std::string instruction = TextOf(*json, "instruction"), reference = TextOf(*json, "reference");
    scores.push_back(ScoreOf(metric, reference, TextOf(*json, "prediction")));
    hash.Add(absl::StrCat(instruction.size(), ":", instruction, reference.size(), ":", reference));
  }
  examples = HexOf(hash.Finish());
  return absl::OkStatus();
}

Status ReadScores(const RunDirectory& directory, const std::string& metric, ComparedRun& run) {
  constexpr double kTolerance = 1e-9;  // the run added up the same numbers
  for (const OrderedJson& site : run.sites) {
    const std::string name = site["site"].get<std::string>();
    if (site.contains(metric) && site[metric].is_null() && site.contains("before_swap") && site["before_swap"].is_object()) {
      run.failure = absl::StrCat("the ", metric, " of site ", name, " is not a finite number");  // so the JSON has null
      return absl::OkStatus();
    }
    if (!site.contains(metric) || !site[metric].is_number())
      return Damaged(directory.metrics(), absl::StrCat("has no ", metric, " of ", name));
    const double recorded = site[metric].get<double>();
    run.scores.emplace_back();
    run.examples.emplace_back();
    if (IsLoss(metric)) {
      run.scores.back().push_back(recorded);
      continue;
    }
    const fs::path path = directory.predictions(IntegerOf(site, "round"), name);
    std::vector<double>& scores = run.scores.back();
    RETURN_IF_ERROR(ReadPredictions(path, metric, scores, run.examples.back()));
    if (scores.empty()) return Damaged(path, "is empty");
    const double mean = std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size());
    if (std::abs(mean - recorded) > kTolerance)
      return Damaged(path, absl::StrFormat("has a mean %s of %.6f where the run recorded %.6f", metric, mean, recorded));
  }
  return absl::OkStatus();
}

StatusOr<int64_t> ParametersIn(const fs::path& file, bool only_b) {
  ASSIGN_OR_RETURN(const auto tensors, TensorFiles::OpenFile(file));
  int64_t count = 0;
  for (const std::string& name : tensors->Names()) {
    if (only_b && name.find("lora_B") == std::string::npos) continue;
    ASSIGN_OR_RETURN(const TensorEntry entry, tensors->Describe(name));
    count += std::accumulate(entry.shape.begin(), entry.shape.end(), int64_t{1}, std::multiplies<>());
  }
  return count;
}

/// From the shapes of the first checkpoint of the last round: all sites' are equal.
StatusOr<int64_t> TrainedParameters(const fs::path& round, const Variant& variant) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(round, error)) {
    const fs::path adapter = entry.path() / "individual" / "adapter_model.safetensors";
    if (!fs::exists(adapter, error)) continue;
    ASSIGN_OR_RETURN(int64_t count, ParametersIn(adapter, variant.freeze_a));
    if (const fs::path mixer = entry.path() / "mixer.safetensors"; variant.trains_mixer && fs::exists(mixer, error)) {
      ASSIGN_OR_RETURN(const int64_t of_mixer, ParametersIn(mixer, false));
      count += of_mixer;
    }
    return count;
  }
  return Damaged(round, "has no adapter of a site");
}

}  // namespace

double ScoreOf(const std::string& metric, const std::string& reference, const std::string& prediction) {
  if (metric == "exact_match") return absl::StripAsciiWhitespace(reference) == absl::StripAsciiWhitespace(prediction) ? 1.0 : 0.0;
  const RougeScores scores = Rouge(reference, prediction);
  if (metric == "rouge1") return scores.rouge1;
  if (metric == "rouge2") return scores.rouge2;
  FEDALT_CHECK(metric == "rougeL", "a metric of single answers");
  return scores.rougeL;
}

StatusOr<ComparedRun> ReadComparedRun(const fs::path& root, const ComparisonSpec& spec, const ComparisonRun& which) {
  ComparedRun run;
  run.seed = which.seed;
  run.path = RunPath(spec, which).string();
  if (StateOf(root, spec, which) == RunState::kFailed) {
    ASSIGN_OR_RETURN(const OrderedJson json, ReadObject(root / FailurePath(spec, which)));
    run.failure = TextOf(json, "reason");
    if (run.failure.empty()) return Damaged(root / FailurePath(spec, which), "names no reason");
    return run;
  }
  ASSIGN_OR_RETURN(const RunDirectory directory, RunDirectory::Open(root / run.path));
  ASSIGN_OR_RETURN(const OrderedJson summary, ReadObject(directory.summary()));
  run.seconds = NumberOf(summary, "seconds");
  run.train_seconds = NumberOf(summary, "train_seconds");
  RETURN_IF_ERROR(ReadMetrics(directory.metrics(), spec.sites, run));
  RETURN_IF_ERROR(ReadScores(directory, spec.metric, run));
  if (!run.failure.empty()) return run;
  const bool trained = std::any_of(run.steps.begin(), run.steps.end(), [](int64_t steps) { return steps > 0; });
  if (!trained) return run;
  ASSIGN_OR_RETURN(run.trained_parameters,
                   TrainedParameters(directory.round(IntegerOf(run.mean, "round")), spec.variants[which.variant]));
  return run;
}

}  // namespace fedalt
