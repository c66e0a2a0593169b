// Llama, Mistral and Qwen2: pre-norm blocks of rotary attention with grouped key-value heads and a gated MLP.
// (transformers: modeling_llama.py, modeling_mistral.py, modeling_qwen2.py.) Shapes: t token, d feature.
#include <cmath>
#include <deque>

#include "base/check.h"
#include "model/tensor_parallel.h"
#include "model/transformer_families.h"
#include "model/transformer_ops.h"
#include "model/transformer_weights.h"

namespace fedalt {
namespace {

struct LlamaLayer {
  at::Tensor input_norm_d, post_attention_norm_d;
  LinearStack qkv, o, gate_up, down;
  int64_t window = 0;  // 0: full attention
};

class Llama final : public Transformer {
 public:
  Llama(const ModelConfig& config, at::ScalarType dtype, WeightReader& reader);

  const ModelConfig& config() const override { return config_; }
  at::ScalarType dtype() const override { return dtype_; }
  const std::vector<const Linear*>& linears() const override { return linears_; }
  NamedTensors parameters() const override { return parameters_; }

  const at::Tensor& head() const override { return head_vd_; }

 private:
  LlamaLayer ReadLayer(int64_t index, WeightReader& reader);
  at::Tensor Run(const PackedTokens& tokens, const ForwardContext& context, const KvCache* cache) const override;
  at::Tensor Attend(const LlamaLayer& layer, const at::Tensor& x_td, const AttentionPlanPtr& plan, Queries queries,
                    const ForwardContext& context, const CacheView* cache) const;

  ModelConfig config_;
  at::ScalarType dtype_;
  AttentionShape shape_;
  std::unique_ptr<Rope> rope_;
  at::Tensor embedding_vd_, final_norm_d_, head_vd_;
  std::deque<LlamaLayer> layers_;  // linears_ points into it
  std::vector<const Linear*> linears_;
  NamedTensors parameters_;
};

Llama::Llama(const ModelConfig& config, at::ScalarType dtype, WeightReader& reader) : config_(config), dtype_(dtype) {
  const int64_t vocab = config.vocab_size, d = config.hidden_size;
  // A tied model may store its one matrix under either name.
  embedding_vd_ = config.tie_word_embeddings ? reader.Take("model.embed_tokens.weight", {vocab, d}, {"lm_head.weight"})
                                             : reader.Take("model.embed_tokens.weight", {vocab, d});
  for (int64_t i = 0; i < config.num_layers && reader.status().ok(); ++i) {
    layers_.push_back(ReadLayer(i, reader));
    LlamaLayer& layer = layers_.back();
    for (const LinearStack* stack : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down})
      for (const Linear& linear : stack->parts()) linears_.push_back(&linear);
  }
  final_norm_d_ = reader.Take("model.norm.weight", {d});
  head_vd_ = config.tie_word_embeddings ? embedding_vd_ : reader.Take("lm_head.weight", {vocab, d});
  if (!reader.status().ok()) return;
  parameters_ = reader.taken();
  shape_ = {config.num_heads, config.num_kv_heads, config.head_dim, 1.0 / std::sqrt(static_cast<double>(config.head_dim)), {}};
  rope_ = std::make_unique<Rope>(config, dtype == at::kDouble ? at::kDouble : at::kFloat, device());
}

LlamaLayer Llama::ReadLayer(int64_t index, WeightReader& reader) {
  const ModelConfig& c = config_;
  const int64_t d = c.hidden_size, q_out = c.num_heads * c.head_dim, kv_out = c.num_kv_heads * c.head_dim;
  const std::string name = absl::StrCat("model.layers.", index, ".");
  const int first = static_cast<int>(linears_.size());
  LlamaLayer layer;
  layer.input_norm_d = reader.Take(name + "input_layernorm.weight", {d});
  const std::string attention = name + "self_attn.", mlp = name + "mlp.";
  layer.qkv = reader.TakeLinears({{attention + "q_proj", q_out}, {attention + "k_proj", kv_out}, {attention + "v_proj", kv_out}},
                                 first, d, c.attention_bias);
  layer.o = reader.TakeLinears({{attention + "o_proj", d}}, first + 3, q_out, c.attention_output_bias);
  layer.post_attention_norm_d = reader.Take(name + "post_attention_layernorm.weight", {d});
  layer.gate_up = reader.TakeLinears({{mlp + "gate_proj", c.intermediate_size}, {mlp + "up_proj", c.intermediate_size}}, first + 4,
                                     d, c.mlp_bias);
  layer.down = reader.TakeLinears({{mlp + "down_proj", d}}, first + 6, c.intermediate_size, c.mlp_bias);
  layer.window = index >= c.sliding_window_first_layer ? c.sliding_window : 0;
  return layer;
}

at::Tensor Llama::Attend(const LlamaLayer& layer, const at::Tensor& x_td, const AttentionPlanPtr& plan, Queries queries,
                         const ForwardContext& context, const CacheView* cache) const {
  const at::Tensor qkv = layer.qkv.Forward(x_td, context);
  if (cache != nullptr) return CachedAttention(qkv, *plan, layer.window, *cache, queries);
  return PackedAttention(qkv, plan, layer.window, queries);
}

at::Tensor Llama::Run(const PackedTokens& tokens, const ForwardContext& context, const KvCache* cache) const {
  const AttentionPlanPtr plan = MakeAttentionPlan(shape_, tokens, config_.vocab_size, rope_.get(), cache, context.member);
  const WantedRows wanted(tokens, context, device());
  at::Tensor x = at::embedding(embedding_vd_, tokens.token_ids_t.to(device()));
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LlamaLayer& layer = layers_[i];
    CacheView view;
    if (cache != nullptr) view = cache->Layer(static_cast<int64_t>(i));
    const bool last = i + 1 == layers_.size();
    at::Tensor attended = Attend(layer, RmsNorm(x, layer.input_norm_d, config_.norm_eps), plan,
                                 last ? Queries::kFromFirstWanted : Queries::kAll, context, cache != nullptr ? &view : nullptr);
    if (last) {
      attended = wanted.Of(attended);
      x = wanted.Of(x);
    }
    const ForwardContext& rest = last ? wanted.context() : context;
    attended = AllGather(rest.member, attended);
    x = x + AllGather(rest.member, layer.o.Forward(attended, rest));
    const at::Tensor normed = RmsNorm(x, layer.post_attention_norm_d, config_.norm_eps);
    const at::Tensor gated = AllGather(rest.member, SiluProduct(layer.gate_up.Forward(normed, rest)));
    x = x + AllGather(rest.member, layer.down.Forward(gated, rest));
  }
  return RmsNorm(x, final_norm_d_, config_.norm_eps);
}

}  // namespace

StatusOr<std::shared_ptr<const Transformer>> MakeLlama(const ModelConfig& config, const NamedTensors& tensors,
                                                       const TransformerLoadOptions& options) {
  WeightReader reader(tensors, "model.", options);
  auto model = std::make_shared<const Llama>(config, options.dtype, reader);
  if (!reader.status().ok()) return reader.status();
  return model;
}

}  // namespace fedalt
