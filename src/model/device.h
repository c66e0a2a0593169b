// Where a model runs: the CPU, or one CUDA device through a libtorch that was built with CUDA.
//
// Weights, adapters, optimizer state and activations live on that device; what leaves a site is on the CPU. Thread-safe.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

/// What this libtorch and this machine offer beside the CPU.
struct CudaReport {
  bool built_in = false;     ///< libtorch was built with CUDA
  int64_t devices = 0;       ///< that it sees
  std::string name;          ///< of the first, as the driver calls it; empty if it does not say
  int64_t memory_bytes = 0;  ///< of the first; 0: unknown
};
CudaReport DescribeCuda();

/// `wish`: auto (the first CUDA device if there is one, else the CPU), cpu, or cuda. Errors: kConfig (cuda without a device).
StatusOr<at::Device> ChooseDevice(std::string_view wish, const CudaReport& cuda);

/// To be called before the first work on `device`: asks libtorch for deterministic algorithms where it is a CUDA device.
void PrepareDevice(at::Device device);

/// "CPU", or "NVIDIA H100 80GB HBM3".
std::string DeviceName(at::Device device, const CudaReport& cuda);

}  // namespace fedalt
