// The demo's base model: a Llama of 404,000 parameters. Its configuration files and its untrained weights.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/status.h"
#include "model/hf_config.h"
#include "model/safetensors.h"

namespace fedalt::demo {

/// Writes config.json and generation_config.json and reads them back. Errors: kOutput, kModel.
StatusOr<ModelConfig> WriteModelConfig(const std::filesystem::path& directory);

/// Every parameter under its Hugging Face name, in the model's order: embeddings ~ N(0, 0.15^2), weights ~ N(0, 0.06^2), norms 1,
/// the head tied to the embedding.
NamedTensors InitialWeights(const ModelConfig& config, uint64_t seed);

}  // namespace fedalt::demo
