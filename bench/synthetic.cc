#include "synthetic.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"
#include "base/file.h"
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

struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;
  bool is_norm() const { return shape.size() == 1; }
};

/// What a Llama's weights are called, and their shapes.
std::vector<NamedShape> TensorsOf(const Geometry& g) {
  std::vector<NamedShape> tensors = {{"model.embed_tokens.weight", {g.vocab, g.hidden}}, {"model.norm.weight", {g.hidden}}};
  if (!g.tied) tensors.push_back({"lm_head.weight", {g.vocab, g.hidden}});
  for (int64_t layer = 0; layer < g.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
      const bool kv = name[0] == 'k' || name[0] == 'v';
      tensors.push_back(
          {absl::StrCat(prefix, "self_attn.", name, ".weight"), {kv ? g.kv_heads * g.hidden / g.heads : g.hidden, g.hidden}});
    }
    tensors.push_back({prefix + "mlp.gate_proj.weight", {g.intermediate, g.hidden}});
    tensors.push_back({prefix + "mlp.up_proj.weight", {g.intermediate, g.hidden}});
    tensors.push_back({prefix + "mlp.down_proj.weight", {g.hidden, g.intermediate}});
    tensors.push_back({prefix + "input_layernorm.weight", {g.hidden}});
    tensors.push_back({prefix + "post_attention_layernorm.weight", {g.hidden}});
  }
  return tensors;
}

int64_t ElementsOf(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

void Check(const Status& status) {
  FEDALT_CHECK(status.ok(), std::string(status.message()));
}

}  // namespace

double Geometry::LinearParameters() const {
  const int64_t attention = 2 * hidden * hidden + 2 * hidden * (kv_heads * hidden / heads);
  return static_cast<double>(layers) * static_cast<double>(attention + 3 * hidden * intermediate);
}

ModelConfig Geometry::Config() const {
  ModelConfig config;
  config.family = ModelFamily::kLlama;
  config.model_type = "llama";
  config.vocab_size = vocab;
  config.hidden_size = hidden;
  config.intermediate_size = intermediate;
  config.num_layers = layers;
  config.num_heads = heads;
  config.num_kv_heads = kv_heads;
  config.tie_word_embeddings = tied;
  config.head_dim = hidden / heads;
  config.max_position_embeddings = 4096;
  return config;
}

int64_t Geometry::Parameters() const {
  int64_t count = 0;
  for (const NamedShape& tensor : TensorsOf(*this)) count += ElementsOf(tensor.shape);
  return count;
}

std::shared_ptr<const Transformer> RandomModel(const Geometry& geometry, at::ScalarType dtype) {
  NamedTensors tensors;
  uint64_t stream = 1;
  for (const auto& [name, shape] : TensorsOf(geometry))
    tensors.emplace_back(name, shape.size() == 1 ? at::ones(shape, dtype) : Values(shape, stream++, 0.05f).to(dtype));
  auto model = Transformer::FromTensors(geometry.Config(), tensors, {dtype});
  FEDALT_CHECK(model.ok(), std::string(model.status().message()));
  return *model;
}

void WriteModelDirectory(const Geometry& geometry, at::ScalarType dtype, const std::filesystem::path& directory) {
  const std::vector<NamedShape> shapes = TensorsOf(geometry);
  int64_t largest = 0;
  for (const NamedShape& tensor : shapes) largest = std::max(largest, ElementsOf(tensor.shape));
  // Random values again and again. The period is odd, so that no two rows of a matrix are alike.
  constexpr int64_t kPeriod = (int64_t{1} << 22) - 3;
  const at::Tensor values = at::randn({kPeriod}).mul_(0.02).to(dtype);
  const at::Tensor block = values.repeat({largest / kPeriod + 2});

  Check(MakeDirectories(directory));
  const SyncTogether no_waiting;  // nobody needs these files after a crash
  nlohmann::ordered_json places = nlohmann::ordered_json::object();
  constexpr int64_t kShardBytes = 4'000'000'000;
  NamedTensors shard;
  int64_t shard_bytes = 0, shards = 0, begin = 0;
  for (const NamedShape& tensor : shapes) {
    const int64_t count = ElementsOf(tensor.shape);
    begin = (begin + 1'000'003) % kPeriod;
    shard.emplace_back(tensor.name,
                       tensor.is_norm() ? at::ones(tensor.shape, dtype) : block.narrow(0, begin, count).view(tensor.shape));
    shard_bytes += count * static_cast<int64_t>(block.element_size());
    const std::string file = absl::StrCat("model-", shards + 1, ".safetensors");
    places[tensor.name] = file;
    if (shard_bytes < kShardBytes && &tensor != &shapes.back()) continue;
    Check(WriteSafetensors(directory / file, shard));
    shard.clear();
    shard_bytes = 0;
    ++shards;
  }
  Check(WriteFileAtomic(directory / "model.safetensors.index.json", nlohmann::ordered_json{{"weight_map", places}}.dump()));
  const nlohmann::ordered_json config = {{"model_type", "llama"},
                                         {"hidden_act", "silu"},
                                         {"vocab_size", geometry.vocab},
                                         {"hidden_size", geometry.hidden},
                                         {"intermediate_size", geometry.intermediate},
                                         {"num_hidden_layers", geometry.layers},
                                         {"num_attention_heads", geometry.heads},
                                         {"num_key_value_heads", geometry.kv_heads},
                                         {"max_position_embeddings", geometry.Config().max_position_embeddings},
                                         {"rms_norm_eps", 1e-6},
                                         {"tie_word_embeddings", geometry.tied},
                                         {"eos_token_id", nullptr}};
  Check(WriteFileAtomic(directory / "config.json", config.dump(1) + "\n"));
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
