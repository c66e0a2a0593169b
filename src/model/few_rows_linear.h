// A linear map of a few rows, as in decoding: the time is that of reading the weights once, which a general matrix product, made
// for many rows, does not reach.
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace fedalt {

/// Rows up to which FewRowsLinear is the better choice, and where the processor multiplies pairs of bfloat16 and the model is
/// bfloat16 (measured: docs/performance.md).
constexpr int64_t kFewRows = 16, kFewRowsOfPairs = 32;
/// Elements of a weight that are worth a thread of their own.
constexpr int64_t kLeastElements = 1 << 15;
/// Which of the two holds on this processor for a model of `type`.
int64_t FewRows(at::ScalarType type);

/// x (T, d_in) W (d_out, d_in)^T + b, in x's dtype (kFloat or kBFloat16, contiguous; b may be undefined). Products and sums in
/// float32. No gradients. Thread-safe; parallel inside; the same bits for any number of threads.
at::Tensor FewRowsLinear(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o);

/// Outputs first, first + 1, ..., `count` of them.
struct OutputRange {
  int64_t first = 0, count = 0;
};
/// The same for some outputs alone, side by side in the order of `ranges`, on the calling thread.
at::Tensor FewRowsLinear(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o,
                         const std::vector<OutputRange>& ranges);

/// Whether FewRowsLinear takes these.
bool TakesFewRows(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o);

}  // namespace fedalt
