// Gradients of whole tiny models in float64 against finite differences: in the parameters of extensions on every linear, and in the
// model's own parameters (pretraining).
#include <gtest/gtest.h>

#include "model/transformer.h"
#include "model_test_data.h"

namespace fedalt {
namespace {

// y += B A x.
class LowRank final : public LinearExtension {
 public:
  LowRank(int64_t in, int64_t out)
      : a(at::randn({2, in}, at::kDouble).mul_(0.3).set_requires_grad(true)),
        b(at::randn({out, 2}, at::kDouble).mul_(0.3).set_requires_grad(true)) {}
  std::vector<at::Tensor> Parameters() const override { return {a, b}; }
  std::unique_ptr<Saved> Add(const at::Tensor& x, at::Tensor& y, const ForwardContext&, bool differentiable) const override {
    y.add_(at::linear(at::linear(x, a), b));
    return differentiable ? std::make_unique<Gradients>(a, b) : nullptr;
  }

  class Gradients final : public Saved {
   public:
    Gradients(at::Tensor a, at::Tensor b) : a_(std::move(a)), b_(std::move(b)) {}
    std::vector<at::Tensor> Backward(const at::Tensor& x, const at::Tensor& d, at::Tensor* dx) const override {
      const at::Tensor through_b = at::mm(d, b_);
      if (dx != nullptr) dx->add_(at::mm(through_b, a_));
      return {at::mm(through_b.t(), x), at::mm(d.t(), at::linear(x, a_))};
    }

   private:
    at::Tensor a_, b_;
  };
  at::Tensor a, b;
};

class EveryFamily : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    at::manual_seed(7);
    model_ = LoadModel(ModelDirectory(GetParam()), at::kDouble);
    const Golden golden(ModelDirectory(GetParam()) / "golden.safetensors");
    tokens_ = golden.Packed();
    weights_ = at::randn(golden.Get("logits").sizes(), at::kDouble);
  }

  at::Tensor Loss(const ForwardContext& context) const {
    return (at::log_softmax(model_->Logits(model_->Hidden(tokens_, context)), 1) * weights_).sum();
  }

  // The analytic derivative of the loss along a random direction of one parameter against the central difference.
  void CheckDirection(at::Tensor parameter, const ForwardContext& context, const std::string& name) const {
    ASSERT_TRUE(parameter.grad().defined()) << name;
    const at::Tensor direction = at::randn(parameter.sizes(), at::kDouble);
    const double analytic = (parameter.grad() * direction).sum().item<double>();
    const at::NoGradGuard no_grad;
    constexpr double kStep = 1e-5;
    parameter.add_(direction, kStep);
    const double up = Loss(context).item<double>();
    parameter.add_(direction, -2 * kStep);
    const double down = Loss(context).item<double>();
    parameter.add_(direction, kStep);
    const double numeric = (up - down) / (2 * kStep);
    // The difference itself is off by about 1e-10 * (loss, third derivative) / step.
    EXPECT_NEAR(analytic, numeric, 1e-5 * std::max(1.0, std::abs(numeric))) << name;
    EXPECT_NE(analytic, 0.0) << name;
  }

  std::shared_ptr<const Transformer> model_;
  PackedTokens tokens_;
  at::Tensor weights_;
};
INSTANTIATE_TEST_SUITE_P(All, EveryFamily, testing::ValuesIn(ModelNames()), [](const auto& i) { return i.param; });

TEST_P(EveryFamily, GradientsReachTheExtensionOfEveryLinear) {
  std::vector<std::unique_ptr<LowRank>> owned;
  std::vector<const LinearExtension*> extensions;
  for (const Linear* linear : model_->linears()) {
    EXPECT_EQ(linear->index(), static_cast<int>(extensions.size()));
    owned.push_back(std::make_unique<LowRank>(linear->in_features(), linear->out_features()));
    extensions.push_back(owned.back().get());
  }
  ForwardContext context;
  context.extensions = &extensions;
  Loss(context).backward();
  for (size_t i = 0; i < owned.size(); ++i) {
    CheckDirection(owned[i]->a, context, model_->linears()[i]->name() + " A");
    CheckDirection(owned[i]->b, context, model_->linears()[i]->name() + " B");
  }
  for (const auto& [name, parameter] : model_->parameters()) EXPECT_FALSE(parameter.grad().defined()) << name;
}

TEST_P(EveryFamily, EveryParameterCanBeTrainedFromScratch) {
  // The loaded tensors may lie in the read-only map: train on copies.
  NamedTensors copies;
  for (const auto& [name, parameter] : model_->parameters()) copies.emplace_back(name, parameter.clone());
  auto model = Transformer::FromTensors(model_->config(), copies, {.dtype = at::kDouble});
  ASSERT_TRUE(model.ok()) << model.status();
  model_ = *model;
  for (auto& [name, parameter] : model_->parameters()) parameter.set_requires_grad(true);
  Loss({}).backward();
  for (const auto& [name, parameter] : model_->parameters()) CheckDirection(parameter, {}, name);
}

TEST_P(EveryFamily, ANullExtensionIsTheBase) {
  const std::vector<const LinearExtension*> extensions(2, nullptr);  // shorter than the list of linears, too
  ForwardContext context;
  context.extensions = &extensions;
  EXPECT_TRUE(at::equal(model_->Hidden(tokens_, context), model_->Hidden(tokens_, {})));
}

}  // namespace
}  // namespace fedalt
