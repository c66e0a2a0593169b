#include "app/presets.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file.h"
#include "base/strict_json.h"

namespace fedalt {
namespace {

// Only the family is wanted here; the model layer reads and checks the file properly when the model is loaded.
bool IsBloom(const std::filesystem::path& model) {
  constexpr size_t kMaxBytes = size_t{1} << 20;
  const StatusOr<std::string> text = ReadFile(model / "config.json", ErrorKind::kModel, kMaxBytes);
  if (!text.ok()) return false;
  const StatusOr<nlohmann::json> json = ParseJson(*text, {.kind = ErrorKind::kModel});
  if (!json.ok() || !json->is_object()) return false;
  const auto type = json->find("model_type");
  return type != json->end() && type->is_string() && type->get_ref<const std::string&>() == "bloom";
}

// algorithm, sections 1 and 2, as published.
void ApplyPaper(RunConfig& config) {
  FederationOptions& federation = config.federation;
  federation.adapter = AdapterConfig{};
  federation.adapter.target_modules = PublishedTargetModules(config.model);
  federation.method.init_shared_a = false;
  federation.method.mixer_start_round = 1;
  federation.method.rest_of_world = RestOfWorldOptions{};
  federation.method.average_weights = SiteWeights::kSamples;
  federation.train = TrainOptions{};
  federation.keep_optimizer = false;
}

// What both presets of our own share. A damped swap keeps a sum of others stable, which all of them learn against at once; with no
// mixer the others are heard also where the site believes that it knows (algorithm 3.7).
void ApplyOwn(FederationOptions& federation) {
  federation.adapter.target_modules = {"all-linear"};
  federation.adapter.mixer = MixerKind::kNone;
  federation.method.init_shared_a = true;
  federation.method.rest_of_world.damping = 0.3;
  federation.method.deploy = Deploy::kTrainedTogether;
}

// What the project's own measurements support (docs/results.md): a site reads the sum of those who are like it. Every site trains
// and sends A and B; the server sees each upload.
void ApplyRecommended(FederationOptions& federation) {
  ApplyOwn(federation);
  federation.method.rest_of_world.weights = SiteWeights::kKindred;
  federation.method.rest_of_world.aggregate = RestOfWorldAggregate::kSvd;
}

// The same where nobody may see a single upload (docs/demo.md): one shared, frozen A makes the sum of all others exact and halves
// the upload.
void ApplyRecommendedSum(int64_t sites, FederationOptions& federation) {
  ApplyOwn(federation);
  federation.adapter.r = 16;
  federation.adapter.lora_alpha = 64.0;  // the published lora_alpha / r
  federation.adapter.freeze_a = true;
  federation.adapter.rest_of_world_gain = static_cast<double>(std::max<int64_t>(sites - 1, 1));
}

}  // namespace

RunConfig DefaultRunConfig() {
  RunConfig config;
  EvalOptions& eval = config.federation.eval.options;
  eval.generate.beams = 4;
  eval.generate.max_new_tokens = 80;
  eval.loss_batch_size = eval.generate.batch_size;  // one key, eval.batch_size, sets both
  return config;
}

std::vector<std::string> PresetNames() {
  return {"none", "paper", "recommended", "recommended_sum"};
}

std::vector<std::string> PublishedTargetModules(const std::filesystem::path& model) {
  if (IsBloom(model)) return {"query_key_value"};
  return {"q_proj", "v_proj"};
}

void ApplyPreset(std::string_view name, int64_t sites, RunConfig& config) {
  if (name == "paper") {
    ApplyPaper(config);
  } else if (name == "recommended") {
    ApplyRecommended(config.federation);
  } else if (name == "recommended_sum") {
    ApplyRecommendedSum(sites, config.federation);
  } else {
    FEDALT_CHECK(name == "none", "unknown preset");
  }
  config.federation.method.preset = std::string(name);
}

}  // namespace fedalt
