// Memory of tensors on the CPU, for a program whose large tensors come and go in the same sizes at every step.
#pragma once

namespace fedalt {

/// From now on freed memory stays with the process (fresh pages cost more than the work done in them), and a tensor fits where one
/// of its size was freed: libtorch asks for aligned memory, for which the C library needs a larger gap than it leaves. For the
/// beginning of main.
void KeepTensorMemory();

}  // namespace fedalt
