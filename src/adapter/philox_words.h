// The random words of a dropout row, sixteen Philox blocks at a time, with vector instructions where the machine has them.
//
// All kernels give the same words (integer arithmetic). Stateless, any thread.
#pragma once

#include <cstdint>
#include <vector>

namespace fedalt {

constexpr int64_t kPhiloxGroup = 64;  ///< words of one group: 16 blocks of 4

/// What is constant along one row of features.
struct PhiloxRow {
  uint64_t key;
  uint32_t position, example_lo, example_hi;
};

/// For g in 0 .. groups: words[64 g + 16 w + l] = word w of Philox4x32(key, {16 (first_group + g) + l, position, example_lo,
/// example_hi}).
using FillPhiloxWords = void (*)(const PhiloxRow& row, int64_t first_group, int64_t groups, uint32_t* words);

struct PhiloxKernel {
  const char* name;
  FillPhiloxWords fill;
};
/// The kernels that are active (base/cpu_kernels.h), fastest first; the last one is portable.
std::vector<PhiloxKernel> PhiloxKernels();

}  // namespace fedalt
