#include "base_model.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/file.h"
#include "base/random.h"
#include "tokenizer_files.h"

namespace fedalt::demo {
namespace {

using Json = nlohmann::ordered_json;

// Embeddings begin wide apart: a term of which the base is taught one relation only keeps a direction of its own, so that an
// adapter can tell it from others (docs/decisions/0001-demo-base-initialisation.md).
constexpr double kEmbeddingDeviation = 0.15;
constexpr double kInitialDeviation = 0.06;

Json ConfigJson() {
  return {{"architectures", Json::array({"LlamaForCausalLM"})},
          {"model_type", "llama"},
          {"vocab_size", VocabularySize()},
          {"hidden_size", 96},
          {"intermediate_size", 192},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 3},
          {"num_key_value_heads", 3},
          {"head_dim", 32},
          {"hidden_act", "silu"},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"attention_bias", false},
          {"attention_dropout", 0.0},
          {"mlp_bias", false},
          {"tie_word_embeddings", true},
          {"initializer_range", kInitialDeviation},
          {"use_cache", true},
          {"torch_dtype", "float32"},
          {"bos_token_id", kBosId},
          {"eos_token_id", kEosId}};
}

// Box and Muller's transform of two draws per value.
at::Tensor NormalWeights(uint64_t seed, const std::string& name, double deviation, int64_t rows, int64_t columns) {
  const RandomStream draws(seed, RandomPurpose::kInit, {StableId(name)});
  at::Tensor weights = at::empty({rows, columns}, at::kFloat);
  float* out = weights.data_ptr<float>();
  for (uint64_t i = 0; i < static_cast<uint64_t>(rows * columns); ++i) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - draws.Uniform(2 * i)));
    out[i] = static_cast<float>(deviation * radius * std::cos(2.0 * std::numbers::pi * draws.Uniform(2 * i + 1)));
  }
  return weights;
}

}  // namespace

StatusOr<ModelConfig> WriteModelConfig(const std::filesystem::path& directory) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  RETURN_IF_ERROR(WriteFileAtomic(directory / "config.json", ConfigJson().dump(1) + "\n"));
  const Json generation = {{"bos_token_id", kBosId}, {"eos_token_id", kEosId}, {"max_new_tokens", 8}};
  RETURN_IF_ERROR(WriteFileAtomic(directory / "generation_config.json", generation.dump(1) + "\n"));
  return ReadModelConfig(directory);
}

NamedTensors InitialWeights(const ModelConfig& config, uint64_t seed) {
  NamedTensors weights;
  const auto normal = [&](const std::string& name, int64_t rows, int64_t columns) {
    weights.emplace_back(
        name, NormalWeights(seed, name, rows == config.vocab_size ? kEmbeddingDeviation : kInitialDeviation, rows, columns));
  };
  const auto ones = [&](const std::string& name) { weights.emplace_back(name, at::ones({config.hidden_size}, at::kFloat)); };
  const int64_t d = config.hidden_size, heads = config.num_heads * config.head_dim, kv = config.num_kv_heads * config.head_dim;
  normal("model.embed_tokens.weight", config.vocab_size, d);
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l);
    ones(layer + ".input_layernorm.weight");
    normal(layer + ".self_attn.q_proj.weight", heads, d);
    normal(layer + ".self_attn.k_proj.weight", kv, d);
    normal(layer + ".self_attn.v_proj.weight", kv, d);
    normal(layer + ".self_attn.o_proj.weight", d, heads);
    ones(layer + ".post_attention_layernorm.weight");
    normal(layer + ".mlp.gate_proj.weight", config.intermediate_size, d);
    normal(layer + ".mlp.up_proj.weight", config.intermediate_size, d);
    normal(layer + ".mlp.down_proj.weight", d, config.intermediate_size);
  }
  ones("model.norm.weight");
  return weights;
}

}  // namespace fedalt::demo
