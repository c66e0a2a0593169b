// The tiny Llama of tests/golden/train_steps.py with its adapters, as the tests of this folder use it.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapter/site_adapters.h"
#include "data/dataset.h"
#include "model/safetensors.h"
#include "model/transformer.h"
#include "train/trainer.h"

namespace fedalt::testing {

inline const nlohmann::json& Steps() {
  static const nlohmann::json steps = nlohmann::json::parse(std::ifstream(FEDALT_TEST_DATA "/train/steps/steps.json"));
  return steps;
}

inline std::shared_ptr<const Transformer> TinyModel(at::ScalarType dtype = at::kFloat) {
  auto model = Transformer::Load(FEDALT_TEST_DATA "/train/tiny-llama", {dtype});
  EXPECT_TRUE(model.ok()) << model.status();
  return *model;
}

inline AdapterConfig TinyConfig() {
  AdapterConfig config;
  config.r = Steps()["options"]["r"];
  config.lora_alpha = Steps()["options"]["lora_alpha"];
  config.lora_dropout = Steps()["options"]["lora_dropout"];
  return config;
}

/// Tensors of one part ("individual", "rest_of_world", "mixer") of a file of tests/data/train/steps, in the order of `like`.
inline NamedTensors FromFile(const std::string& file, const std::string& part, const NamedTensors& like) {
  const auto tensors = TensorFiles::OpenFile(std::string(FEDALT_TEST_DATA "/train/steps/") + file);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  NamedTensors out;
  for (const auto& [name, unused] : like) {
    auto tensor = (*tensors)->Get(part + "/" + name);
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    out.emplace_back(name, tensor->clone());
  }
  return out;
}

/// Adapters with the initial values of the golden run.
inline std::unique_ptr<SiteAdapters> TinyAdapters(const Transformer& model, const AdapterConfig& config = TinyConfig()) {
  auto modules = FindAdaptedModules(model, config);
  EXPECT_TRUE(modules.ok()) << modules.status();
  auto adapters = std::make_unique<SiteAdapters>(*modules, config);
  EXPECT_TRUE(adapters->SetIndividual(FromFile("initial.safetensors", "individual", adapters->Individual())).ok());
  EXPECT_TRUE(adapters->SetRestOfWorld(FromFile("initial.safetensors", "rest_of_world", adapters->RestOfWorld())).ok());
  if (config.mixer == MixerKind::kToken) {
    EXPECT_TRUE(adapters->SetMixer(FromFile("initial.safetensors", "mixer", adapters->Mixer())).ok());
  }
  return adapters;
}

inline std::vector<TokenizedExample> TinyExamples() {
  std::vector<TokenizedExample> examples;
  for (const auto& e : Steps()["examples"]) examples.push_back({e["id"], e["tokens"], e["response_begin"]});
  return examples;
}

inline TrainOptions TinyOptions() {
  TrainOptions options;
  options.steps = Steps()["options"]["steps"];
  options.batch_size = Steps()["options"]["batch_size"];
  options.lr = Steps()["options"]["lr"];
  return options;
}

inline PassKey TinyKey() {
  return {Steps()["options"]["seed"], Steps()["options"]["site"], Steps()["options"]["round"]};
}

inline NamedTensors Copy(const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) out.emplace_back(name, tensor.detach().clone());
  return out;
}

inline double Worst(const NamedTensors& a, const NamedTensors& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0.0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    worst = std::max(worst, (a[i].second - b[i].second).abs().max().item<double>());
  }
  return worst;
}

}  // namespace fedalt::testing
