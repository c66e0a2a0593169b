// A stack of linears against its linears computed one by one with plain tensor operations, extensions and gradients included.
#include "model/linear.h"

#include <gtest/gtest.h>

#include "model_test_data.h"

namespace fedalt {
namespace {

/// y += scale x, for square linears: a term with one trained number.
class Scaled final : public LinearExtension {
 public:
  explicit Scaled(double scale) : scale_(at::full({1}, scale, at::kDouble).set_requires_grad(true)) {}
  std::vector<at::Tensor> Parameters() const override { return {scale_}; }
  std::unique_ptr<Saved> Add(const at::Tensor& x, at::Tensor& y, const ForwardContext&, bool differentiable) const override {
    y.add_(x * scale_);
    return differentiable ? std::make_unique<Gradient>(scale_.detach()) : nullptr;
  }
  const at::Tensor& scale() const { return scale_; }

 private:
  class Gradient final : public Saved {
   public:
    explicit Gradient(at::Tensor scale) : scale_(std::move(scale)) {}
    std::vector<at::Tensor> Backward(const at::Tensor& x, const at::Tensor& d, at::Tensor* dx) const override {
      if (dx != nullptr) dx->add_(d * scale_);
      return {(x * d).sum().view({1})};
    }

   private:
    at::Tensor scale_;
  };
  at::Tensor scale_;
};

struct ThreeLinears {
  at::Tensor weight = at::randn({14, 5}, at::kDouble), bias = at::randn({14}, at::kDouble);
  LinearStack stack{{Part("a", 4, 0, 5), Part("b", 5, 5, 4), Part("c", 6, 9, 5)}, weight, bias};

  Linear Part(const std::string& name, int index, int64_t first, int64_t out) const {
    return Linear(name, index, weight.narrow(0, first, out), bias.narrow(0, first, out));
  }
};

TEST(LinearStack, IsItsLinearsSideBySideWithTheirTerms) {
  at::manual_seed(1);
  const ThreeLinears three;
  const Scaled first(0.7), third(-1.3);
  const std::vector<const LinearExtension*> extensions = {nullptr, nullptr, nullptr, nullptr, &first, nullptr, &third};
  ForwardContext context;
  context.extensions = &extensions;
  const at::Tensor x = at::randn({6, 5}, at::kDouble).set_requires_grad(true), d = at::randn({6, 14}, at::kDouble);
  std::vector<at::Tensor> expected_parts;
  for (const Linear& part : three.stack.parts()) expected_parts.push_back(at::linear(x, part.weight(), part.bias()));
  expected_parts[0] = expected_parts[0] + x * first.scale();
  expected_parts[2] = expected_parts[2] + x * third.scale();
  const at::Tensor expected = at::cat(expected_parts, 1);
  expected.backward(d);
  std::vector<at::Tensor> wanted;
  for (const at::Tensor& leaf : {x, first.scale(), third.scale()}) {
    wanted.push_back(leaf.grad().clone());
    leaf.mutable_grad().reset();
  }
  const at::Tensor y = three.stack.Forward(x, context);
  EXPECT_LE(MaxDifference(y, expected), 1e-14);
  y.backward(d);
  EXPECT_LE(MaxDifference(x.grad(), wanted[0]), 1e-13);
  EXPECT_LE(MaxDifference(first.scale().grad(), wanted[1]), 1e-13);
  EXPECT_LE(MaxDifference(third.scale().grad(), wanted[2]), 1e-13);
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::equal(three.stack.Forward(x, context), y)) << "with and without a graph: the same bits";
}

TEST(LinearStack, KeepsItsInputOnlyForTerms) {
  at::manual_seed(2);
  const ThreeLinears three;
  const Scaled first(0.5);
  const std::vector<const LinearExtension*> extensions = {nullptr, nullptr, nullptr, nullptr, &first};
  const ForwardContext plain, with_term{.extensions = &extensions};
  for (const bool has_term : {false, true}) {
    const at::Tensor leaf = at::randn({3, 5}, at::kDouble).set_requires_grad(true);
    at::Tensor x = leaf * 2.0;
    const at::Tensor same_memory = x.detach();
    const at::Tensor y = three.stack.Forward(x, has_term ? with_term : plain);
    x = at::Tensor();
    EXPECT_EQ(same_memory.storage().use_count() > 1, has_term);
    y.sum().backward();
    at::Tensor expected = 2.0 * three.weight.sum(0).expand({3, 5});
    if (has_term) expected = expected + 2.0 * 0.5;
    EXPECT_LT((leaf.grad() - expected).abs().max().item<double>(), 1e-12);
  }
}

TEST(LinearStack, WithoutTermsGradientsReachTheWeightsOfItsLinears) {
  at::manual_seed(2);
  const ThreeLinears three;
  const at::Tensor x = at::randn({6, 5}, at::kDouble), d = at::randn({6, 14}, at::kDouble);
  const Linear& second = three.stack.parts()[1];
  at::Tensor weight = second.weight(), bias = second.bias();
  weight.set_requires_grad(true);
  bias.set_requires_grad(true);
  three.stack.Forward(x, {}).backward(d);
  EXPECT_LE(MaxDifference(weight.grad(), at::mm(d.narrow(1, 5, 4).t(), x)), 1e-14);
  EXPECT_LE(MaxDifference(bias.grad(), d.narrow(1, 5, 4).sum(0)), 1e-14);
}

}  // namespace
}  // namespace fedalt
