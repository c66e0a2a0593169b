// Between a bfloat16 base and float32 adapters: the two conversions that libtorch 1.13 does with several passes over fresh memory.
//
// Stateless, any thread; parallel inside. Same bits for any number of threads.
#pragma once

#include <ATen/ATen.h>

namespace fedalt {

/// The tensor in `dtype` (kFloat or kDouble); itself if it already has it.
at::Tensor ToWork(const at::Tensor& tensor, at::ScalarType dtype);

/// y += delta, in one pass; y (contiguous) of bfloat16 is rounded to nearest even once, other dtypes are delta's own.
void AddTo(at::Tensor& y, const at::Tensor& delta);

}  // namespace fedalt
