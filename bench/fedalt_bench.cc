// What the method costs beside what it adds to: a training step with both adapters against one through the frozen base alone, one
// adapted linear against the plain one, and the fixed-point sum against copying the same bytes.
//
//   fedalt_bench [--quick] [--out FILE]     --quick: the smallest sizes, to see that it works; its times mean nothing

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "adapter/site_adapters.h"
#include "base/check.h"
#include "base/random.h"
#include "data/packed_batch.h"
#include "fed/fixed_point_sum.h"
#include "measure.h"
#include "model/transformer.h"
#include "train/response_loss.h"
#include "train/trainer.h"

namespace fedalt::bench {
namespace {

struct Sizes {
  int64_t hidden = 512, intermediate = 1376, layers = 8, heads = 8, vocab = 8192;
  int64_t batch = 8, length = 128, prompt = 64;
  int64_t linear_features = 2048;
  size_t sum_length = 16'000'000;
  int runs = 15;
};
constexpr Sizes kQuick{.hidden = 32,
                       .intermediate = 48,
                       .layers = 2,
                       .heads = 2,
                       .vocab = 64,
                       .batch = 2,
                       .length = 8,
                       .prompt = 4,
                       .linear_features = 64,
                       .sum_length = 1000,
                       .runs = 3};

// Deterministic values around 0; what they are does not matter for the time, except that none is special.
at::Tensor Values(std::vector<int64_t> shape, uint64_t stream, float size) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  const RandomStream random(0, RandomPurpose::kData, {stream});
  float* values = tensor.data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i)
    values[i] = size * static_cast<float>(2 * random.Uniform(static_cast<uint64_t>(i)) - 1);
  return tensor;
}

std::shared_ptr<const Transformer> SmallLlama(const Sizes& sizes) {
  ModelConfig config;
  config.family = ModelFamily::kLlama;
  config.model_type = "llama";
  config.vocab_size = sizes.vocab;
  config.hidden_size = sizes.hidden;
  config.intermediate_size = sizes.intermediate;
  config.num_layers = sizes.layers;
  config.num_heads = config.num_kv_heads = sizes.heads;
  config.head_dim = sizes.hidden / sizes.heads;
  config.max_position_embeddings = sizes.length;
  NamedTensors tensors;
  uint64_t stream = 1;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    tensors.emplace_back(name, Values(std::move(shape), stream++, 0.05f));
  };
  add("model.embed_tokens.weight", {sizes.vocab, sizes.hidden});
  add("lm_head.weight", {sizes.vocab, sizes.hidden});
  tensors.emplace_back("model.norm.weight", at::ones({sizes.hidden}));
  for (int64_t layer = 0; layer < sizes.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
      add(absl::StrCat(prefix, "self_attn.", name, ".weight"), {sizes.hidden, sizes.hidden});
    add(prefix + "mlp.gate_proj.weight", {sizes.intermediate, sizes.hidden});
    add(prefix + "mlp.up_proj.weight", {sizes.intermediate, sizes.hidden});
    add(prefix + "mlp.down_proj.weight", {sizes.hidden, sizes.intermediate});
    tensors.emplace_back(prefix + "input_layernorm.weight", at::ones({sizes.hidden}));
    tensors.emplace_back(prefix + "post_attention_layernorm.weight", at::ones({sizes.hidden}));
  }
  auto model = Transformer::FromTensors(config, tensors);
  FEDALT_CHECK(model.ok(), std::string(model.status().message()));
  return *model;
}

std::vector<TokenizedExample> Examples(const Sizes& sizes) {
  const RandomStream random(0, RandomPurpose::kData, {0});
  std::vector<TokenizedExample> examples(static_cast<size_t>(sizes.batch));
  uint64_t draw = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    examples[i].id = static_cast<int64_t>(i);
    examples[i].response_begin = static_cast<int32_t>(sizes.prompt);
    for (int64_t t = 0; t <= sizes.length; ++t)
      examples[i].tokens.push_back(static_cast<int32_t>(random.Below(draw++, static_cast<uint64_t>(sizes.vocab))));
  }
  return examples;
}

// Adapters of which nothing is zero, as after some rounds.
std::unique_ptr<SiteAdapters> Adapters(const Transformer& model, const AdapterConfig& config) {
  auto modules = FindAdaptedModules(model, config);
  FEDALT_CHECK(modules.ok(), std::string(modules.status().message()));
  auto adapters = std::make_unique<SiteAdapters>(*modules, config);
  adapters->Initialize({});
  NamedTensors rest_of_world;
  uint64_t stream = 1000;
  for (const auto& [name, tensor] : adapters->Individual())
    rest_of_world.emplace_back(name, Values(tensor.sizes().vec(), stream++, 0.02f));
  const Status status = adapters->SetRestOfWorld(rest_of_world);
  FEDALT_CHECK(status.ok(), std::string(status.message()));
  return adapters;
}

std::vector<Result> TrainingStep(const Sizes& sizes) {
  const auto model = SmallLlama(sizes);
  const std::vector<TokenizedExample> examples = Examples(sizes);
  std::vector<const TokenizedExample*> pointers;
  for (const TokenizedExample& example : examples) pointers.push_back(&example);
  const PackedBatch batch = PackExamples(pointers);
  const double tokens = static_cast<double>(batch.tokens.size());

  // The first norm's weight asks for a gradient, so that the backward runs through the whole base, but no weight of a linear is
  // touched.
  std::vector<at::Tensor> first_norm;
  for (auto& [name, tensor] : model->parameters()) {
    if (name == "model.layers.0.input_layernorm.weight") first_norm.push_back(tensor);
  }
  FEDALT_CHECK(first_norm.size() == 1, "the model has one first norm");
  std::vector<Case> cases;
  cases.push_back({"frozen base, forward and backward", "tokens", tokens, [&] {
                     first_norm[0].requires_grad_(true);
                     std::vector<at::Tensor> gradients(1);
                     ForwardBackward(*model, batch, {}, 1.0, first_norm, gradients);
                     first_norm[0].requires_grad_(false);
                   }});
  std::vector<std::unique_ptr<SiteAdapters>> kept;
  const auto add_step = [&](const char* name, const AdapterConfig& config) {
    kept.push_back(Adapters(*model, config));
    SiteAdapters* adapters = kept.back().get();
    cases.push_back({name, "tokens", tokens, [&model, &examples, adapters, batch_size = sizes.batch] {
                       TrainState state;
                       const auto report =
                           TrainLocalPass(*model, *adapters, examples, {.steps = 1, .batch_size = batch_size}, {}, state, {});
                       FEDALT_CHECK(report.ok(), std::string(report.status().message()));
                     }});
  };
  add_step("both adapters and mixer, q and v", {});
  add_step("the same without dropout", {.lora_dropout = 0.0});
  add_step("both adapters and mixer, all linears", {.target_modules = {"all-linear"}});
  return Measure("step", cases, sizes.runs);
}

std::vector<Result> OneLinear(const Sizes& sizes) {
  const int64_t features = sizes.linear_features, tokens = sizes.batch * sizes.length, r = 8;
  const Linear base("linear", 0, Values({features, features}, 1, 0.02f), {});
  const at::Tensor d_to = Values({tokens, features}, 2, 1.0f);
  const at::Tensor x_ti = Values({tokens, features}, 3, 1.0f).requires_grad_(true);
  LayerAdapters tensors{.individual = {Values({r, features}, 4, 0.02f), Values({features, r}, 5, 0.02f)},
                        .rest_of_world = {Values({r, features}, 6, 0.02f), Values({features, r}, 7, 0.02f)},
                        .mixer = Values({2, features}, 8, 0.02f)};
  const std::vector<at::Tensor> trained = {tensors.individual.a_ri, tensors.individual.b_or, tensors.mixer};
  for (const at::Tensor& tensor : trained) tensor.requires_grad_(true);
  const LayerMode mode{.scale = 4.0, .dropout = 0.05};
  const FedaltLinear layer(tensors, &mode, StableId("linear"));
  const std::vector<const LinearExtension*> extensions = {&layer};
  TokenRows rows;
  for (int64_t t = 0; t < tokens; ++t) {
    rows.example_ids.push_back(t / sizes.length);
    rows.positions.push_back(t % sizes.length);
  }
  const auto work = [&](const ForwardContext& context, bool adapted) {
    const at::Tensor y_to = base.Forward(x_ti, context);
    std::vector<at::Tensor> inputs = {x_ti};
    if (adapted) inputs.insert(inputs.end(), trained.begin(), trained.end());
    y_to.backward(d_to, false, false, at::TensorList(inputs));
    for (at::Tensor& input : inputs) input.mutable_grad().reset();
  };
  const ForwardContext adapted{.extensions = &extensions, .rows = &rows, .dropout_key = 1};
  const double count = static_cast<double>(tokens);
  return Measure("linear",
                 {{"plain", "tokens", count, [&] { work({}, false); }},
                  {"both adapters and mixer", "tokens", count, [&] { work(adapted, true); }}},
                 sizes.runs);
}

std::vector<Result> Sum(const Sizes& sizes) {
  const at::Tensor values = Values({static_cast<int64_t>(sizes.sum_length)}, 1, 0.1f);
  const std::span<const float> theta(values.data_ptr<float>(), sizes.sum_length);
  std::vector<float> copy(sizes.sum_length);
  FixedPointSum sum(sizes.sum_length);
  const double bytes = static_cast<double>(theta.size_bytes());
  const auto must = [](const Status& status) { FEDALT_CHECK(status.ok(), std::string(status.message())); };
  return Measure("sum",
                 {{"memcpy", "bytes", bytes, [&] { std::memcpy(copy.data(), theta.data(), theta.size_bytes()); }},
                  {"add", "bytes", bytes, [&] { must(sum.Add(theta, 1.0)); }},
                  {"subtract", "bytes", bytes, [&] { must(sum.Subtract(theta, 1.0)); }},
                  {"round to float32", "bytes", bytes, [&] { copy = sum.Values(); }}},
                 sizes.runs);
}

int Main(int argc, char** argv) {
  Sizes sizes;
  std::filesystem::path out;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick") {
      sizes = kQuick;
    } else if (argument == "--out" && i + 1 < argc) {
      out = argv[++i];
    } else {
      std::fprintf(stderr, "usage: fedalt_bench [--quick] [--out FILE]\n");
      return static_cast<int>(ErrorKind::kUsage);
    }
  }
  std::vector<Result> results;
  for (const auto& group : {TrainingStep, OneLinear, Sum}) {
    const std::vector<Result> more = group(sizes);
    results.insert(results.end(), more.begin(), more.end());
  }
  const Machine machine = DescribeMachine();
  std::printf("%s, threads: %d\n%s", machine.cpu_model.c_str(), at::get_num_threads(), Table(results).c_str());
  if (out.empty()) return 0;
  if (const Status status = WriteReport(out, machine, at::get_num_threads(), results); !status.ok()) {
    std::fprintf(stderr, "fedalt_bench: %s\n", std::string(status.message()).c_str());
    return static_cast<int>(KindOf(status));
  }
  return 0;
}

}  // namespace
}  // namespace fedalt::bench

int main(int argc, char** argv) {
  return fedalt::bench::Main(argc, argv);
}
