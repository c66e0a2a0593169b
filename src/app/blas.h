// Which BLAS libtorch's products end up in, and how fast it is: with the reference BLAS everything takes tens of times longer.
#pragma once

#include <string>

namespace fedalt {

struct BlasReport {
  std::string library;     ///< "OpenBLAS", "MKL", "BLIS", "reference BLAS", "unknown"
  std::string path;        ///< of the loaded library, if it is one of its own
  double gflops = 0.0;     ///< measured float32 product of 512 x 512 matrices; 0: not measured
  bool optimized = false;  ///< known to be fast
};

/// By the libraries that this process has loaded; `measure` adds a quick product (well under a second also with a slow BLAS).
BlasReport DescribeBlas(bool measure);

/// What is wrong and what to install; empty if nothing is.
std::string SlowBlasWarning(const BlasReport& report);

}  // namespace fedalt
