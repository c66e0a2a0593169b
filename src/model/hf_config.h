// config.json of a Hugging Face model directory, as far as the supported families need it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fedalt {

enum class ModelFamily { kLlama, kMistral, kQwen2, kBloom };

/// Position scaling of rotary embeddings (transformers, modeling_rope_utils); other types (longrope, ...) are refused by name.
/// "llama3" is what Llama 3.1 and later use.
struct RopeScaling {
  std::string type = "default";  ///< default | linear | dynamic | llama3 | yarn
  double factor = 1.0;
  double low_freq_factor = 1.0;                  ///< llama3
  double high_freq_factor = 4.0;                 ///< llama3
  int64_t original_max_position_embeddings = 0;  ///< llama3, yarn; dynamic grows from max_position_embeddings
  double beta_fast = 32.0, beta_slow = 1.0;      ///< yarn
  double attention_factor = 1.0;                 ///< yarn: cos and sin are multiplied by this (mscale is already in it)
  bool truncate = true;                          ///< yarn: the correction range is rounded to whole dimensions
};

struct ModelConfig {
  ModelFamily family = ModelFamily::kLlama;
  std::string model_type;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;  ///< Bloom (no position table): seq_length, 0 if not given
  double norm_eps = 1e-6;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  int64_t sliding_window = 0;              ///< 0: full attention
  int64_t sliding_window_first_layer = 0;  ///< Qwen2 max_window_layers: layers from here on use the window
  bool tie_word_embeddings = false;
  bool attention_bias = false;         ///< q, k, v have biases
  bool attention_output_bias = false;  ///< o has one too (Llama's attention_bias)
  bool mlp_bias = false;
  bool residual_after_layernorm = false;  ///< Bloom: apply_residual_connection_post_layernorm
  int64_t bos_token_id = -1;              ///< -1: none
  std::vector<int64_t> eos_token_ids;     ///< from config.json and generation_config.json
};

/// Reads and checks config.json (and generation_config.json for eos ids). Errors (kModel): unreadable, broken, a needed field
/// missing or of the wrong type or range, an unsupported model_type (the message lists those that work), an unsupported rope type
/// or activation.
StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& directory);

/// The same for bytes in memory; `generation_json` may be empty (no generation_config.json). Errors name the file they are about.
StatusOr<ModelConfig> ParseModelConfig(std::string_view config_json, std::string_view generation_json,
                                       const std::filesystem::path& directory);

/// Number of parameters; a tied head counts once.
int64_t ParameterCount(const ModelConfig& config);

}  // namespace fedalt
