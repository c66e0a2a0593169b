// Our own products against float64, at the edges of words, lines, tiles, panels and parts of the depth, whatever the threads.
#include "model/packed_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <type_traits>

#include "base/cpu_kernels.h"

namespace fedalt {
namespace {

struct Shape {
  int64_t rows, outputs, depth;
};
constexpr float kUntouched = 7.0f;

/// Rows of all three lie apart; what lies between those of the result is kUntouched.
template <typename Storage>
struct Product {
  Product(const Shape& shape, WeightOrder in_order, bool with_bias) : order(in_order) {
    const auto [rows, outputs, depth] = shape;
    at::manual_seed(static_cast<uint64_t>(rows * 31 + outputs * 7 + depth));
    const auto apart = [](const at::Tensor& values) {
      at::Tensor wide = at::full({values.size(0), values.size(1) + 5}, kUntouched).to(kType);
      wide.narrow(1, 0, values.size(1)).copy_(values);
      return wide;
    };
    x = apart(at::randn({rows, depth}));
    weight = apart(order == WeightOrder::kOutputs ? at::randn({outputs, depth}) : at::randn({depth, outputs}));
    y = apart(at::zeros({rows, outputs}));
    bias = with_bias ? at::randn({outputs}).to(kType) : at::Tensor();
    task = {{x.data_ptr<Storage>(), x.stride(0)},
            {weight.data_ptr<Storage>(), weight.stride(0)},
            order,
            with_bias ? bias.data_ptr<Storage>() : nullptr,
            {y.data_ptr<Storage>(), y.stride(0)},
            rows,
            outputs,
            depth};
  }

  void Run() { PackedProduct<Storage>(task); }
  at::Tensor Result() const { return y.narrow(1, 0, task.outputs); }
  at::Tensor Expected() const {
    const at::Tensor w = weight.narrow(1, 0, order == WeightOrder::kOutputs ? task.depth : task.outputs).to(at::kDouble);
    const at::Tensor product =
        at::mm(x.narrow(1, 0, task.depth).to(at::kDouble), order == WeightOrder::kOutputs ? w.t().contiguous() : w);
    return bias.defined() ? product + bias.to(at::kDouble) : product;
  }
  /// Of the greatest that may be summed.
  double Error() const {
    const double largest = std::sqrt(static_cast<double>(task.depth)) + 1.0;
    return task.rows * task.outputs == 0 ? 0.0
                                         : (Result().to(at::kDouble) - Expected()).abs().max().template item<double>() / largest;
  }

  static constexpr at::ScalarType kType = std::is_same_v<Storage, float> ? at::kFloat : at::kBFloat16;
  WeightOrder order;
  at::Tensor x, weight, bias, y;
  PackedProductTask<Storage> task;
};

template <typename Storage>
class PackedProductTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HasPackedProduct(Product<Storage>::kType)) GTEST_SKIP() << "this processor has no AVX-512 (with bfloat16 products)";
    threads_ = at::get_num_threads();
  }
  void TearDown() override { at::set_num_threads(threads_); }
  int threads_ = at::get_num_threads();
};
using Storages = ::testing::Types<float, at::BFloat16>;
TYPED_TEST_SUITE(PackedProductTest, Storages);

TYPED_TEST(PackedProductTest, EqualsTheProduct) {
  const double tolerance = std::is_same_v<TypeParam, float> ? 1e-5 : 1.0 / 64;
  for (const Shape& shape :
       {Shape{1, 1, 1}, Shape{14, 32, 16}, Shape{15, 33, 17}, Shape{13, 31, 15}, Shape{29, 100, 65}, Shape{100, 70, 129},
        Shape{40, 45, 2900}, Shape{31, 64, 5801}, Shape{300, 600, 40}, Shape{1000, 40, 700}, Shape{30, 3000, 20}})
    for (const WeightOrder order : {WeightOrder::kOutputs, WeightOrder::kDepth})
      for (const bool with_bias : {false, true}) {
        SCOPED_TRACE(::testing::Message() << shape.rows << " rows, " << shape.outputs << " outputs, depth " << shape.depth
                                          << (order == WeightOrder::kDepth ? " by depth" : " by outputs")
                                          << (with_bias ? " bias" : ""));
        Product<TypeParam> product(shape, order, with_bias);
        at::set_num_threads(1);
        product.Run();
        EXPECT_LT(product.Error(), tolerance);
        const at::Tensor one = product.y.clone();
        EXPECT_TRUE(product.y.narrow(1, shape.outputs, 5).eq(kUntouched).all().template item<bool>()) << "wrote outside";
        for (const int threads : {2, 3, 4}) {
          product.y.narrow(1, 0, shape.outputs).zero_();
          at::set_num_threads(threads);
          product.Run();
          EXPECT_TRUE(at::equal(product.y, one)) << threads << " threads change the bits";
        }
      }
}

TYPED_TEST(PackedProductTest, NothingToDoIsNothingDone) {
  for (const Shape& shape : {Shape{0, 5, 5}, Shape{5, 0, 5}}) {
    Product<TypeParam> product(shape, WeightOrder::kOutputs, false);
    const at::Tensor before = product.y.clone();
    product.Run();
    EXPECT_TRUE(at::equal(product.y, before));
  }
  Product<TypeParam> no_depth({3, 100, 0}, WeightOrder::kOutputs, true);
  no_depth.Run();
  EXPECT_TRUE(at::equal(no_depth.Result(), no_depth.bias.expand({3, 100}))) << "the bias is left";
}

TYPED_TEST(PackedProductTest, WhatIsNotFiniteStaysInItsRowAndItsOutput) {
  Product<TypeParam> product({20, 40, 33}, WeightOrder::kOutputs, false);
  product.x[3][32] = std::numeric_limits<float>::infinity();  // the last word is half filled for bfloat16
  product.weight[5][32] = std::numeric_limits<float>::quiet_NaN();
  product.Run();
  const at::Tensor finite = product.Result().to(at::kFloat).isfinite();
  for (int64_t r = 0; r < 20; ++r)
    for (int64_t o = 0; o < 40; ++o) EXPECT_EQ(finite[r][o].template item<bool>(), r != 3 && o != 5) << r << ' ' << o;
}

TEST(PackedProduct, IsForProcessorsThatHaveTheInstructions) {
  for (const CpuKernels most : {CpuKernels::kTensor, CpuKernels::kPortable, CpuKernels::kAvx2, CpuKernels::kAvx512}) {
    const CpuKernelsLimit limit(most);
    EXPECT_EQ(HasPackedProduct(at::kFloat), ActiveCpuKernels() >= CpuKernels::kAvx512);
    EXPECT_FALSE(HasPackedProduct(at::kBFloat16));
    EXPECT_FALSE(HasPackedProduct(at::kDouble));
  }
}

}  // namespace
}  // namespace fedalt
