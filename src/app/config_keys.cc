#include "app/config_keys.h"

#include "app/config_fields.h"
#include "app/presets.h"
#include "fed/method_names.h"

namespace fedalt {
namespace {

constexpr double kPositiveMax = 1e6;
constexpr Range kPositive{0.0, kPositiveMax, /*low_open=*/true, /*high_open=*/false};
constexpr Range kFromZero{0.0, kPositiveMax};
constexpr Range kShare{0.0, 1.0, /*low_open=*/false, /*high_open=*/true};

MethodOptions& Method(RunConfig& config) {
  return config.federation.method;
}
AdapterConfig& Adapter(RunConfig& config) {
  return config.federation.adapter;
}
TrainOptions& Train(RunConfig& config) {
  return config.federation.train;
}
EvalSchedule& Eval(RunConfig& config) {
  return config.federation.eval;
}

void AddMethodKeys(std::vector<ConfigKey>& keys) {
  keys.push_back(TemplateKey());
  keys.push_back(FieldsKey());
  keys.push_back(Number("validation", kShare, [](RunConfig& c) -> double& { return c.validation; }));
  keys.push_back(TextChoice("preset", PresetNames(), [](RunConfig& c) -> std::string& { return Method(c).preset; }));
  keys.push_back(TextChoice("method", MethodNames(), [](RunConfig& c) -> std::string& { return Method(c).name; }));
  keys.push_back(Integer("adapter.r", 1, kMaxRank, [](RunConfig& c) -> int64_t& { return Adapter(c).r; }));
  keys.push_back(Number("adapter.lora_alpha", kPositive, [](RunConfig& c) -> double& { return Adapter(c).lora_alpha; }));
  keys.push_back(Number("adapter.lora_dropout", kShare, [](RunConfig& c) -> double& { return Adapter(c).lora_dropout; }));
  keys.push_back(TargetModulesKey());
  keys.push_back(InitFromKey());
  keys.push_back(MixerKey());
  keys.push_back(Choice<bool>("mixer_train", {{"all", false}, {"held_out", true}},
                              [](RunConfig& c) -> bool& { return Method(c).mixer_held_out; }));
  keys.push_back(Number("mixer_held_out", {0.0, 1.0, /*low_open=*/true, /*high_open=*/true},
                        [](RunConfig& c) -> double& { return Method(c).held_out_share; }));
  keys.push_back(Integer("mixer_start_round", 1, kMaxRounds, [](RunConfig& c) -> int64_t& { return Method(c).mixer_start_round; }));
  keys.push_back(
      Choice<bool>("init", {{"shared", true}, {"per_site", false}}, [](RunConfig& c) -> bool& { return Method(c).init_shared_a; }));
  keys.push_back(Boolean("freeze_a", [](RunConfig& c) -> bool& { return Adapter(c).freeze_a; }));
  keys.push_back(
      Integer("rest_of_world.every", 1, kMaxRounds, [](RunConfig& c) -> int64_t& { return Method(c).rest_of_world.every; }));
  keys.push_back(Choice<SiteWeights>("rest_of_world.weights",
                                     {{"uniform", SiteWeights::kUniform},
                                      {"samples", SiteWeights::kSamples},
                                      {"similarity", SiteWeights::kSimilarity},
                                      {"kindred", SiteWeights::kKindred}},
                                     [](RunConfig& c) -> SiteWeights& { return Method(c).rest_of_world.weights; }));
  keys.push_back(Number("rest_of_world.gain", kFromZero, [](RunConfig& c) -> double& { return Adapter(c).rest_of_world_gain; }));
  keys.push_back(Number("rest_of_world.damping", {0.0, 1.0, /*low_open=*/true, /*high_open=*/false},
                        [](RunConfig& c) -> double& { return Method(c).rest_of_world.damping; }));
  keys.push_back(Number("rest_of_world.staleness", {0.0, 1.0, /*low_open=*/true, /*high_open=*/false},
                        [](RunConfig& c) -> double& { return Method(c).rest_of_world.staleness; }));
  keys.push_back(GuardKey());
  using Aggregate = RestOfWorldAggregate;
  keys.push_back(Choice<Aggregate>(
      "rest_of_world.aggregate",
      {{"factors", Aggregate::kFactors}, {"svd", Aggregate::kSvd}, {"exact", Aggregate::kExact}, {"off", Aggregate::kOff}},
      [](RunConfig& c) -> Aggregate& { return Method(c).rest_of_world.aggregate; }));
  keys.push_back(Choice<bool>("rest_of_world.rescale", {{"off", false}, {"on", true}},
                              [](RunConfig& c) -> bool& { return Method(c).rest_of_world.rescale; }));
  keys.push_back(Boolean("rest_of_world.include_self", [](RunConfig& c) -> bool& { return Method(c).rest_of_world.include_self; }));
  keys.push_back(Choice<Deploy>(
      "deploy",
      {{"trained_together", Deploy::kTrainedTogether}, {"swapped", Deploy::kSwapped}, {"validation", Deploy::kValidation}},
      [](RunConfig& c) -> Deploy& { return Method(c).deploy; }));
  keys.push_back(ParticipationKey());
  keys.push_back(Choice<UploadFormat>(
      "upload", {{"float32", UploadFormat::kFloat32}, {"bfloat16", UploadFormat::kBFloat16}, {"int8", UploadFormat::kInt8}},
      [](RunConfig& c) -> UploadFormat& { return c.federation.upload; }));
  keys.push_back(MaxNormKey());
}

void AddBaselineKeys(std::vector<ConfigKey>& keys) {
  constexpr Range kMomentum{0.0, 1.0, /*low_open=*/false, /*high_open=*/true};
  keys.push_back(Choice<SiteWeights>("average.weights", {{"uniform", SiteWeights::kUniform}, {"samples", SiteWeights::kSamples}},
                                     [](RunConfig& c) -> SiteWeights& { return Method(c).average_weights; }));
  keys.push_back(Number("average.server_lr", kPositive, [](RunConfig& c) -> double& { return Method(c).server.lr; }));
  keys.push_back(Number("average.server_momentum", kMomentum, [](RunConfig& c) -> double& { return Method(c).server.momentum; }));
  keys.push_back(Choice<bool>("feddpa.inference", {{"fixed", false}, {"instance", true}},
                              [](RunConfig& c) -> bool& { return Method(c).feddpa.instance_wise; }));
  keys.push_back(Number("feddpa.weight", {0.0, 1.0}, [](RunConfig& c) -> double& { return Method(c).feddpa.weight; }));
  keys.push_back(Integer("feddpa.samples", 1, 4096, [](RunConfig& c) -> int64_t& { return Method(c).feddpa.samples; }));
  keys.push_back(Integer("fdlora.sync_every", 1, kMaxRounds, [](RunConfig& c) -> int64_t& { return Method(c).fdlora.sync_every; }));
  keys.push_back(Number("fdlora.outer_lr", kPositive, [](RunConfig& c) -> double& { return Method(c).fdlora.outer_lr; }));
  keys.push_back(
      Number("fdlora.outer_momentum", kMomentum, [](RunConfig& c) -> double& { return Method(c).fdlora.outer_momentum; }));
  keys.push_back(Integer("fdlora.shots", 1, 4096, [](RunConfig& c) -> int64_t& { return Method(c).fdlora.shots; }));
  keys.push_back(Number("fdlora.penalty", kFromZero, [](RunConfig& c) -> double& { return Method(c).fdlora.penalty; }));
}

void AddTrainKeys(std::vector<ConfigKey>& keys) {
  keys.push_back(Integer("train.rounds", 1, kMaxRounds, [](RunConfig& c) -> int64_t& { return c.federation.rounds; }));
  keys.push_back(Integer("train.local_epochs", 1, 10'000, [](RunConfig& c) -> int64_t& { return Train(c).local_epochs; }));
  keys.push_back(StepsKey());
  keys.push_back(Integer("train.batch_size", 1, 4096, [](RunConfig& c) -> int64_t& { return Train(c).batch_size; }));
  keys.push_back(Integer("train.accumulate", 1, 4096, [](RunConfig& c) -> int64_t& { return Train(c).accumulate; }));
  keys.push_back(
      Number("train.lr", {0.0, 10.0, /*low_open=*/true, /*high_open=*/false}, [](RunConfig& c) -> double& { return Train(c).lr; }));
  keys.push_back(Number("train.weight_decay", {0.0, 10.0}, [](RunConfig& c) -> double& { return Train(c).weight_decay; }));
  keys.push_back(BetasKey());
  keys.push_back(Number("train.eps", {0.0, 1.0, /*low_open=*/true, /*high_open=*/false},
                        [](RunConfig& c) -> double& { return Train(c).eps; }));
  keys.push_back(Number("train.max_grad_norm", kPositive, [](RunConfig& c) -> double& { return Train(c).max_grad_norm; }));
  keys.push_back(Choice<bool>("train.schedule", {{"linear", true}, {"constant", false}},
                              [](RunConfig& c) -> bool& { return Train(c).linear_decay; }));
  keys.push_back(MaxLengthKey());
  keys.push_back(TooLongKey());
  keys.push_back(TextChoice("train.dtype", {"auto", "float32", "bfloat16"}, [](RunConfig& c) -> std::string& { return c.dtype; }));
  keys.push_back(Choice<bool>("train.optimizer_state", {{"restart", false}, {"keep", true}},
                              [](RunConfig& c) -> bool& { return c.federation.keep_optimizer; }));
}

void AddEvalKeys(std::vector<ConfigKey>& keys) {
  keys.push_back(Integer("eval.every", 0, kMaxRounds, [](RunConfig& c) -> int64_t& { return Eval(c).every; }));
  keys.push_back(Integer("eval.beams", 1, 64, [](RunConfig& c) -> int64_t& { return Eval(c).options.generate.beams; }));
  keys.push_back(
      Integer("eval.max_new_tokens", 1, 100'000, [](RunConfig& c) -> int64_t& { return Eval(c).options.generate.max_new_tokens; }));
  keys.push_back(Number("eval.length_penalty", {-10.0, 10.0},
                        [](RunConfig& c) -> double& { return Eval(c).options.generate.length_penalty; }));
  keys.push_back(MetricsKey());
  keys.push_back(Choice<AblationSchedule>(
      "eval.ablations", {{"off", AblationSchedule::kOff}, {"final", AblationSchedule::kFinal}, {"every", AblationSchedule::kEvery}},
      [](RunConfig& c) -> AblationSchedule& { return Eval(c).ablations; }));
  keys.push_back(Integer("eval.cross_examples", 0, 1'000'000, [](RunConfig& c) -> int64_t& { return Eval(c).cross_examples; }));
  keys.push_back(EvalBatchSizeKey());
  keys.push_back(Boolean("eval.generate", [](RunConfig& c) -> bool& { return Eval(c).options.generate_answers; }));
  keys.push_back(SeedKey());
  keys.push_back(TextChoice("device", {"auto", "cpu", "cuda"}, [](RunConfig& c) -> std::string& { return c.device; }));
  keys.push_back(ThreadsKey());
  keys.push_back(SitesAtOnceKey());
  keys.push_back(KeepRoundsKey());
  keys.push_back(AllSitesKey());
}

}  // namespace

const std::vector<ConfigKey>& ConfigKeys() {
  static const std::vector<ConfigKey> keys = [] {
    std::vector<ConfigKey> all;
    AddMethodKeys(all);
    AddBaselineKeys(all);
    AddTrainKeys(all);
    AddEvalKeys(all);
    return all;
  }();
  return keys;
}

const std::vector<std::string>& KnownKeyNames() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = {"model", "data.train", "data.test", "data.validation", "sites", "hashes"};
    for (const ConfigKey& key : ConfigKeys()) all.push_back(key.name);
    return all;
  }();
  return names;
}

}  // namespace fedalt
