// The sum of the sites' contributions: int64 fixed point on a grid of 2^-40, so it is exact, independent of the order of arrival
// and of how the work is divided. Machine, cluster, network and (on a coarser grid) the secure sum share this code.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace fedalt {

inline constexpr int kGridBits = 40;  ///< step 2^-40
/// No |S| may be greater. So `n` contributions always fit together if each |w theta| is at most kSumReach / n.
inline constexpr double kSumReach = 0x1.0p22;

/// w_k theta_k; theta is borrowed.
struct Contribution {
  std::span<const float> theta;
  double weight = 1.0;
};

/// S = sum_k w_k theta_k over flat vectors of equal length, and W = sum_k w_k. A later contribution of a site can replace an
/// earlier one by Subtract + Add. Not thread-safe, but each call works on libtorch's threads; merging partial sums (Merge) is
/// exact.
class FixedPointSum {
 public:
  explicit FixedPointSum(size_t length) : q_(length, 0) {}

  /// q += round(weight * theta * 2^40). Errors (kTraining): a non-finite value, or a sum outside
  /// of about +-2^22 (the message names the first such value); the sum is then unchanged.
  Status Add(std::span<const float> theta, double weight) { return Add(std::vector<Contribution>{{theta, weight}}); }
  /// Several at once, all or (on an error) none: each part of the sum is read and written once for all of them.
  Status Add(const std::vector<Contribution>& contributions);
  /// Exactly undoes Add of the same arguments.
  Status Subtract(std::span<const float> theta, double weight) { return Add(theta, -weight); }
  Status Merge(const FixedPointSum& other);

  /// S rounded to float32 once.
  std::vector<float> Values() const;
  size_t length() const { return q_.size(); }
  const std::vector<int64_t>& grid() const { return q_; }

 private:
  struct Pass {
    double largest = 0.0;  ///< sum over the contributions of |weight * theta * 2^40|, at most
    bool complete = true;  ///< false: blocks were left out
  };
  Pass AddBlocks(const std::vector<Contribution>& contributions, double sign);
  Status AddOneByOne(const Contribution& contribution);

  std::vector<int64_t> q_;
  double reach_ = 0.0;  ///< no |q| is greater
};

}  // namespace fedalt
