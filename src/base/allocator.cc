#include "base/allocator.h"

#include <malloc.h>

namespace fedalt {

void KeepPages() {
  constexpr int kLarge = 1 << 30;
  constexpr int kStep = 64 << 20;
  mallopt(M_MMAP_THRESHOLD, kLarge);
  mallopt(M_TRIM_THRESHOLD, kLarge);
  mallopt(M_TOP_PAD, kStep);
}

}  // namespace fedalt
