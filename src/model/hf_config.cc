#include "model/hf_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/strict_json.h"
#include "model/model_directory.h"

namespace fedalt {
namespace {

using Json = nlohmann::json;

constexpr const char* kConfigFile = "config.json";
constexpr const char* kGenerationFile = "generation_config.json";
constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr std::pair<const char*, ModelFamily> kFamilies[] = {{"llama", ModelFamily::kLlama},
                                                             {"mistral", ModelFamily::kMistral},
                                                             {"qwen2", ModelFamily::kQwen2},
                                                             {"bloom", ModelFamily::kBloom}};

// Upper bounds that no real model reaches; within them no product of sizes leaves 64 bits.
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 22;
constexpr int64_t kMaxHeads = int64_t{1} << 16;
constexpr int64_t kMaxLayers = int64_t{1} << 14;
constexpr int64_t kMaxPositions = int64_t{1} << 31;

/// Reads the fields of one JSON object; the first error stays. A null counts as absent, as transformers writes it for "not set".
class Fields {
 public:
  explicit Fields(const Json& object, std::string prefix = "") : object_(object), prefix_(std::move(prefix)) {}

  const Json* Find(const char* name) const {
    const auto it = object_.find(name);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  bool Contains(const char* name) const { return object_.contains(name); }

  /// A whole number in [low, high]. Without `otherwise` the field is required.
  int64_t Int(const char* name, int64_t low, int64_t high, std::optional<int64_t> otherwise = std::nullopt) {
    const Json* value = Find(name);
    if (value == nullptr) return otherwise.has_value() ? *otherwise : Missing(name);
    const bool fits =
        value->is_number_unsigned() ? value->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX) : value->is_number_integer();
    if (!fits || value->get<int64_t>() < low || value->get<int64_t>() > high)
      return Wrong(name, *value, absl::StrCat("a whole number from ", low, " to ", high));
    return value->get<int64_t>();
  }

  /// A finite number above `low` (or equal to it with `inclusive`).
  double Number(const char* name, double low, bool inclusive, std::optional<double> otherwise = std::nullopt) {
    const Json* value = Find(name);
    if (value == nullptr) return otherwise.has_value() ? *otherwise : static_cast<double>(Missing(name));
    const double number = value->is_number() ? value->get<double>() : NAN;
    if (!std::isfinite(number) || (inclusive ? number < low : number <= low))
      return static_cast<double>(Wrong(name, *value, absl::StrCat("a number ", inclusive ? "of at least " : "above ", low)));
    return number;
  }

  bool Bool(const char* name, bool otherwise) {
    const Json* value = Find(name);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) return Wrong(name, *value, "true or false") != 0;
    return value->get<bool>();
  }

  std::string String(const char* name, std::string otherwise) {
    const Json* value = Find(name);
    if (value == nullptr) return otherwise;
    if (value->is_string()) return value->get<std::string>();
    Wrong(name, *value, "a string");
    return otherwise;
  }

  void Fail(std::string_view message) {
    if (status_.ok()) status_ = ModelError(message);
  }
  const Status& status() const { return status_; }

 private:
  int64_t Missing(const char* name) {
    Fail(absl::StrCat("needs the field \"", prefix_, name, "\", which is absent or null"));
    return 0;
  }
  int64_t Wrong(const char* name, const Json& value, const std::string& expected) {
    Fail(absl::StrCat("field \"", prefix_, name, "\" is ", QuoteForMessage(value.dump()), ", expected ", expected));
    return 0;
  }

  const Json& object_;
  std::string prefix_;
  Status status_;
};

StatusOr<Json> ParseObject(std::string_view bytes, const std::filesystem::path& path) {
  StatusOr<Json> json = ParseJson(bytes, {.kind = ErrorKind::kModel, .max_depth = 32});
  if (!json.ok()) return Annotate(json.status(), path.string());
  if (!json->is_object()) return ModelError(absl::StrCat(path.string(), ": is not a JSON object"));
  return json;
}

double YarnScale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

Status ReadYarn(Fields& fields, const ModelConfig& config, RopeScaling* scaling) {
  scaling->original_max_position_embeddings =
      fields.Int("original_max_position_embeddings", 1, kMaxPositions, config.max_position_embeddings);
  const double ratio = static_cast<double>(config.max_position_embeddings) /
                       static_cast<double>(std::max<int64_t>(1, scaling->original_max_position_embeddings));
  scaling->factor = fields.Number("factor", 0.0, false, ratio);
  // As in transformers, a zero means "not set" for these four.
  const auto or_default = [](double value, double otherwise) { return value == 0.0 ? otherwise : value; };
  scaling->beta_fast = or_default(fields.Number("beta_fast", 0.0, true, 0.0), 32.0);
  scaling->beta_slow = or_default(fields.Number("beta_slow", 0.0, true, 0.0), 1.0);
  const double mscale = fields.Number("mscale", 0.0, true, 0.0);
  const double mscale_all = fields.Number("mscale_all_dim", 0.0, true, 0.0);
  const bool both = mscale != 0.0 && mscale_all != 0.0;
  const double computed =
      both ? YarnScale(scaling->factor, mscale) / YarnScale(scaling->factor, mscale_all) : YarnScale(scaling->factor, 1.0);
  scaling->attention_factor = fields.Number("attention_factor", 0.0, true, computed);
  scaling->truncate = fields.Bool("truncate", true);
  return fields.status();
}

/// Both layouts: `rope_theta` + `rope_scaling` (transformers 4) and `rope_parameters` with rope_theta inside (transformers 5).
Status ReadRope(Fields& top, ModelConfig* config) {
  const Json* dictionary = nullptr;
  std::string prefix;
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const Json* value = top.Find(name);
    if (value == nullptr || dictionary != nullptr) continue;
    if (!value->is_object())
      return ModelError(absl::StrCat("field \"", name, "\" is ", QuoteForMessage(value->dump()), ", expected a JSON object"));
    if (value->empty()) continue;
    dictionary = value;
    prefix = absl::StrCat(name, ".");
  }
  const double theta = top.Number("rope_theta", 0.0, false, 10000.0);
  const double rotated = top.Number("partial_rotary_factor", 0.0, false, 1.0);
  const Json nothing = Json::object();
  Fields fields(dictionary != nullptr ? *dictionary : nothing, prefix);
  for (const char* layer_type : {"full_attention", "sliding_attention"})
    if (fields.Find(layer_type) != nullptr)
      return ModelError(absl::StrCat("field \"", prefix, layer_type, "\": rope parameters per layer type are not supported"));
  config->rope_theta = fields.Number("rope_theta", 0.0, false, theta);
  if (fields.Number("partial_rotary_factor", 0.0, false, rotated) != 1.0)
    return ModelError("field \"partial_rotary_factor\" differs from 1: partly rotated heads are not supported");

  RopeScaling& scaling = config->rope_scaling;
  scaling.type = fields.String("rope_type", fields.String("type", "default"));
  if (scaling.type == "linear" || scaling.type == "dynamic") {
    scaling.factor = fields.Number("factor", 0.0, false);
  } else if (scaling.type == "llama3") {
    scaling.factor = fields.Number("factor", 0.0, false);
    scaling.low_freq_factor = fields.Number("low_freq_factor", 0.0, false);
    scaling.high_freq_factor = fields.Number("high_freq_factor", 0.0, false);
    scaling.original_max_position_embeddings =
        fields.Int("original_max_position_embeddings", 1, kMaxPositions, config->max_position_embeddings);
    if (fields.status().ok() && scaling.high_freq_factor <= scaling.low_freq_factor)
      fields.Fail(absl::StrCat("field \"", prefix, "high_freq_factor\" (", scaling.high_freq_factor,
                               ") must be above low_freq_factor (", scaling.low_freq_factor, ")"));
  } else if (scaling.type == "yarn") {
    RETURN_IF_ERROR(ReadYarn(fields, *config, &scaling));
  } else if (scaling.type != "default") {
    fields.Fail(absl::StrCat("rope type ", QuoteForMessage(scaling.type),
                             " is not supported; default, linear, dynamic, llama3 and yarn are"));
  }
  return fields.status();
}

/// Which layers look only `sliding_window` tokens back.
Status ReadSlidingWindow(Fields& fields, ModelConfig* config) {
  if (config->family == ModelFamily::kMistral) {
    // A file that does not have the field means 4096 (the default of transformers), a null means full attention.
    config->sliding_window = fields.Int("sliding_window", 1, kMaxPositions, fields.Contains("sliding_window") ? 0 : 4096);
  } else if (config->family == ModelFamily::kQwen2 && fields.Bool("use_sliding_window", false)) {
    config->sliding_window = fields.Int("sliding_window", 1, kMaxPositions, fields.Contains("sliding_window") ? 0 : 4096);
    config->sliding_window_first_layer = fields.Int("max_window_layers", 0, kMaxPositions, 28);
  }
  const Json* types = config->family == ModelFamily::kLlama ? nullptr : fields.Find("layer_types");
  if (types != nullptr && config->sliding_window > 0) {
    if (!types->is_array() || static_cast<int64_t>(types->size()) != config->num_layers)
      return ModelError(absl::StrCat("field \"layer_types\" is not a list of ", config->num_layers, " strings, one per layer"));
    int64_t first = 0;
    while (first < config->num_layers && (*types)[first] == "full_attention") ++first;
    for (int64_t i = first; i < config->num_layers; ++i)
      if ((*types)[i] != "sliding_attention")
        return ModelError(absl::StrCat("field \"layer_types\" has ", QuoteForMessage((*types)[i].dump()), " for layer ", i,
                                       "; supported are layers of full_attention followed by layers of sliding_attention"));
    // Mistral ignores the list in transformers; a list that disagrees with it is better refused than read in one of two ways.
    if (config->family == ModelFamily::kMistral && first > 0)
      return ModelError(
          "field \"layer_types\" has full_attention in a mistral model with a sliding_window; set sliding_window to null");
    config->sliding_window_first_layer = first;
  }
  if (config->sliding_window_first_layer >= config->num_layers) config->sliding_window = 0;
  if (config->sliding_window == 0) config->sliding_window_first_layer = 0;
  return fields.status();
}

Status ReadLlamaKind(Fields& fields, ModelConfig* config) {
  const ModelFamily family = config->family;
  config->hidden_size = fields.Int("hidden_size", 1, kMaxWidth);
  config->intermediate_size = fields.Int("intermediate_size", 1, kMaxWidth);
  config->num_layers = fields.Int("num_hidden_layers", 1, kMaxLayers);
  config->num_heads = fields.Int("num_attention_heads", 1, kMaxHeads);
  // A file without the field: as in transformers, 8 for Mistral; a null and the others: one per head.
  const bool eight = family == ModelFamily::kMistral && !fields.Contains("num_key_value_heads");
  config->num_kv_heads = fields.Int("num_key_value_heads", 1, kMaxHeads, eight ? 8 : config->num_heads);
  RETURN_IF_ERROR(fields.status());
  if (config->num_heads % config->num_kv_heads != 0)
    return ModelError(absl::StrCat("num_attention_heads (", config->num_heads, ") is not a multiple of num_key_value_heads (",
                                   config->num_kv_heads, ")"));
  if (fields.Find("head_dim") == nullptr && config->hidden_size % config->num_heads != 0)
    return ModelError(
        absl::StrCat("hidden_size (", config->hidden_size, ") is not a multiple of num_attention_heads (", config->num_heads, ")"));
  config->head_dim = fields.Int("head_dim", 1, kMaxHeads, config->hidden_size / config->num_heads);
  const int64_t default_positions = family == ModelFamily::kLlama ? 2048 : family == ModelFamily::kMistral ? 131072 : 32768;
  config->max_position_embeddings = fields.Int("max_position_embeddings", 1, kMaxPositions, default_positions);
  config->norm_eps = fields.Number("rms_norm_eps", 0.0, true, 1e-6);
  config->tie_word_embeddings = fields.Bool("tie_word_embeddings", false);
  config->attention_bias = family == ModelFamily::kQwen2 || (family == ModelFamily::kLlama && fields.Bool("attention_bias", false));
  config->attention_output_bias = family == ModelFamily::kLlama && config->attention_bias;
  config->mlp_bias = family == ModelFamily::kLlama && fields.Bool("mlp_bias", false);
  const std::string activation = fields.String("hidden_act", "silu");
  RETURN_IF_ERROR(fields.status());
  if (config->head_dim % 2 != 0 || config->head_dim * config->num_heads > kMaxWidth)
    return ModelError(absl::StrCat("head_dim is ", config->head_dim, " with ", config->num_heads,
                                   " heads, expected an even number and at most ", kMaxWidth, " in all"));
  if (activation != "silu" && activation != "swish")
    return ModelError(absl::StrCat("field \"hidden_act\" is ", QuoteForMessage(activation), ", supported is \"silu\""));
  RETURN_IF_ERROR(ReadRope(fields, config));
  return ReadSlidingWindow(fields, config);
}

Status ReadBloom(Fields& fields, ModelConfig* config) {
  const auto either = [&](const char* name, const char* other, int64_t high) {
    return fields.Int(fields.Find(name) == nullptr && fields.Find(other) != nullptr ? other : name, 1, high);
  };
  config->hidden_size = either("n_embed", "hidden_size", kMaxWidth);  // transformers, too, prefers n_embed
  config->num_layers = either("n_layer", "num_hidden_layers", kMaxLayers);
  config->num_heads = either("n_head", "num_attention_heads", kMaxHeads);
  RETURN_IF_ERROR(fields.status());
  if (config->hidden_size % config->num_heads != 0)
    return ModelError(
        absl::StrCat("hidden_size (", config->hidden_size, ") is not a multiple of n_head (", config->num_heads, ")"));
  config->num_kv_heads = config->num_heads;
  config->head_dim = config->hidden_size / config->num_heads;
  config->intermediate_size = 4 * config->hidden_size;
  config->max_position_embeddings = fields.Int("seq_length", 0, kMaxPositions, 0);
  config->norm_eps = fields.Number("layer_norm_epsilon", 0.0, true, 1e-5);
  config->tie_word_embeddings = fields.Bool("tie_word_embeddings", true);
  config->attention_bias = config->attention_output_bias = config->mlp_bias = true;
  config->residual_after_layernorm = fields.Bool("apply_residual_connection_post_layernorm", false);
  return fields.status();
}

/// "eos_token_id": a number or a list of numbers.
Status AddEndTokens(const Fields& fields, std::vector<int64_t>* ids) {
  const Json* value = fields.Find("eos_token_id");
  if (value == nullptr) return absl::OkStatus();
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxVocabulary))
      return ModelError(
          absl::StrCat("field \"eos_token_id\" is ", QuoteForMessage(value->dump()), ", expected a token id or a list of them"));
    if (std::find(ids->begin(), ids->end(), id.get<int64_t>()) == ids->end()) ids->push_back(id.get<int64_t>());
  }
  return absl::OkStatus();
}

Status ReadFamily(Fields& fields, ModelConfig* config) {
  std::string known;
  for (const auto& [name, family] : kFamilies) absl::StrAppend(&known, known.empty() ? "" : ", ", name);
  config->model_type = fields.String("model_type", "");
  RETURN_IF_ERROR(fields.status());
  const auto it =
      std::find_if(std::begin(kFamilies), std::end(kFamilies), [&](const auto& f) { return config->model_type == f.first; });
  if (it == std::end(kFamilies))
    return ModelError(config->model_type.empty() ? absl::StrCat("has no \"model_type\"; supported are ", known)
                                                 : absl::StrCat("model_type ", QuoteForMessage(config->model_type),
                                                                " is not supported; supported are ", known));
  config->family = it->second;
  if (const Json* quantization = fields.Find("quantization_config")) {
    const Json method = quantization->is_object() ? quantization->value("quant_method", Json()) : Json();
    return ModelError(absl::StrCat("the weights are quantized (quantization_config, ",
                                   method.is_string() ? QuoteForMessage(method.get<std::string>()) : std::string("no quant_method"),
                                   "), which is not supported; use the model's original float16, bfloat16 or float32 weights"));
  }
  return absl::OkStatus();
}

Status ReadFields(const Json& json, ModelConfig* config) {
  Fields fields(json);
  RETURN_IF_ERROR(ReadFamily(fields, config));
  config->vocab_size = fields.Int("vocab_size", 1, kMaxVocabulary);
  // As in transformers, a file without these fields (not: with null) means 1 and 2, except for Qwen2.
  const bool has_defaults = config->family != ModelFamily::kQwen2;
  config->bos_token_id = fields.Int("bos_token_id", -1, kMaxVocabulary, has_defaults && !fields.Contains("bos_token_id") ? 1 : -1);
  if (has_defaults && !fields.Contains("eos_token_id")) config->eos_token_ids = {2};
  RETURN_IF_ERROR(config->family == ModelFamily::kBloom ? ReadBloom(fields, config) : ReadLlamaKind(fields, config));
  RETURN_IF_ERROR(AddEndTokens(fields, &config->eos_token_ids));
  return fields.status();
}

}  // namespace

StatusOr<ModelConfig> ParseModelConfig(std::string_view config_json, std::string_view generation_json,
                                       const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / kConfigFile;
  ASSIGN_OR_RETURN(const Json json, ParseObject(config_json, path));
  ModelConfig config;
  if (const Status status = ReadFields(json, &config); !status.ok()) return Annotate(status, path.string());
  if (!generation_json.empty()) {
    const std::filesystem::path generation_path = directory / kGenerationFile;
    ASSIGN_OR_RETURN(const Json generation, ParseObject(generation_json, generation_path));
    if (const Status status = AddEndTokens(Fields(generation), &config.eos_token_ids); !status.ok())
      return Annotate(status, generation_path.string());
  }
  return config;
}

StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& directory) {
  RETURN_IF_ERROR(CheckModelDirectory(directory));
  std::error_code ignored;
  ASSIGN_OR_RETURN(const std::string config, ReadFile(directory / kConfigFile, ErrorKind::kModel, kMaxConfigBytes));
  std::string generation;
  if (std::filesystem::exists(directory / kGenerationFile, ignored)) {
    ASSIGN_OR_RETURN(generation, ReadFile(directory / kGenerationFile, ErrorKind::kModel, kMaxConfigBytes));
    if (generation.empty())
      return ModelError(absl::StrCat((directory / kGenerationFile).string(), ": is empty; copy or download it again"));
  }
  return ParseModelConfig(config, generation, directory);
}

int64_t ParameterCount(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  const int64_t query = config.num_heads * config.head_dim;
  const int64_t key_value = config.num_kv_heads * config.head_dim;
  const bool bloom = config.family == ModelFamily::kBloom;
  int64_t layer = d * (2 * query + 2 * key_value);
  if (config.attention_bias) layer += query + 2 * key_value;
  if (config.attention_output_bias) layer += d;
  layer += (bloom ? 2 : 3) * d * config.intermediate_size;
  if (config.mlp_bias) layer += (bloom ? 1 : 2) * config.intermediate_size + d;
  const int64_t norm = bloom ? 2 * d : d;  // LayerNorm has a bias
  layer += 2 * norm;
  const int64_t embedding = config.vocab_size * d;
  return embedding * (config.tie_word_embeddings ? 1 : 2) + config.num_layers * layer + norm + (bloom ? norm : 0);
}

}  // namespace fedalt
