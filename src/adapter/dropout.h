// Dropout as a function of an address: which entries of x are dropped depends on (step key, module, example, position, feature)
// alone, so packing, batch order, threads and machines do not move a mask. The forward pass draws it and keeps one bit per entry
// for the backward.
//
// The draws, exactly (Philox4x32-10 of base/random.h, 32-bit words, `lo` and `hi` the halves of a 64-bit number):
//
//   k            = Philox(dropout_key, {lo(module_id), hi(module_id), 0, 0x6B73616D}); key = k[0] + 2^32 k[1]
//   feature f    = 64 g + 16 w + l  with  0 <= w < 4, 0 <= l < 16
//   draw         = word w of Philox(key, {16 g + l, lo(position), lo(example_id), hi(example_id)})
//   dropped      when draw < round(p 2^32); a kept entry is multiplied by 1 / (1 - p)
//
// One block thus serves four features, and sixteen blocks fill 64 neighbours in an order that vector units store directly.
// tests/golden/layer.py holds the same in Python. Stateless, any thread; parallel inside.
// Shapes: t token, i input feature.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "model/linear.h"

namespace fedalt {

inline constexpr int64_t kWordBits = 16;

/// The mask of one linear in one step: bit f % kWordBits of words[t][f / kWordBits] says whether entry (t, f) is kept.
struct DropoutBits {
  at::Tensor words;         ///< (T, ceil(d / kWordBits)), kShort
  double kept_value = 1.0;  ///< 1 / (1 - p)
};

/// 0 <= p < 1.
DropoutBits DrawDropout(const TokenRows& rows, int64_t features, double p, uint64_t dropout_key, uint64_t module_id);

/// The mask itself (T, d_in): 0 or 1 / (1 - p), float32.
at::Tensor DropoutMask(const TokenRows& rows, int64_t features, double p, uint64_t dropout_key, uint64_t module_id);

}  // namespace fedalt
