#include "synthetic.h"

#include <utility>

#include "base/check.h"
#include "base/random.h"

namespace fedalt::bench {
namespace {

// Deterministic values around 0; what they are does not matter for the time, except that none is special.
at::Tensor Values(std::vector<int64_t> shape, uint64_t stream, float size) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  const RandomStream random(0, RandomPurpose::kData, {stream});
  float* values = tensor.data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i)
    values[i] = size * static_cast<float>(2 * random.Uniform(static_cast<uint64_t>(i)) - 1);
  return tensor;
}

}  // namespace

double Geometry::LinearParameters() const {
  return static_cast<double>(layers) * static_cast<double>(4 * hidden * hidden + 3 * hidden * intermediate);
}

ModelConfig Geometry::Config() const {
  ModelConfig config;
  config.family = ModelFamily::kLlama;
  config.model_type = "llama";
  config.vocab_size = vocab;
  config.hidden_size = hidden;
  config.intermediate_size = intermediate;
  config.num_layers = layers;
  config.num_heads = config.num_kv_heads = heads;
  config.head_dim = hidden / heads;
  config.max_position_embeddings = 4096;
  return config;
}

std::shared_ptr<const Transformer> RandomModel(const Geometry& geometry, at::ScalarType dtype) {
  NamedTensors tensors;
  uint64_t stream = 1;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    tensors.emplace_back(name, Values(std::move(shape), stream++, 0.05f).to(dtype));
  };
  const auto ones = [&](const std::string& name) { tensors.emplace_back(name, at::ones({geometry.hidden}, dtype)); };
  add("model.embed_tokens.weight", {geometry.vocab, geometry.hidden});
  add("lm_head.weight", {geometry.vocab, geometry.hidden});
  ones("model.norm.weight");
  for (int64_t layer = 0; layer < geometry.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
      add(absl::StrCat(prefix, "self_attn.", name, ".weight"), {geometry.hidden, geometry.hidden});
    add(prefix + "mlp.gate_proj.weight", {geometry.intermediate, geometry.hidden});
    add(prefix + "mlp.up_proj.weight", {geometry.intermediate, geometry.hidden});
    add(prefix + "mlp.down_proj.weight", {geometry.hidden, geometry.intermediate});
    ones(prefix + "input_layernorm.weight");
    ones(prefix + "post_attention_layernorm.weight");
  }
  auto model = Transformer::FromTensors(geometry.Config(), tensors, {dtype});
  FEDALT_CHECK(model.ok(), std::string(model.status().message()));
  return *model;
}

std::vector<TokenizedExample> RandomExamples(const Geometry& geometry, const Load& load) {
  const RandomStream random(0, RandomPurpose::kData, {0});
  std::vector<TokenizedExample> examples(static_cast<size_t>(load.sequences));
  uint64_t draw = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    examples[i].id = static_cast<int64_t>(i);
    examples[i].response_begin = 1;
    for (int64_t t = 0; t <= load.length; ++t)  // the last is predicted but never read
      examples[i].tokens.push_back(static_cast<int32_t>(random.Below(draw++, static_cast<uint64_t>(geometry.vocab))));
  }
  return examples;
}

std::unique_ptr<SiteAdapters> SomeAdapters(const Transformer& model) {
  const AdapterConfig config;
  auto modules = FindAdaptedModules(model, config);
  FEDALT_CHECK(modules.ok(), std::string(modules.status().message()));
  auto adapters = std::make_unique<SiteAdapters>(*modules, config);
  adapters->Initialize({});
  const auto filled = [](const NamedTensors& like, uint64_t stream) {
    NamedTensors values;
    for (const auto& [name, tensor] : like) values.emplace_back(name, Values(tensor.sizes().vec(), stream++, 0.02f));
    return values;
  };
  Status status = adapters->SetRestOfWorld(filled(adapters->Individual(), 1000));
  if (status.ok()) status = adapters->SetIndividual(filled(adapters->Individual(), 2000));
  FEDALT_CHECK(status.ok(), std::string(status.message()));
  return adapters;
}

double NecessaryFlops(const Geometry& geometry, const Load& load) {
  const double tokens = static_cast<double>(load.sequences * load.length), d = static_cast<double>(geometry.hidden);
  const double products = 4.0 * geometry.LinearParameters() * tokens - 2.0 * 3.0 * d * d * tokens;
  const double head = 4.0 * static_cast<double>(geometry.vocab) * d * tokens;
  // Forward QK^T and PV, backward twice as many; half of the L x L pairs.
  const double attention = 3.0 * 4.0 * d * tokens * static_cast<double>(load.length) / 2.0 * static_cast<double>(geometry.layers);
  return products + head + attention;
}

}  // namespace fedalt::bench
