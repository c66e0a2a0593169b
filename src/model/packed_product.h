// Products of many rows with a frozen weight, by vectors of 512 bits: what training spends three quarters of its time with.
//
// Both factors are copied into the order in which the kernel reads them, a part at a time, and what comes next is fetched while
// products run. Every element is one sum over the depth in a fixed order, so the number of threads does not change a bit.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace fedalt {

/// Whether this processor has the kernels: AVX-512 for kFloat, with AVX512-BF16 for kBFloat16.
bool HasPackedProduct(c10::ScalarType type);

/// Elements of a row lie side by side, rows perhaps apart.
template <typename Storage>
struct MatrixRows {
  Storage* data = nullptr;
  int64_t row = 0;  ///< elements from one row to the next
};

enum class WeightOrder {
  kOutputs,  ///< a row per output (outputs, depth), as a linear has them
  kDepth,    ///< a row per element of the depth (depth, outputs)
};

/// y (rows, outputs) = x (rows, depth) times the weight, + bias. float, or c10::BFloat16 summed in float32 and rounded once.
template <typename Storage>
struct PackedProductTask {
  MatrixRows<const Storage> x, weight;
  WeightOrder order = WeightOrder::kOutputs;
  const Storage* bias = nullptr;  ///< (outputs), or null
  MatrixRows<Storage> y;
  int64_t rows = 0, outputs = 0, depth = 0;
};

/// Shares the work among libtorch's threads, unless it runs in one of them. y may not overlap the others.
template <typename Storage>
void PackedProduct(const PackedProductTask<Storage>& task);

}  // namespace fedalt
