// The FedALT layer: outputs and every gradient against float64 references and finite differences, against the layer in PEFT's
// style, and what must not change.
#include "adapter/fedalt_linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/random.h"

namespace fedalt {
namespace {

using nlohmann::json;

const json& Golden() {
  static const json golden = json::parse(std::ifstream(FEDALT_TEST_DATA "/adapter/layer.json"));
  return golden;
}

at::Tensor ToTensor(const json& values, std::vector<int64_t> shape, at::ScalarType dtype = at::kDouble) {
  const std::vector<double> numbers = values;
  return at::tensor(numbers, at::kDouble).view(shape).to(dtype);
}

double Worst(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

const std::map<std::string, MixerKind> kMixers = {
    {"token", MixerKind::kToken}, {"layer", MixerKind::kLayer}, {"fixed", MixerKind::kFixed}, {"none", MixerKind::kNone}};
const std::map<std::string, BranchMode> kBranches = {{"both", BranchMode::kBoth},
                                                     {"rest_of_world_off", BranchMode::kRestOfWorldOff},
                                                     {"individual_off", BranchMode::kIndividualOff},
                                                     {"individual_alone", BranchMode::kIndividualAlone},
                                                     {"rest_of_world_alone", BranchMode::kRestOfWorldAlone},
                                                     {"base", BranchMode::kBase}};

LinearStack OneLinear(const at::Tensor& weight, const at::Tensor& bias) {
  return LinearStack({Linear("m", 0, weight, bias)}, weight, bias);
}

struct Fixture {
  at::Tensor x, dy;
  LinearStack base;
  LayerAdapters adapters;
  LayerMode mode;
  TokenRows rows;
  uint64_t dropout_key = 0, module_id = 0;

  at::Tensor Forward(const FedaltLinear& layer, ForwardContext context) const {
    const std::vector<const LinearExtension*> extensions = {&layer};
    context.extensions = &extensions;
    return base.Forward(x, context);
  }
  at::Tensor Forward(const FedaltLinear& layer) const {
    ForwardContext context;
    context.rows = &rows;
    context.dropout_key = dropout_key;
    return Forward(layer, context);
  }
};

Fixture FromCase(const json& reference, const json& c) {
  const int64_t t = reference["shapes"]["T"], in = reference["shapes"]["d_in"], out = reference["shapes"]["d_out"],
                r = reference["shapes"]["r"];
  const json& inputs = reference["inputs"];
  Fixture f;
  f.x = ToTensor(inputs["x"], {t, in});
  f.dy = ToTensor(inputs["dy"], {t, out});
  f.base = OneLinear(ToTensor(inputs["w0"], {out, in}), ToTensor(inputs["bias"], {out}));
  f.adapters.individual = {ToTensor(inputs["a_i"], {r, in}), ToTensor(inputs["b_i"], {out, r})};
  f.adapters.rest_of_world = {ToTensor(inputs["a_r"], {r, in}), ToTensor(inputs["b_r"], {out, r})};
  if (c["zero_rest_of_world"]) f.adapters.rest_of_world.b_or.zero_();
  if (c["mixer"] == "layer") f.adapters.mixer = ToTensor(inputs["mixer_layer"], {2});
  if (c["mixer"] == "token") f.adapters.mixer = ToTensor(inputs["mixer_token"], {2, in});
  f.mode.scale = c["scale"];
  f.mode.gain = c["gain"];
  f.mode.dropout = c["dropout"];
  f.mode.mixer = kMixers.at(c["mixer"]);
  f.mode.fixed_p = c["fixed_p"];
  f.mode.mixer_active = c["mixer_active"];
  f.mode.branches = kBranches.at(c["branches"]);
  f.rows = {reference["rows"]["example_ids"], reference["rows"]["positions"]};
  f.dropout_key = reference["dropout_key"];
  f.module_id = reference["module_id"];
  return f;
}

void RequireGradients(Fixture& f) {
  f.x.requires_grad_();
  f.adapters.individual.a_ri.requires_grad_();
  f.adapters.individual.b_or.requires_grad_();
  if (f.adapters.mixer.defined()) f.adapters.mixer.requires_grad_();
}

/// A gradient that the reference does not have is zero or absent here.
void ExpectGradient(const json& want, const at::Tensor& tensor, const std::string& what) {
  if (!tensor.defined()) return;
  const at::Tensor got = tensor.grad();
  if (want.is_null()) {
    EXPECT_TRUE(!got.defined() || got.abs().max().item<double>() == 0.0) << what;
    return;
  }
  const at::Tensor expected = ToTensor(want, tensor.sizes().vec());
  if (!got.defined()) {
    EXPECT_EQ(expected.abs().max().item<double>(), 0.0) << what << " is missing";
    return;
  }
  EXPECT_LT(Worst(got, expected), 1e-9) << what;
}

TEST(FedaltLinear, OutputsAndGradientsEqualTheFormulaInFloat64) {
  const json& reference = Golden()["reference"];
  ASSERT_GE(reference["cases"].size(), 19u);
  for (const json& c : reference["cases"]) {
    SCOPED_TRACE((json{c["mixer"], c["branches"], c["gain"], c["dropout"], c["mixer_active"], c["zero_rest_of_world"]}.dump()));
    Fixture f = FromCase(reference, c);
    RequireGradients(f);
    const FedaltLinear layer(f.adapters, &f.mode, f.module_id);
    const at::Tensor y = f.Forward(layer);
    EXPECT_LT(Worst(y, ToTensor(c["y"], y.sizes().vec())), 1e-9);
    y.backward(f.dy);
    ExpectGradient(c["dx"], f.x, "dx");
    ExpectGradient(c["da_i"], f.adapters.individual.a_ri, "dA_I");
    ExpectGradient(c["db_i"], f.adapters.individual.b_or, "dB_I");
    ExpectGradient(c["dmixer"], f.adapters.mixer, "dG");
    EXPECT_FALSE(f.adapters.rest_of_world.a_ri.grad().defined() || f.adapters.rest_of_world.b_or.grad().defined());
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(f.Forward(layer), y)) << "with and without a graph: the same bits";
  }
}

TEST(FedaltLinear, GradientsEqualFiniteDifferences) {
  const json& reference = Golden()["reference"];
  for (const char* mixer : {"token", "layer"}) {
    json c = reference["cases"][0];
    c["mixer"] = mixer;
    c["gain"] = 1.7;
    c["dropout"] = 0.25;
    Fixture f = FromCase(reference, c);
    RequireGradients(f);
    const FedaltLinear layer(f.adapters, &f.mode, f.module_id);
    (f.Forward(layer) * f.dy).sum().backward();
    const auto loss = [&] { return (f.Forward(layer) * f.dy).sum().item<double>(); };
    const at::NoGradGuard no_grad;
    for (const at::Tensor& tensor : {f.x, f.adapters.individual.a_ri, f.adapters.individual.b_or, f.adapters.mixer}) {
      double* values = tensor.data_ptr<double>();
      for (int64_t i = 0; i < tensor.numel(); i += 7) {
        const double old = values[i], step = 1e-5;
        values[i] = old + step;
        const double up = loss();
        values[i] = old - step;
        const double down = loss();
        values[i] = old;
        EXPECT_NEAR(tensor.grad().view({-1})[i].item<double>(), (up - down) / (2 * step), 1e-7) << mixer << " entry " << i;
      }
    }
  }
}

/// The fixture of the PEFT-style reference, with the base in `dtype`.
Fixture PeftStyle(const json& p, at::ScalarType dtype) {
  const int64_t t = p["shapes"]["T"], in = p["shapes"]["d_in"], out = p["shapes"]["d_out"], r = p["shapes"]["r"];
  const json& inputs = p["inputs"];
  const auto tensor = [&](const char* name, std::vector<int64_t> shape) { return ToTensor(inputs[name], shape, at::kFloat); };
  Fixture f;
  f.x = tensor("x", {t, in}).to(dtype);
  f.dy = tensor("dy", {t, out}).to(dtype);
  f.base = OneLinear(tensor("w0", {out, in}).to(dtype), tensor("bias", {out}).to(dtype));
  f.adapters.individual = {tensor("a_i", {r, in}), tensor("b_i", {out, r})};
  f.adapters.rest_of_world = {tensor("a_r", {r, in}), tensor("b_r", {out, r})};
  f.adapters.mixer = tensor("mixer", {2, in});
  f.mode.scale = p["scale"];
  f.mode.dropout = p["dropout"];
  f.rows = {p["rows"]["example_ids"], p["rows"]["positions"]};
  f.dropout_key = Golden()["reference"]["dropout_key"];
  f.module_id = Golden()["reference"]["module_id"];
  RequireGradients(f);
  return f;
}

TEST(FedaltLinear, EqualsTheLayerInPeftStyle) {
  const json& p = Golden()["peft_style"];
  Fixture f = PeftStyle(p, at::kFloat);
  const FedaltLinear layer(f.adapters, &f.mode, f.module_id);
  const at::Tensor y = f.Forward(layer);
  y.backward(f.dy);
  const json& want = p["expected"];
  const auto near = [&](const char* name, const at::Tensor& got) {
    const at::Tensor expected = ToTensor(want[name], got.sizes().vec());
    EXPECT_LT(Worst(got, expected), 1e-5 * std::max(1.0, expected.abs().max().item<double>())) << name;
  };
  near("y", y);
  near("dx", f.x.grad());
  near("da_i", f.adapters.individual.a_ri.grad());
  near("db_i", f.adapters.individual.b_or.grad());
  near("dmixer", f.adapters.mixer.grad());
}

// bfloat16 keeps 8 bits: inputs, weights and results of the base are off by up to 2^-9 each, so 3 * 2^-8 of the largest entry is
// allowed.
TEST(FedaltLinear, Bfloat16BaseAgreesWithFloat32) {
  const json& p = Golden()["peft_style"];
  Fixture exact = PeftStyle(p, at::kFloat), rounded = PeftStyle(p, at::kBFloat16);
  const FedaltLinear exact_layer(exact.adapters, &exact.mode, exact.module_id),
      layer(rounded.adapters, &rounded.mode, rounded.module_id);
  const at::Tensor y = exact.Forward(exact_layer), y16 = rounded.Forward(layer);
  EXPECT_EQ(y16.scalar_type(), at::kBFloat16);
  y.backward(exact.dy);
  y16.backward(rounded.dy);
  EXPECT_EQ(rounded.x.grad().scalar_type(), at::kBFloat16);
  EXPECT_EQ(rounded.adapters.individual.a_ri.grad().scalar_type(), at::kFloat);
  const auto near = [](const at::Tensor& a, const at::Tensor& b) {
    EXPECT_LT(Worst(a, b), 3.0 / 256 * b.abs().max().item<double>());
  };
  near(y16, y);
  near(rounded.x.grad(), exact.x.grad());
  near(rounded.adapters.individual.a_ri.grad(), exact.adapters.individual.a_ri.grad());
  near(rounded.adapters.individual.b_or.grad(), exact.adapters.individual.b_or.grad());
  near(rounded.adapters.mixer.grad(), exact.adapters.mixer.grad());
}

TEST(FedaltLinear, ZeroAndAbsentRestOfWorldAreTheSameBits) {
  const json& reference = Golden()["reference"];
  json c = reference["cases"][1];
  c["zero_rest_of_world"] = true;
  const Fixture zero = FromCase(reference, c);
  Fixture absent = FromCase(reference, c);
  absent.adapters.rest_of_world = {};
  EXPECT_TRUE(at::equal(zero.Forward(FedaltLinear(zero.adapters, &zero.mode, zero.module_id)),
                        absent.Forward(FedaltLinear(absent.adapters, &absent.mode, absent.module_id))));
}

TEST(FedaltLinear, FrozenAGetsNoGradientAndTheOthersStayTheSame) {
  const json& reference = Golden()["reference"];
  Fixture all = FromCase(reference, reference["cases"][1]), frozen = FromCase(reference, reference["cases"][1]);
  RequireGradients(all);
  frozen.adapters.individual.b_or.requires_grad_();
  frozen.adapters.mixer.requires_grad_();
  all.Forward(FedaltLinear(all.adapters, &all.mode, all.module_id)).backward(all.dy);
  frozen.Forward(FedaltLinear(frozen.adapters, &frozen.mode, frozen.module_id)).backward(frozen.dy);
  EXPECT_FALSE(frozen.adapters.individual.a_ri.grad().defined());
  EXPECT_FALSE(frozen.x.grad().defined());
  EXPECT_TRUE(at::equal(frozen.adapters.individual.b_or.grad(), all.adapters.individual.b_or.grad()));
  EXPECT_TRUE(at::equal(frozen.adapters.mixer.grad(), all.adapters.mixer.grad()));
}

TEST(FedaltLinear, WithoutRowsThereIsNoDropout) {
  const json& reference = Golden()["reference"];
  const Fixture f = FromCase(reference, reference["cases"][1]);
  LayerMode without = f.mode;
  without.dropout = 0.0;
  EXPECT_TRUE(at::equal(f.Forward(FedaltLinear(f.adapters, &f.mode, f.module_id), {}),
                        f.Forward(FedaltLinear(f.adapters, &without, f.module_id), {})));
}

TEST(FedaltLinear, IndividualWeightIsTheMixersSoftmax) {
  const json& reference = Golden()["reference"];
  Fixture f = FromCase(reference, reference["cases"][0]);
  const FedaltLinear layer(f.adapters, &f.mode, 1);
  const at::Tensor want = at::softmax(at::matmul(f.x, f.adapters.mixer.t()), 1).select(1, 0);
  EXPECT_LT(Worst(layer.IndividualWeight(f.x), want), 1e-6);
  f.mode.mixer_active = false;
  EXPECT_TRUE(at::equal(layer.IndividualWeight(f.x), at::full({f.x.size(0)}, 0.5, at::kFloat)));
  f.mode.mixer = MixerKind::kFixed;
  f.mode.fixed_p = 0.25;
  EXPECT_TRUE(at::equal(layer.IndividualWeight(f.x), at::full({f.x.size(0)}, 0.25, at::kFloat)));
  f.mode.mixer = MixerKind::kNone;
  EXPECT_TRUE(at::equal(layer.IndividualWeight(f.x), at::ones({f.x.size(0)}, at::kFloat)));
}

}  // namespace
}  // namespace fedalt
