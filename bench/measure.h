// Timing of pieces of work against a probe that runs in turn with them.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

namespace fedalt::bench {

double SecondsOf(const std::function<void()>& work);
double Median(std::vector<double> values);
/// Greatest resident memory of this process so far, in bytes.
double PeakBytes();

/// Floating-point operations per second of one product (tokens, in) x (in, out) of the given type: what the machine can do now.
class ProductProbe {
 public:
  ProductProbe(int64_t tokens, int64_t in, int64_t out, at::ScalarType dtype);
  /// Over `least_seconds` at least.
  double Rate(double least_seconds = 0.02) const;

 private:
  at::Tensor x_ti_, weight_oi_;
};

/// Bytes per second at which all threads read memory in large pages: some 60 ms of it.
double ReadBandwidth();

}  // namespace fedalt::bench
