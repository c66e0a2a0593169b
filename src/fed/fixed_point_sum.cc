#include "fed/fixed_point_sum.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/check.h"
#include "fed/grid_kernels.h"

namespace fedalt {
namespace {

constexpr double kGridScale = static_cast<double>(int64_t{1} << kGridBits);
constexpr int64_t kBlock = 2048;  // small enough that a piece of the sum stays in the cache while several pieces of theta come by
constexpr int64_t kGrain = 1 << 16;  // values that are worth a thread
constexpr double kLimit = 0x1.0p62;  // of one contribution, and of what needs no look at every sum

/// round(weight * value * 2^40), ties to even; false if not finite or beyond int64.
bool OnGrid(float value, double weight, int64_t& q) {
  const double scaled = std::nearbyint(weight * static_cast<double>(value) * kGridScale);
  if (!(std::abs(scaled) < kLimit)) return false;  // also false for NaN
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

Status FixedPointSum::Add(const std::vector<Contribution>& contributions) {
  for (const Contribution& contribution : contributions)
    FEDALT_CHECK(contribution.theta.size() == q_.size(), "a contribution has the length of the sum");
  // One pass, in the hope that everything fits: to read first, and add then, would take two.
  const Pass pass = AddBlocks(contributions, 1.0);
  if (pass.complete) {
    reach_ += pass.largest;
    return absl::OkStatus();
  }
  AddBlocks(contributions, -1.0);  // takes out the same blocks, exactly
  for (size_t i = 0; i < contributions.size(); ++i) {
    Status status = AddOneByOne(contributions[i]);
    if (status.ok()) continue;
    while (i-- > 0) FEDALT_CHECK(AddOneByOne({contributions[i].theta, -contributions[i].weight}).ok(), "what was added can go");
    return status;
  }
  return absl::OkStatus();
}

/// Adds the blocks that cannot overflow, whatever they meet in the sum. Which ones these are does not depend on the sign.
FixedPointSum::Pass FixedPointSum::AddBlocks(const std::vector<Contribution>& contributions, double sign) {
  static const GridKernel kernel = GridKernels().front();
  const auto length = static_cast<int64_t>(q_.size());
  Pass pass;
  std::mutex mutex;
  at::parallel_for(0, (length + kBlock - 1) / kBlock, kGrain / kBlock, [&](int64_t begin, int64_t end) {
    Pass mine;
    for (int64_t first = begin * kBlock; first < std::min(end * kBlock, length); first += kBlock) {
      const int64_t count = std::min(kBlock, length - first);
      double largest = 0.0;
      for (const auto& [theta, weight] : contributions)
        largest += std::abs(weight * kGridScale) * static_cast<double>(kernel.largest(theta.data() + first, count)) + 1.0;
      if (reach_ + largest < kLimit) {
        for (const auto& [theta, weight] : contributions)
          kernel.add(theta.data() + first, sign * weight * kGridScale, count, q_.data() + first);
        mine.largest = std::max(mine.largest, largest);
      } else {
        mine.complete = false;  // too large, or not a number
      }
    }
    std::lock_guard<std::mutex> lock(mutex);
    pass = {std::max(pass.largest, mine.largest), pass.complete && mine.complete};
  });
  return pass;
}

/// Add with a look at every single sum: finds the value that does not fit, or that all fit although `reach_` could not tell.
Status FixedPointSum::AddOneByOne(const Contribution& contribution) {
  const auto& [theta, weight] = contribution;
  int64_t q = 0, sum = 0;
  for (size_t i = 0; i < theta.size(); ++i)
    if (!OnGrid(theta[i], weight, q) || __builtin_add_overflow(q_[i], q, &sum)) return Refusal(theta[i], weight, i);
  reach_ = 0.0;
  for (size_t i = 0; i < theta.size(); ++i) {
    OnGrid(theta[i], weight, q);
    q_[i] += q;
    reach_ = std::max(reach_, std::abs(static_cast<double>(q_[i])));
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
  reach_ += other.reach_;
  return absl::OkStatus();
}

std::vector<float> FixedPointSum::Values() const {
  std::vector<float> values(q_.size());
  at::parallel_for(0, static_cast<int64_t>(q_.size()), kGrain, [&](int64_t begin, int64_t end) {
    // The conversion rounds once; the power of two is exact (a float reaches far below 2^-40).
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      values[i] = static_cast<float>(q_[i]) * static_cast<float>(1.0 / kGridScale);
  });
  return values;
}

}  // namespace fedalt
