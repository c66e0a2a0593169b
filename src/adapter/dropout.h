// Dropout as a function of an address: which entries of x are dropped depends on (step key, module, example, position, feature)
// alone, so packing, batch order, threads and machines do not move a mask, and the backward pass draws it again instead of keeping
// it.
//
// The draws, exactly (Philox4x32-10 of base/random.h, 32-bit words, `lo` and `hi` the halves of a 64-bit number):
//
//   k            = Philox(dropout_key, {lo(module_id), hi(module_id), 0, 0x6B73616D}); key = k[0] + 2^32 k[1]
//   feature f    = 64 g + 16 w + l  with  0 <= w < 4, 0 <= l < 16
//   draw         = word w of Philox(key, {16 g + l, lo(position), lo(example_id), hi(example_id)})
//   dropped      when draw < round(p 2^32); a kept entry is multiplied by 1 / (1 - p)
//
// One block thus serves four features, and sixteen blocks fill 64 neighbours in an order that vector units store directly.
// tests/golden/layer.py holds the same in Python. Values of this type are immutable and may be used from several threads.
// Shapes: t token, i input feature.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "model/linear.h"

namespace fedalt {

/// The mask of one linear in one step. Keeps its own copy of the addresses, so it may outlive `rows`.
class DropoutDraws {
 public:
  /// 0 <= p < 1.
  DropoutDraws(const TokenRows& rows, double p, uint64_t dropout_key, uint64_t module_id);

  /// mask * x as a new tensor of `dtype` (kFloat or kDouble); x (T, d) is kBFloat16, kFloat or kDouble.
  at::Tensor Apply(const at::Tensor& x_ti, at::ScalarType dtype) const;
  /// gradient *= mask in place (T, d), kFloat or kDouble.
  void ApplyInPlace(at::Tensor& gradient_ti) const;
  /// Both with one pass over the draws.
  at::Tensor ApplyBoth(const at::Tensor& x_ti, at::Tensor& gradient_ti) const;

 private:
  at::Tensor Run(const at::Tensor* x_ti, at::Tensor* gradient_ti, at::ScalarType dtype) const;

  std::vector<int64_t> example_ids_, positions_;
  uint64_t key_ = 0;
  uint32_t threshold_ = 0;
  double kept_value_ = 1.0;
};

/// The mask itself (T, d_in): 0 or 1 / (1 - p), float32.
at::Tensor DropoutMask(const TokenRows& rows, int64_t features, double p, uint64_t dropout_key, uint64_t module_id);

}  // namespace fedalt
