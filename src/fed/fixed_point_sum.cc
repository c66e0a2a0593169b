#include "fed/fixed_point_sum.h"

#include <cmath>

#include "base/check.h"

namespace fedalt {
namespace {

constexpr double kGridScale = static_cast<double>(int64_t{1} << kGridBits);

/// round(weight * value * 2^40), ties to even; false if not finite or beyond int64.
bool OnGrid(float value, double weight, int64_t& q) {
  const double scaled = std::nearbyint(weight * static_cast<double>(value) * kGridScale);
  if (!(std::abs(scaled) < 0x1.0p62)) return false;  // also false for NaN
  q = static_cast<int64_t>(scaled);
  return true;
}

Status Refusal(float value, double weight, size_t index) {
  return TrainingError(
      absl::StrFormat("the contribution's value %zu is %g with weight %g: the sum takes finite values within +-2^22 in all; "
                      "lower the learning rate or the weights",
                      index, value, weight));
}

}  // namespace

Status FixedPointSum::Add(std::span<const float> theta, double weight) {
  FEDALT_CHECK(theta.size() == q_.size(), "a contribution has the length of the sum");
  int64_t q = 0, sum = 0;
  for (size_t i = 0; i < theta.size(); ++i)
    if (!OnGrid(theta[i], weight, q) || __builtin_add_overflow(q_[i], q, &sum)) return Refusal(theta[i], weight, i);
  for (size_t i = 0; i < theta.size(); ++i) {
    OnGrid(theta[i], weight, q);
    q_[i] += q;
  }
  return absl::OkStatus();
}

Status FixedPointSum::Subtract(std::span<const float> theta, double weight) {
  FEDALT_CHECK(theta.size() == q_.size(), "a contribution has the length of the sum");
  int64_t q = 0, sum = 0;
  for (size_t i = 0; i < theta.size(); ++i)
    if (!OnGrid(theta[i], weight, q) || __builtin_sub_overflow(q_[i], q, &sum)) return Refusal(theta[i], weight, i);
  for (size_t i = 0; i < theta.size(); ++i) {
    OnGrid(theta[i], weight, q);
    q_[i] -= q;
  }
  return absl::OkStatus();
}

Status FixedPointSum::Merge(const FixedPointSum& other) {
  FEDALT_CHECK(other.q_.size() == q_.size(), "partial sums have the same length");
  int64_t sum = 0;
  for (size_t i = 0; i < q_.size(); ++i)
    if (__builtin_add_overflow(q_[i], other.q_[i], &sum))
      return TrainingError(absl::StrCat("the sum overflows at value ", i, "; lower the weights"));
  for (size_t i = 0; i < q_.size(); ++i) q_[i] += other.q_[i];
  return absl::OkStatus();
}

std::vector<float> FixedPointSum::Values() const {
  std::vector<float> values(q_.size());
  // int64 -> double -> float could round twice; long double holds every int64, so this rounds once.
  for (size_t i = 0; i < q_.size(); ++i) values[i] = static_cast<float>(std::ldexp(static_cast<long double>(q_[i]), -kGridBits));
  return values;
}

}  // namespace fedalt
