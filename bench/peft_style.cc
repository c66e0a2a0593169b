#include "peft_style.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "base/check.h"

namespace fedalt::bench {
namespace {

// transformers: rotate_half and apply_rotary_pos_emb.
at::Tensor Rotate(const at::Tensor& x_bhld) {
  const int64_t length = x_bhld.size(2), d = x_bhld.size(3);
  const at::Tensor inverse = at::pow(10000.0, at::arange(0, d, 2, at::kFloat) / -static_cast<double>(d));
  const at::Tensor half = at::outer(at::arange(length, at::kFloat), inverse), angle = at::cat({half, half}, 1);
  const at::Tensor cos = angle.cos().to(x_bhld.scalar_type()), sin = angle.sin().to(x_bhld.scalar_type());
  const at::Tensor first = x_bhld.narrow(3, 0, d / 2), second = x_bhld.narrow(3, d / 2, d / 2);
  return x_bhld * cos + at::cat({-second, first}, 3) * sin;
}

}  // namespace

PeftStyleModel::PeftStyleModel(const Geometry& geometry, const Transformer& model, const SiteAdapters& adapters)
    : geometry_(geometry), scale_(adapters.config().scale()), dropout_(adapters.config().lora_dropout) {
  for (const auto& [name, tensor] : model.parameters()) weights_[name] = tensor;
  for (size_t i = 0; i < adapters.modules().size(); ++i) {
    const LayerAdapters& from = adapters.layer(i).adapters();
    Adapted one{from.individual.a_ri.clone(), from.individual.b_or.clone(), from.rest_of_world.a_ri.clone(),
                from.rest_of_world.b_or.clone(), from.mixer.clone()};
    for (const at::Tensor& tensor : {one.a_individual, one.b_individual, one.mixer}) {
      trained_.push_back(tensor.requires_grad_());
      first_moments_.push_back(at::zeros_like(tensor));
      second_moments_.push_back(at::zeros_like(tensor));
    }
    adapted_[adapters.modules()[i].name] = one;
  }
}

at::Tensor PeftStyleModel::Linear(const std::string& name, const at::Tensor& x) const {
  const at::Tensor y = at::linear(x, weights_.at(name + ".weight"));
  const auto found = adapted_.find(name);
  if (found == adapted_.end()) return y;
  const Adapted& adapted = found->second;
  const at::Tensor wide = x.to(at::kFloat), dropped = at::dropout(wide, dropout_, /*train=*/true);
  const at::Tensor p = at::softmax(at::linear(wide, adapted.mixer), -1);
  const at::Tensor individual = at::linear(at::linear(dropped, adapted.a_individual), adapted.b_individual);
  const at::Tensor rest = at::linear(at::linear(dropped, adapted.a_rest), adapted.b_rest);
  return y + ((individual * p.narrow(-1, 0, 1) + rest * p.narrow(-1, 1, 1)) * scale_).to(y.scalar_type());
}

at::Tensor PeftStyleModel::Norm(const std::string& name, const at::Tensor& x) const {
  const at::Tensor wide = x.to(at::kFloat);
  return weights_.at(name) * (wide * at::rsqrt(wide.pow(2).mean(-1, /*keepdim=*/true) + 1e-6)).to(x.scalar_type());
}

at::Tensor PeftStyleModel::Attention(const std::string& prefix, const at::Tensor& x_bld) const {
  const int64_t batch = x_bld.size(0), length = x_bld.size(1), head_dim = geometry_.hidden / geometry_.heads;
  const auto heads = [&](const char* name) {
    return Linear(prefix + name, x_bld).view({batch, length, geometry_.heads, head_dim}).transpose(1, 2);
  };
  const at::Tensor q = Rotate(heads("q_proj")), k = Rotate(heads("k_proj")), v = heads("v_proj");
  const at::Tensor mask = at::full({length, length}, -1e9, q.options()).triu(1);
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(head_dim)) + mask;
  const at::Tensor out = at::matmul(at::softmax(scores, -1, at::kFloat).to(q.scalar_type()), v);
  return Linear(prefix + "o_proj", out.transpose(1, 2).reshape({batch, length, geometry_.hidden}));
}

double PeftStyleModel::Step(const std::vector<TokenizedExample>& examples) {
  const at::AutoGradMode with_gradients(true);
  std::vector<at::Tensor> inputs, targets;
  for (const TokenizedExample& example : examples) {
    const at::Tensor ids = at::tensor(at::ArrayRef<int32_t>(example.tokens), at::kLong);
    inputs.push_back(ids.narrow(0, 0, ids.size(0) - 1));
    targets.push_back(ids.narrow(0, 1, ids.size(0) - 1));
  }
  at::Tensor x = at::embedding(weights_.at("model.embed_tokens.weight"), at::stack(inputs));
  for (int64_t layer = 0; layer < geometry_.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    x = x + Attention(prefix + "self_attn.", Norm(prefix + "input_layernorm.weight", x));
    const at::Tensor normed = Norm(prefix + "post_attention_layernorm.weight", x);
    x = x + Linear(prefix + "mlp.down_proj",
                   at::silu(Linear(prefix + "mlp.gate_proj", normed)) * Linear(prefix + "mlp.up_proj", normed));
  }
  const at::Tensor logits = at::linear(Norm("model.norm.weight", x), weights_.at("lm_head.weight")).to(at::kFloat);
  const at::Tensor loss = at::cross_entropy_loss(logits.view({-1, geometry_.vocab}), at::stack(targets).view({-1}));
  const auto gradients = torch::autograd::grad({loss}, trained_);
  const at::NoGradGuard no_grad;
  ++step_;
  for (size_t i = 0; i < trained_.size(); ++i) {
    first_moments_[i].mul_(0.9).add_(gradients[i], 0.1);
    second_moments_[i].mul_(0.999).addcmul_(gradients[i], gradients[i], 0.001);
    const double correction = std::sqrt(1 - std::pow(0.999, step_)) / (1 - std::pow(0.9, step_));
    trained_[i].addcdiv_(first_moments_[i], second_moments_[i].sqrt().add_(1e-8), -3e-4 * correction);
  }
  return loss.item<double>();
}

}  // namespace fedalt::bench
