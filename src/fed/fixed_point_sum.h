// The sum of the sites' contributions: int64 fixed point on a grid of 2^-40, so it is exact, independent of the order of arrival
// and of how the work is divided. Machine, cluster, network and (on a coarser grid) the secure sum share this code.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace fedalt {

inline constexpr int kGridBits = 40;  ///< step 2^-40

/// S = sum_k w_k theta_k over flat vectors of equal length, and W = sum_k w_k. A later contribution of a site can replace an
/// earlier one by Subtract + Add. Not thread-safe; merging partial sums (Merge) is exact.
class FixedPointSum {
 public:
  explicit FixedPointSum(size_t length) : q_(length, 0) {}

  /// q += round(weight * theta * 2^40). Errors (kTraining): a non-finite value, or a sum outside
  /// of about +-2^22; the sum is then unchanged.
  Status Add(std::span<const float> theta, double weight);
  /// Exactly undoes Add of the same arguments.
  Status Subtract(std::span<const float> theta, double weight);
  Status Merge(const FixedPointSum& other);

  /// S rounded to float32 once.
  std::vector<float> Values() const;
  size_t length() const { return q_.size(); }
  const std::vector<int64_t>& grid() const { return q_; }

 private:
  std::vector<int64_t> q_;
};

}  // namespace fedalt
