#include "model/device.h"

#include <ATen/Context.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <type_traits>

namespace fedalt {
namespace {

/// Name and memory of the first device, asked from the driver itself: libtorch tells them only to who includes CUDA's headers.
void DescribeFirstDevice(CudaReport& report) {
  const std::unique_ptr<void, int (*)(void*)> driver(dlopen("libcuda.so.1", RTLD_NOW), [](void* d) { return d ? dlclose(d) : 0; });
  if (driver == nullptr) return;
  const auto find = [&](auto*& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(driver.get(), name));
    return function != nullptr;
  };
  int (*initialise)(unsigned) = nullptr;
  int (*get_name)(char*, int, int) = nullptr;
  int (*get_memory)(size_t*, int) = nullptr;
  constexpr int kFirst = 0;
  if (!find(initialise, "cuInit") || initialise(0) != 0) return;
  std::array<char, 256> name{};
  if (find(get_name, "cuDeviceGetName") && get_name(name.data(), static_cast<int>(name.size()) - 1, kFirst) == 0)
    report.name = name.data();
  size_t bytes = 0;
  if (find(get_memory, "cuDeviceTotalMem_v2") && get_memory(&bytes, kFirst) == 0) report.memory_bytes = static_cast<int64_t>(bytes);
}

}  // namespace

CudaReport DescribeCuda() {
  CudaReport report;
  report.built_in = at::globalContext().hasCUDART();
  if (report.built_in) report.devices = static_cast<int64_t>(at::getNumGPUs());
  if (report.devices > 0) DescribeFirstDevice(report);
  return report;
}

StatusOr<at::Device> ChooseDevice(std::string_view wish, const CudaReport& cuda) {
  if (wish == "cpu" || (wish == "auto" && cuda.devices == 0)) return at::Device(at::kCPU);
  if (wish != "auto" && wish != "cuda")
    return ConfigError(absl::StrCat("device is \"", std::string(wish), "\"; expected auto, cpu or cuda"));
  if (!cuda.built_in)
    return ConfigError(absl::StrCat("device is cuda, but this program was built with a libtorch (", TORCH_VERSION,
                                    ") without CUDA; build it with one that has it (docs/building.md), or use device cpu"));
  if (cuda.devices == 0)
    return ConfigError(absl::StrCat("device is cuda, but libtorch (", TORCH_VERSION,
                                    ") sees no CUDA device; look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use device cpu"));
  return at::Device(at::kCUDA, 0);
}

void PrepareDevice(at::Device device) {
  if (!device.is_cuda()) return;
  // cuBLAS keeps its bits only with a workspace of a fixed size; somebody's own choice stays.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
}

std::string DeviceName(at::Device device, const CudaReport& cuda) {
  if (!device.is_cuda()) return "CPU";
  return cuda.name.empty() ? "a CUDA device" : cuda.name;
}

}  // namespace fedalt
