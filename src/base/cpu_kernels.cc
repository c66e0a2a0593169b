#include "base/cpu_kernels.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

namespace fedalt {
namespace {

constexpr std::array kNames = {"tensor", "portable", "avx2", "avx512", "avx512_bf16"};

CpuKernels BestOfProcessor() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuKernels::kPortable;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return CpuKernels::kAvx2;
  return __builtin_cpu_supports("avx512bf16") ? CpuKernels::kAvx512Bf16 : CpuKernels::kAvx512;
#else
  return CpuKernels::kPortable;
#endif
}

CpuKernels Decide() {
  const CpuKernels best = BestOfProcessor();
  const char* const wish = std::getenv("FEDALT_CPU_KERNELS");
  if (wish == nullptr) return best;
  const auto* const found = std::find(kNames.begin(), kNames.end(), std::string_view(wish));
  return found == kNames.end() ? best : std::min(best, static_cast<CpuKernels>(found - kNames.begin()));
}

CpuKernels& Active() {
  static CpuKernels active = Decide();
  return active;
}

}  // namespace

CpuKernels ActiveCpuKernels() {
  return Active();
}

const char* CpuKernelsName(CpuKernels kernels) {
  return kNames[static_cast<size_t>(kernels)];
}

CpuKernelsLimit::CpuKernelsLimit(CpuKernels most) : before_(Active()) {
  Active() = std::min(before_, most);
}

CpuKernelsLimit::~CpuKernelsLimit() {
  Active() = before_;
}

}  // namespace fedalt
