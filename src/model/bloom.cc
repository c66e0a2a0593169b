// Bloom: layer norms, attention with linear biases (ALiBi) and one fused query-key-value projection, an ungated MLP with GELU.
// (transformers: modeling_bloom.py.) Shapes: t token, d feature.
#include <cmath>
#include <deque>

#include "base/check.h"
#include "model/tensor_parallel.h"
#include "model/transformer_families.h"
#include "model/transformer_weights.h"

namespace fedalt {
namespace {

struct Norm {
  at::Tensor weight_d, bias_d;
};

struct BloomLayer {
  Norm input_norm, post_attention_norm;
  LinearStack query_key_value, dense;
  LinearStack up, down;  // dense_h_to_4h, dense_4h_to_h
};

class Bloom final : public Transformer {
 public:
  Bloom(const ModelConfig& config, at::ScalarType dtype, WeightReader& reader);

  const ModelConfig& config() const override { return config_; }
  at::ScalarType dtype() const override { return dtype_; }
  const std::vector<const Linear*>& linears() const override { return linears_; }
  NamedTensors parameters() const override { return parameters_; }

  const at::Tensor& head() const override { return head_vd_; }

 private:
  Norm ReadNorm(const std::string& name, WeightReader& reader) const;
  BloomLayer ReadLayer(int64_t index, WeightReader& reader);
  at::Tensor Apply(const Norm& norm, const at::Tensor& x_td) const {
    return at::layer_norm(x_td, {config_.hidden_size}, norm.weight_d, norm.bias_d, config_.norm_eps);
  }
  at::Tensor Run(const PackedTokens& tokens, const ForwardContext& context, const KvCache* cache) const override;

  ModelConfig config_;
  at::ScalarType dtype_;
  AttentionShape shape_;
  at::Tensor embedding_vd_, head_vd_;
  Norm embedding_norm_, final_norm_;
  std::deque<BloomLayer> layers_;  // linears_ points into it
  std::vector<const Linear*> linears_;
  NamedTensors parameters_;
};

// Slopes of ALiBi (arXiv 2108.12409): powers of one base; head counts that are not a power of two borrow every other slope of the
// next.
std::vector<double> AlibiSlopes(int64_t heads) {
  int64_t whole = 1;
  while (2 * whole <= heads) whole *= 2;
  const auto base = [](int64_t n) { return std::pow(2.0, -std::pow(2.0, 3.0 - std::log2(static_cast<double>(n)))); };
  std::vector<double> slopes;
  for (int64_t i = 1; i <= whole; ++i) slopes.push_back(std::pow(base(whole), static_cast<double>(i)));
  for (int64_t i = 1; static_cast<int64_t>(slopes.size()) < heads; i += 2)
    slopes.push_back(std::pow(base(2 * whole), static_cast<double>(i)));
  return slopes;
}

Bloom::Bloom(const ModelConfig& config, at::ScalarType dtype, WeightReader& reader) : config_(config), dtype_(dtype) {
  const int64_t vocab = config.vocab_size, d = config.hidden_size;
  const bool tied = config.tie_word_embeddings;
  embedding_vd_ = tied ? reader.Take("transformer.word_embeddings.weight", {vocab, d}, {"lm_head.weight"})
                       : reader.Take("transformer.word_embeddings.weight", {vocab, d});
  embedding_norm_ = ReadNorm("transformer.word_embeddings_layernorm", reader);
  for (int64_t i = 0; i < config.num_layers && reader.status().ok(); ++i) {
    layers_.push_back(ReadLayer(i, reader));
    BloomLayer& layer = layers_.back();
    for (const LinearStack* stack : {&layer.query_key_value, &layer.dense, &layer.up, &layer.down})
      for (const Linear& linear : stack->parts()) linears_.push_back(&linear);
  }
  final_norm_ = ReadNorm("transformer.ln_f", reader);
  head_vd_ = tied ? embedding_vd_ : reader.Take("lm_head.weight", {vocab, d});
  if (!reader.status().ok()) return;
  parameters_ = reader.taken();
  shape_ = {config.num_heads,
            config.num_heads,
            config.head_dim,
            1.0 / std::sqrt(static_cast<double>(config.head_dim)),
            AlibiSlopes(config.num_heads),
            QkvOrder::kByHead};
}

Norm Bloom::ReadNorm(const std::string& name, WeightReader& reader) const {
  Norm norm;
  norm.weight_d = reader.Take(name + ".weight", {config_.hidden_size});
  norm.bias_d = reader.Take(name + ".bias", {config_.hidden_size});
  return norm;
}

BloomLayer Bloom::ReadLayer(int64_t index, WeightReader& reader) {
  const int64_t d = config_.hidden_size;
  const std::string name = absl::StrCat("transformer.h.", index, ".");
  int next = static_cast<int>(linears_.size());
  BloomLayer layer;
  layer.input_norm = ReadNorm(name + "input_layernorm", reader);
  layer.query_key_value = reader.TakeLinears({{name + "self_attention.query_key_value", 3 * d}}, next++, d, true);
  layer.dense = reader.TakeLinears({{name + "self_attention.dense", d}}, next++, d, true);
  layer.post_attention_norm = ReadNorm(name + "post_attention_layernorm", reader);
  layer.up = reader.TakeLinears({{name + "mlp.dense_h_to_4h", 4 * d}}, next++, d, true);
  layer.down = reader.TakeLinears({{name + "mlp.dense_4h_to_h", d}}, next++, 4 * d, true);
  return layer;
}

at::Tensor Bloom::Run(const PackedTokens& tokens, const ForwardContext& context, const KvCache* cache) const {
  const AttentionPlanPtr plan = MakeAttentionPlan(shape_, tokens, config_.vocab_size, nullptr, cache, context.member);
  const WantedRows wanted(tokens, context, device());
  at::Tensor x = Apply(embedding_norm_, at::embedding(embedding_vd_, tokens.token_ids_t.to(device())));
  for (size_t i = 0; i < layers_.size(); ++i) {
    const BloomLayer& layer = layers_[i];
    at::Tensor normed = Apply(layer.input_norm, x);
    const at::Tensor qkv = layer.query_key_value.Forward(normed, context);
    const bool last = i + 1 == layers_.size();
    const Queries queries = last ? Queries::kFromFirstWanted : Queries::kAll;
    at::Tensor attended = cache == nullptr ? PackedAttention(qkv, plan, 0, queries)
                                           : CachedAttention(qkv, *plan, 0, cache->Layer(static_cast<int64_t>(i)), queries);
    if (last) {
      attended = wanted.Of(attended);
      normed = wanted.Of(normed);
      x = wanted.Of(x);
    }
    const ForwardContext& rest = last ? wanted.context() : context;
    attended = AllGather(rest.member, attended);
    x = AllGather(rest.member, layer.dense.Forward(attended, rest)) + (config_.residual_after_layernorm ? normed : x);
    normed = Apply(layer.post_attention_norm, x);
    const at::Tensor activated = AllGather(rest.member, at::gelu(layer.up.Forward(normed, rest), "tanh"));
    x = AllGather(rest.member, layer.down.Forward(activated, rest)) + (config_.residual_after_layernorm ? normed : x);
  }
  return Apply(final_norm_, x);
}

}  // namespace

StatusOr<std::shared_ptr<const Transformer>> MakeBloom(const ModelConfig& config, const NamedTensors& tensors,
                                                       const TransformerLoadOptions& options) {
  WeightReader reader(tensors, "transformer.", options);
  auto model = std::make_shared<const Bloom>(config, options.dtype, reader);
  if (!reader.status().ok()) return reader.status();
  return model;
}

}  // namespace fedalt
