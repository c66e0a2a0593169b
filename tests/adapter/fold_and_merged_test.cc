// What a method folded into the base, and a rest of world that is merged into it: forward against the plain expression, gradients
// by finite differences in float64, with dropout on.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "adapter/fedalt_linear.h"
#include "base/random.h"
#include "model/safetensors.h"

namespace fedalt {
namespace {

constexpr int64_t kTokens = 7, kIn = 10, kOut = 6;
constexpr double kDropout = 0.5;  // kept entries count twice: exact in the mask's float32

at::Tensor Drawn(std::vector<int64_t> shape, uint64_t what) {
  const RandomStream stream(5, RandomPurpose::kData, {what});
  at::Tensor values = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < values.numel(); ++i) values.data_ptr<double>()[i] = 2.0 * stream.Uniform(static_cast<uint64_t>(i)) - 1.0;
  return values;
}

/// One linear with all that a layer can have; the rest of world has a rank of its own.
struct Layer {
  at::Tensor x_ti = Drawn({kTokens, kIn}, 1), dy_to = Drawn({kTokens, kOut}, 2);
  at::Tensor weight_oi = Drawn({kOut, kIn}, 3), bias_o = Drawn({kOut}, 4);
  LayerAdapters adapters{{Drawn({3, kIn}, 5), Drawn({kOut, 3}, 6)}, {Drawn({5, kIn}, 7), Drawn({kOut, 5}, 8)}, {}, {}};
  LayerMode mode;
  TokenRows rows;
  uint64_t key = 77, module_id = 9;

  Layer(MixerKind mixer, bool fold, BranchMode branches) {
    mode.scale = 2.0;
    mode.gain = 1.7;
    mode.dropout = kDropout;
    mode.mixer = mixer;
    mode.branches = branches;
    if (mixer == MixerKind::kToken) adapters.mixer = Drawn({2, kIn}, 10);
    if (fold) adapters.fold_oi = Drawn({kOut, kIn}, 11);
    for (int64_t t = 0; t < kTokens; ++t) {
      rows.example_ids.push_back(t / 4);
      rows.positions.push_back(t % 4);
    }
  }

  at::Tensor Forward(const LinearExtension& extension, bool training) const {
    const LinearStack stack({Linear("m", 0, weight_oi, bias_o)}, weight_oi, bias_o);
    const std::vector<const LinearExtension*> extensions = {&extension};
    ForwardContext context;
    context.extensions = &extensions;
    if (training) {
      context.rows = &rows;
      context.dropout_key = key;
    }
    return stack.Forward(x_ti, context);
  }
  FedaltLinear Make() const { return FedaltLinear(adapters, &mode, module_id); }

  /// The formula of adapter/fedalt_linear.h, and a merged rest of world, which reads x.
  at::Tensor Plain(bool training) const {
    const at::Tensor dropped = training ? x_ti * DropoutMask(rows, kIn, kDropout, key, module_id).to(at::kDouble) : x_ti;
    const bool merged = mode.mixer == MixerKind::kMerged, base = mode.branches == BranchMode::kBase;
    const bool others = mode.branches == BranchMode::kBoth, token = mode.mixer == MixerKind::kToken && others;
    at::Tensor p_t2 = at::ones({kTokens, 2}, at::kDouble);
    if (token) p_t2 = at::softmax(at::mm(x_ti, adapters.mixer.t()), 1);
    at::Tensor y = at::mm(x_ti, weight_oi.t()) + bias_o;
    const auto term = [](const LoraFactors& f, const at::Tensor& x) { return at::mm(at::mm(x, f.a_ri.t()), f.b_or.t()); };
    if (!base) y = y + p_t2.narrow(1, 0, 1) * term(adapters.individual, dropped) * mode.scale;
    if (others) y = y + p_t2.narrow(1, 1, 1) * term(adapters.rest_of_world, merged ? x_ti : dropped) * (mode.scale * mode.gain);
    return adapters.fold_oi.defined() && !base ? y + at::mm(x_ti, adapters.fold_oi.t()) : y;
  }

  NamedTensors Trained() const {
    NamedTensors trained = {{"x", x_ti}, {"A_I", adapters.individual.a_ri}, {"B_I", adapters.individual.b_or}};
    if (adapters.mixer.defined()) trained.emplace_back("G", adapters.mixer);
    return trained;
  }
};

using Parameters = std::tuple<MixerKind, bool, BranchMode>;

class FoldAndMerged : public ::testing::TestWithParam<Parameters> {
 protected:
  Layer layer_ = std::apply([](auto... p) { return Layer(p...); }, GetParam());
};

TEST_P(FoldAndMerged, EqualsThePlainExpression) {
  for (const bool training : {true, false})
    EXPECT_TRUE(at::allclose(layer_.Forward(layer_.Make(), training), layer_.Plain(training), 1e-12, 1e-12)) << training;
}

TEST_P(FoldAndMerged, PreparedEqualsAdd) {
  const FedaltLinear layer = layer_.Make();
  const std::unique_ptr<LinearExtension> prepared = layer.Prepared();
  ASSERT_NE(prepared, nullptr);
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::allclose(layer_.Forward(*prepared, false), layer_.Forward(layer, false), 1e-12, 1e-12));
}

TEST_P(FoldAndMerged, GradientsEqualFiniteDifferences) {
  for (const auto& [name, tensor] : layer_.Trained()) at::Tensor(tensor).requires_grad_();
  const FedaltLinear layer = layer_.Make();
  const auto loss = [&] { return (layer_.Forward(layer, true) * layer_.dy_to).sum(); };
  loss().backward();
  EXPECT_FALSE(layer_.adapters.rest_of_world.a_ri.grad().defined() || layer_.adapters.rest_of_world.b_or.grad().defined());
  EXPECT_FALSE(layer_.adapters.fold_oi.defined() && layer_.adapters.fold_oi.grad().defined());
  const at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  for (const auto& [name, tensor] : layer_.Trained()) {
    double* const values = tensor.data_ptr<double>();
    const at::Tensor gradient = tensor.grad().defined() ? tensor.grad().contiguous() : at::zeros_like(tensor);
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const double old = values[i];
      values[i] = old + kStep;
      const double up = loss().item<double>();
      values[i] = old - kStep;
      const double down = loss().item<double>();
      values[i] = old;
      EXPECT_NEAR(gradient.data_ptr<double>()[i], (up - down) / (2 * kStep), 1e-7) << name << " entry " << i;
    }
  }
}

std::string NameOf(const ::testing::TestParamInfo<Parameters>& info) {
  const auto [mixer, fold, branches] = info.param;
  return absl::StrCat(mixer == MixerKind::kMerged ? "Merged" : (mixer == MixerKind::kToken ? "Token" : "NoMixer"),
                      fold ? "Folded" : "",
                      branches == BranchMode::kBoth ? "" : (branches == BranchMode::kBase ? "Base" : "Alone"));
}

INSTANTIATE_TEST_SUITE_P(Layers, FoldAndMerged,
                         ::testing::Combine(::testing::Values(MixerKind::kMerged, MixerKind::kToken, MixerKind::kNone),
                                            ::testing::Bool(),
                                            ::testing::Values(BranchMode::kBoth, BranchMode::kIndividualAlone, BranchMode::kBase)),
                         NameOf);

TEST(Merged, BothWeightsAreOne) {
  Layer layer(MixerKind::kMerged, false, BranchMode::kBoth);
  EXPECT_TRUE(at::equal(layer.Make().IndividualWeight(layer.x_ti), at::ones({kTokens}, at::kFloat)));
}

// bfloat16 keeps 8 bits; the base's product, the fold's and the term's are each rounded to it: 4 * 2^-8 of the largest entry.
TEST(Folded, Bfloat16BaseAgreesWithFloat32) {
  Layer layer(MixerKind::kNone, true, BranchMode::kBoth);
  for (at::Tensor* tensor : {&layer.adapters.individual.a_ri, &layer.adapters.individual.b_or, &layer.adapters.rest_of_world.a_ri,
                             &layer.adapters.rest_of_world.b_or, &layer.adapters.fold_oi})
    *tensor = tensor->to(at::kFloat);
  layer.adapters.individual.b_or.requires_grad_();
  at::Tensor y[2], dx[2];
  const at::Tensor x = layer.x_ti, weight = layer.weight_oi, bias = layer.bias_o;
  for (const bool rounded : {false, true}) {
    const at::ScalarType dtype = rounded ? at::kBFloat16 : at::kFloat;
    layer.x_ti = x.to(dtype).requires_grad_();
    layer.weight_oi = weight.to(dtype);
    layer.bias_o = bias.to(dtype);
    y[rounded] = layer.Forward(layer.Make(), true);
    EXPECT_EQ(y[rounded].scalar_type(), dtype);
    y[rounded].backward(layer.dy_to.to(dtype));
    dx[rounded] = layer.x_ti.grad();
  }
  const auto near = [](const at::Tensor& a, const at::Tensor& b) {
    EXPECT_LT((a.to(at::kFloat) - b).abs().max().item<double>(), 4.0 / 256 * b.abs().max().item<double>());
  };
  near(y[1], y[0]);
  near(dx[1], dx[0]);
}

}  // namespace
}  // namespace fedalt
