#include "adapter/peft_directory.h"

#include <absl/strings/match.h>
#include <absl/strings/str_join.h>
#include <absl/strings/strip.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/strict_json.h"
#include "model/finite.h"
#include "model/safetensors.h"

namespace fedalt {
namespace {

using Json = nlohmann::json;

constexpr char kConfigFile[] = "adapter_config.json";
constexpr char kTensorFile[] = "adapter_model.safetensors";
constexpr char kPrefix[] = "base_model.model.";
constexpr char kSuffixA[] = ".lora_A.weight";
constexpr char kSuffixB[] = ".lora_B.weight";
constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr int64_t kMaxRank = 1 << 16;

/// Fields of adapter_config.json that make the adapter something else than y += s B A x on its modules, unless null, false or
/// empty.
constexpr std::pair<const char*, const char*> kRefusedFields[] = {
    {"use_dora", "DoRA"},
    {"use_qalora", "QALoRA"},
    {"use_bdlora", "block-diagonal LoRA"},
    {"rank_pattern", "ranks that differ between modules"},
    {"alpha_pattern", "lora_alpha that differs between modules"},
    {"modules_to_save", "fully trained modules beside the adapter"},
    {"lora_bias", "a bias inside the adapter"},
    {"fan_in_fan_out", "transposed base weights"},
    {"layer_replication", "replicated layers"},
    {"trainable_token_indices", "trained token embeddings"},
    {"target_parameters", "adapted parameters that are not linear layers"},
    {"alora_invocation_tokens", "activated LoRA"},
    {"arrow_config", "routed LoRA (Arrow)"},
    {"velora_config", "VeLoRA"},
    {"monteclora_config", "MonteCLoRA"},
    {"kasa_config", "KaSA"},
};

/// Initialisations that rewrite the base's weights: without that rewritten base such an adapter means nothing.
constexpr const char* kRefusedInitialisations[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};

/// A value for a message: strings in quotes, anything else as it stands, both shortened.
std::string Shown(const Json& value) {
  return value.is_string() ? QuoteForMessage(value.get<std::string>()) : value.dump().substr(0, 60);
}

bool IsOff(const Json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) || (value.is_structured() && value.empty());
}

Status CheckVariant(const Json& config) {
  if (const auto type = config.find("peft_type"); type != config.end() && *type != "LORA")
    return ModelError(absl::StrCat("\"peft_type\" is ", Shown(*type), "; only \"LORA\" can be read"));
  for (const auto& [field, meaning] : kRefusedFields) {
    const auto it = config.find(field);
    if (it == config.end() || IsOff(*it)) continue;
    return ModelError(absl::StrCat("\"", field, "\" is set (", meaning, "), which is not supported; train or export a plain LoRA"));
  }
  if (const auto bias = config.find("bias"); bias != config.end() && !bias->is_null() && *bias != "none")
    return ModelError(absl::StrCat("\"bias\" is ", Shown(*bias), "; only \"none\" is supported"));
  const auto init = config.find("init_lora_weights");
  if (init == config.end() || !init->is_string()) return absl::OkStatus();
  for (const char* refused : kRefusedInitialisations)
    if (absl::StartsWith(init->get<std::string>(), refused))
      return ModelError(absl::StrCat("\"init_lora_weights\" is ", Shown(*init),
                                     ", which changes the base model's weights; convert the adapter to a plain LoRA with PEFT's "
                                     "path_initial_model_for_weight_conversion"));
  return absl::OkStatus();
}

StatusOr<double> Number(const Json& config, const char* field, double otherwise, double low, double high) {
  const auto it = config.find(field);
  if (it == config.end() || it->is_null()) return otherwise;
  if (!it->is_number() || !(it->get<double>() >= low && it->get<double>() <= high))
    return ModelError(absl::StrFormat("\"%s\" is %s; a number from %g to %g is expected", field, Shown(*it), low, high));
  return it->get<double>();
}

StatusOr<PeftMetadata> ParseMetadata(const Json& config) {
  if (!config.is_object()) return ModelError("a JSON object is expected");
  RETURN_IF_ERROR(CheckVariant(config));
  PeftMetadata metadata;
  const auto rank = config.find("r");
  if (rank == config.end() || !rank->is_number_integer() || rank->get<double>() < 1 || rank->get<double>() > kMaxRank)
    return ModelError(absl::StrFormat("\"r\" is %s; a whole number from 1 to %d is expected",
                                      rank == config.end() ? "missing" : Shown(*rank), kMaxRank));
  metadata.r = rank->get<int64_t>();
  ASSIGN_OR_RETURN(metadata.lora_alpha, Number(config, "lora_alpha", 8.0, -1e9, 1e9));
  ASSIGN_OR_RETURN(metadata.lora_dropout, Number(config, "lora_dropout", 0.0, 0.0, 1.0));
  // rsLoRA scales by lora_alpha / sqrt(r) instead of lora_alpha / r; folded into lora_alpha.
  if (const auto rs = config.find("use_rslora"); rs != config.end() && *rs == true)
    metadata.lora_alpha *= std::sqrt(static_cast<double>(metadata.r));
  if (const auto base = config.find("base_model_name_or_path"); base != config.end() && base->is_string())
    metadata.base_model_name_or_path = base->get<std::string>();
  if (const auto targets = config.find("target_modules"); targets != config.end() && targets->is_array())
    for (const Json& target : *targets)
      if (target.is_string()) metadata.target_modules.push_back(target.get<std::string>());
  std::sort(metadata.target_modules.begin(), metadata.target_modules.end());  // PEFT keeps a set, so its order is chance
  return metadata;
}

/// model.layers.0.self_attn.q_proj -> q_proj
std::string LastComponent(const std::string& module) {
  return module.substr(module.rfind('.') + 1);
}

std::vector<std::string> TargetsOf(const std::vector<std::string>& modules) {
  std::set<std::string> targets;
  for (const std::string& module : modules) targets.insert(LastComponent(module));
  return {targets.begin(), targets.end()};
}

/// Names without the prefix of PEFT, pairs complete, shapes as `r` says. Returns the modules' names in order.
StatusOr<std::vector<std::string>> CheckTensors(const TensorFiles& files, int64_t r) {
  std::map<std::string, std::pair<bool, bool>> seen;  // module -> has A, has B
  for (const std::string& name : files.Names()) {
    absl::string_view module = name;
    const bool in_base = absl::ConsumePrefix(&module, kPrefix);
    const bool is_a = absl::ConsumeSuffix(&module, kSuffixA), is_b = !is_a && absl::ConsumeSuffix(&module, kSuffixB);
    if (!in_base || !(is_a || is_b) || module.empty())
      return ModelError(absl::StrCat("tensor ", QuoteForMessage(name), " is not a LoRA factor of a linear layer (", kPrefix,
                                     "<module>", kSuffixA, " or ", kSuffixB, "); only those are supported"));
    ASSIGN_OR_RETURN(const TensorEntry entry, files.Describe(name));
    if (!at::isFloatingType(entry.dtype))
      return ModelError(absl::StrCat("tensor ", QuoteForMessage(name), " is not of a floating-point type"));
    if (entry.shape.size() != 2 || entry.shape[is_a ? 0 : 1] != r)
      return ModelError(absl::StrFormat("tensor %s has shape (%s), but \"r\" in %s is %d, so (%s) is expected",
                                        QuoteForMessage(name), absl::StrJoin(entry.shape, ", "), kConfigFile, r,
                                        is_a ? absl::StrCat(r, ", d_in") : absl::StrCat("d_out, ", r)));
    auto& pair = seen[std::string(module)];
    (is_a ? pair.first : pair.second) = true;
  }
  std::vector<std::string> modules;
  for (const auto& [module, has] : seen) {
    if (!has.first || !has.second)
      return ModelError(absl::StrCat("module ", QuoteForMessage(module), " has no ", has.first ? "lora_B" : "lora_A",
                                     "; the file is incomplete, export the adapter again"));
    modules.push_back(module);
  }
  if (modules.empty()) return ModelError("it holds no LoRA factors");
  return modules;
}

Json ConfigOf(const PeftMetadata& metadata, const std::vector<std::string>& targets) {
  Json config = {{"peft_type", "LORA"},
                 {"task_type", "CAUSAL_LM"},
                 {"auto_mapping", nullptr},
                 {"base_model_name_or_path", nullptr},
                 {"revision", nullptr},
                 {"inference_mode", true},
                 {"r", metadata.r},
                 {"lora_alpha", metadata.lora_alpha},
                 {"lora_dropout", metadata.lora_dropout},
                 {"target_modules", targets},
                 {"bias", "none"},
                 {"fan_in_fan_out", false},
                 {"init_lora_weights", true},
                 {"modules_to_save", nullptr},
                 {"layers_to_transform", nullptr},
                 {"layers_pattern", nullptr},
                 {"rank_pattern", Json::object()},
                 {"alpha_pattern", Json::object()},
                 {"use_dora", false},
                 {"use_rslora", false}};
  if (!metadata.base_model_name_or_path.empty()) config["base_model_name_or_path"] = metadata.base_model_name_or_path;
  if (metadata.lora_alpha == std::floor(metadata.lora_alpha) && std::abs(metadata.lora_alpha) < 1e15)
    config["lora_alpha"] = static_cast<int64_t>(metadata.lora_alpha);  // PEFT's own type, where it can be
  return config;
}

}  // namespace

Status WritePeftDirectory(const std::filesystem::path& directory, const NamedTensors& factors, const PeftMetadata& metadata) {
  NamedTensors tensors;
  std::vector<std::string> modules;
  for (const auto& [name, tensor] : factors) {
    absl::string_view module = name;
    const bool is_a = absl::ConsumeSuffix(&module, kSuffixA);
    if (is_a) modules.emplace_back(module);
    const int64_t rank = tensor.dim() == 2 ? tensor.size(is_a ? 0 : 1) : -1;
    if ((!is_a && !absl::EndsWith(module, kSuffixB)) || rank != metadata.r)
      return ModelError(
          absl::StrFormat("%s: \"%s\" is not a LoRA factor of rank %d; nothing was written", directory.string(), name, metadata.r));
    tensors.emplace_back(kPrefix + name, tensor.detach());
  }
  RETURN_IF_ERROR(MakeDirectories(directory));
  RETURN_IF_ERROR(WriteSafetensors(directory / kTensorFile, tensors));
  // The modules' own names decide: "all-linear" and a model's other spelling of a target come out right everywhere.
  const Json config = ConfigOf(metadata, TargetsOf(modules));
  // Last, so that a directory with a configuration is a complete one. Paths may hold bytes that are not UTF-8; JSON may not.
  return WriteFileAtomic(directory / kConfigFile, config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

Status CheckPeftDirectory(const std::filesystem::path& directory) {
  namespace fs = std::filesystem;
  constexpr char kExpected[] =
      "expected a directory with adapter_config.json and adapter_model.safetensors, as PEFT's save_pretrained writes it";
  std::error_code error;
  const bool is_directory = fs::is_directory(directory, error);
  const fs::path pickle = is_directory ? directory / "adapter_model.bin" : directory;
  if (pickle.extension() == ".bin" && fs::exists(pickle, error) && !fs::exists(directory / kTensorFile, error))
    return ModelError(absl::StrCat(pickle.string(), " is a pickle, which is not read (it can run code); ", kExpected,
                                   " with safe_serialization=True"));
  if (!is_directory)
    return ModelError(
        absl::StrCat(directory.string(), fs::exists(directory, error) ? " is a file; " : " does not exist; ", kExpected));
  for (const char* file : {kConfigFile, kTensorFile})
    if (!fs::exists(directory / file, error))
      return ModelError(absl::StrCat(directory.string(), " has no ", file, "; ", kExpected));
  return absl::OkStatus();
}

StatusOr<PeftAdapter> ReadPeftDirectory(const std::filesystem::path& directory) {
  const std::filesystem::path config_path = directory / kConfigFile, tensor_path = directory / kTensorFile;
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(config_path, ErrorKind::kModel, kMaxConfigBytes));
  JsonOptions json_options;
  json_options.kind = ErrorKind::kModel;
  const StatusOr<Json> config = ParseJson(bytes, json_options);
  if (!config.ok()) return Annotate(config.status(), config_path.string());
  StatusOr<PeftMetadata> metadata = ParseMetadata(*config);
  if (!metadata.ok()) return Annotate(metadata.status(), config_path.string());
  RETURN_IF_ERROR(CheckPeftDirectory(directory));

  ASSIGN_OR_RETURN(const std::shared_ptr<TensorFiles> files, TensorFiles::OpenFile(tensor_path));
  const StatusOr<std::vector<std::string>> modules = CheckTensors(*files, metadata->r);
  if (!modules.ok()) return Annotate(modules.status(), tensor_path.string());

  PeftAdapter adapter;
  adapter.metadata = *std::move(metadata);
  if (adapter.metadata.target_modules.empty()) adapter.metadata.target_modules = TargetsOf(*modules);  // a pattern was given
  for (const std::string& module : *modules) {
    for (const char* suffix : {kSuffixA, kSuffixB}) {
      const std::string name = absl::StrCat(kPrefix, module, suffix);
      ASSIGN_OR_RETURN(const at::Tensor tensor, files->Get(name));
      if (const Status finite = CheckFinite(name, tensor); !finite.ok()) return Annotate(finite, tensor_path.string());
      adapter.factors.emplace_back(module + suffix, tensor.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true));
    }
  }
  return adapter;
}

}  // namespace fedalt
