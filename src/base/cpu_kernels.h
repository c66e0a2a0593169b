// Which of the hand-written CPU kernels run: the best that this processor has, or fewer if somebody wants that.
#pragma once

namespace fedalt {

/// Each level includes those before it.
enum class CpuKernels {
  kTensor,      ///< the plain tensor expressions that other devices use, where there are any; else portable
  kPortable,    ///< what the compiler makes of plain C++ for the oldest processor of the architecture
  kAvx2,        ///< AVX2 and FMA
  kAvx512,      ///< AVX-512 F, BW, DQ and VL
  kAvx512Bf16,  ///< and its bfloat16 products
};

/// Decided once: the processor's best, or what the environment variable FEDALT_CPU_KERNELS (tensor, portable, avx2, avx512,
/// avx512_bf16) allows if that is less.
CpuKernels ActiveCpuKernels();
const char* CpuKernelsName(CpuKernels kernels);

/// For tests: at most `most` while it lives. Not for several threads at once.
class CpuKernelsLimit {
 public:
  explicit CpuKernelsLimit(CpuKernels most);
  ~CpuKernelsLimit();
  CpuKernelsLimit(const CpuKernelsLimit&) = delete;
  CpuKernelsLimit& operator=(const CpuKernelsLimit&) = delete;

 private:
  CpuKernels before_;
};

}  // namespace fedalt
