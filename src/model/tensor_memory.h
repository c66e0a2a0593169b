// Memory of tensors on the CPU, for a program whose large tensors come and go in the same sizes at every step.
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace fedalt {

/// From now on freed memory stays with the process (fresh pages cost more than the work done in them), and a tensor fits where one
/// of its size was freed: libtorch asks for aligned memory, for which the C library needs a larger gap than it leaves. For the
/// beginning of main.
void KeepTensorMemory();

/// Moves what these tensors hold into pages of 2 MB, where they are on the CPU, are not a part of a mapped file and the kernel can
/// (Linux 6.1 and later; otherwise nothing happens); what else lies in those pages goes with it. For what is read again and again
/// from main memory: finding the address of a small page costs as much as reading it. What is never written takes memory in them,
/// too.
void UseLargePages(const std::vector<at::Tensor>& tensors);

}  // namespace fedalt
