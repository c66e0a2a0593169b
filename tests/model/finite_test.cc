// Against libtorch's own isfinite, on values planted at every kind of place.
#include "model/finite.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

namespace fedalt {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

std::optional<int64_t> ByLibtorch(const at::Tensor& values) {
  const at::Tensor places = at::isfinite(values).logical_not().flatten().nonzero().flatten();
  return places.numel() == 0 ? std::nullopt : std::optional<int64_t>(places[0].item<int64_t>());
}

TEST(FirstNonFinite, FindsThePlaceThatLibtorchFinds) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf})
    for (const double planted : {kNan, kInfinity, -kInfinity})
      for (const int64_t size : {int64_t{1}, int64_t{7}, int64_t{1025}, int64_t{300'001}, int64_t{2'000'000}})
        for (const int64_t place : {int64_t{0}, size / 2, size - 1}) {
          const at::Tensor values = at::linspace(-1e4, 1e4, size, at::kFloat).to(type);
          EXPECT_EQ(FirstNonFinite(values), std::nullopt);
          values[place] = planted;
          values[size - 1] = planted;  // a later one, too
          EXPECT_EQ(FirstNonFinite(values), ByLibtorch(values)) << type << " of " << size << " at " << place;
        }
}

TEST(FirstNonFinite, TheGreatestNumbersAreFinite) {
  EXPECT_EQ(FirstNonFinite(at::full({5}, std::numeric_limits<float>::max())), std::nullopt);
  EXPECT_EQ(FirstNonFinite(at::full({5}, -65504.0, at::kHalf)), std::nullopt);
  EXPECT_EQ(FirstNonFinite(at::full({5}, 3.3895e38, at::kBFloat16)), std::nullopt);
}

TEST(FirstNonFinite, SeesTheOrderOfAView) {
  const at::Tensor values = at::zeros({3, 4});
  values[2][1] = kNan;
  EXPECT_EQ(FirstNonFinite(values.t()), 1 * 3 + 2);
  EXPECT_EQ(FirstNonFinite(values.narrow(0, 0, 2)), std::nullopt);
  EXPECT_EQ(FirstNonFinite(at::Tensor()), std::nullopt);
  EXPECT_EQ(FirstNonFinite(at::ones({3}, at::kLong)), std::nullopt);
}

TEST(CheckFinite, NamesTensorAndPlace) {
  const at::Tensor values = at::zeros({3, 4});
  EXPECT_TRUE(CheckFinite("w", values).ok());
  values[2][1] = -kInfinity;
  const Status status = CheckFinite("layers.0.w", values);
  EXPECT_EQ(KindOf(status), ErrorKind::kModel);
  EXPECT_NE(status.message().find("layers.0.w"), std::string::npos) << status;
  EXPECT_NE(status.message().find("-inf at [2, 1]"), std::string::npos) << status;
}

}  // namespace
}  // namespace fedalt
