// What this machine has: processor, cores and memory that this process may use (containers included), disk space.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/status.h"

namespace fedalt {

/// What bounds the memory of this process first.
enum class MemoryBound {
  kMachine,
  kContainer,     ///< memory.max or memory.limit_in_bytes of a control group
  kAddressSpace,  ///< ulimit -v: everything that is mapped counts, also files, libraries and stacks
  kData,          ///< ulimit -d: heap and private memory that can be written
};

struct Machine {
  std::string cpu_model;     ///< as the processor names itself; "unknown" where it does not
  std::string architecture;  ///< x86_64, aarch64, ...
  std::string system;        ///< "Debian GNU/Linux 12 (bookworm)"
  std::string kernel;        ///< "6.1.0"
  int cores = 1;             ///< that this process may use: affinity, then the container's quota rounded up
  bool avx2 = false;
  bool avx512 = false;  ///< AVX-512 F, BW, DQ and VL, which libtorch's and OpenBLAS's kernels ask for
  bool avx512_bf16 = false;
  bool amx_bf16 = false;
  int64_t memory_total_bytes = 0;                    ///< of the machine, or the least of the limits if that is less
  int64_t memory_available_bytes = 0;                ///< what can still be allocated without swapping, within all limits
  MemoryBound memory_bound = MemoryBound::kMachine;  ///< which of them leaves the least
};

/// "of the machine", "of the container (control group)", "of ulimit -v", "of ulimit -d".
const char* MemoryBoundName(MemoryBound bound);

/// Describes the machine; what cannot be found out keeps its default. `root`: where proc, sys and etc lie (another one in tests).
Machine DescribeMachine(const std::filesystem::path& root = "/");

/// Bytes that may be written below `path` (its nearest existing directory). Errors: kOutput.
StatusOr<int64_t> FreeDiskBytes(const std::filesystem::path& path);

}  // namespace fedalt
