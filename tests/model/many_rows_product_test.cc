// Products shared out among threads against float64, whatever the number of threads, and where nothing is shared.
#include "model/many_rows_product.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <functional>

namespace fedalt {
namespace {

void ForThreads(std::initializer_list<int> counts, const std::function<void()>& body) {
  const int threads = at::get_num_threads();
  for (const int count : counts) {
    SCOPED_TRACE(testing::Message() << count << " threads");
    at::set_num_threads(count);
    body();
  }
  at::set_num_threads(threads);
}

double Worst(const at::Tensor& got, const at::Tensor& expected_f64) {
  return (got.to(at::kDouble) - expected_f64).abs().max().item<double>() / (1.0 + expected_f64.abs().max().item<double>());
}

TEST(ManyRowsProduct, EqualsTheProduct) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble})
    for (const int64_t rows : {1, 255, 257, 600}) {
      SCOPED_TRACE(testing::Message() << dtype << ' ' << rows);
      at::manual_seed(static_cast<uint64_t>(rows));
      const double tolerance = dtype == at::kFloat ? 1e-5 : dtype == at::kDouble ? 1e-13 : 1.0 / 128;
      // The head's gradient has fewer rows than outputs, and its rows are a part of a larger tensor's.
      const at::Tensor w = at::randn({517, 40}).to(dtype), x = at::randn({rows, 40}).to(dtype), b = at::randn({517}).to(dtype),
                       d = at::randn({rows, 517}).to(dtype), larger = at::full({rows + 2, 40}, 7.0).to(dtype);
      const at::Tensor w64 = w.to(at::kDouble), forward = at::mm(x.to(at::kDouble), w64.t()),
                       backward = at::mm(d.to(at::kDouble), w64);
      ForThreads({1, 2, 3}, [&] {
        EXPECT_LT(Worst(ManyRowsLinear(x, w, {}), forward), tolerance);
        EXPECT_LT(Worst(ManyRowsLinear(x, w, b), forward + b.to(at::kDouble)), tolerance);
        EXPECT_LT(Worst(ManyRowsLinearBackward(d, w), backward), tolerance);
        at::Tensor dx = larger.narrow(0, 1, rows);
        ManyOutputsLinearBackward(d, w, dx);
        EXPECT_LT(Worst(dx, backward), tolerance);
        EXPECT_TRUE(larger[0].eq(7.0).all().item<bool>() && larger[rows + 1].eq(7.0).all().item<bool>()) << "wrote outside";
      });
    }
}

TEST(ManyRowsProduct, RepeatsTheSameBits) {
  const at::Tensor w = at::randn({517, 64}), x = at::randn({600, 64}), d = at::randn({600, 517});
  ForThreads({1, 2, 3}, [&] {
    at::Tensor first = at::empty({600, 64}), second = at::empty({600, 64});
    ManyOutputsLinearBackward(d, w, first);
    ManyOutputsLinearBackward(d, w, second);
    EXPECT_TRUE(at::equal(first, second));
    EXPECT_TRUE(at::equal(ManyRowsLinear(x, w, {}), ManyRowsLinear(x, w, {})));
  });
}

}  // namespace
}  // namespace fedalt
