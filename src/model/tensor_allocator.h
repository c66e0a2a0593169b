// Where libtorch takes the memory of tensors from.
#pragma once

namespace fedalt {

/// From malloc, aligned by hand. libtorch asks posix_memalign, and glibc before 2.38 never gives a freed block of it to a request
/// of the same size, because it looks for the alignment's length more: a training step then takes 1.4 times the memory of its
/// tensors. For the beginning of main, before the first tensor.
void TakeTensorsFromMalloc();

}  // namespace fedalt
