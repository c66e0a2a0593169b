// SHA-256 of whole blocks by the processor's own instructions (SHA extensions), five times as fast as plain code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fedalt {

/// Whether the processor has them, and FEDALT_CPU_KERNELS (base/cpu_kernels.h) does not ask for plain code. Decided once.
bool HasSha256Instructions();

/// Takes `blocks` blocks of 64 bytes into the eight words of a state (FIPS 180-4, section 6.2.2). Precondition:
/// HasSha256Instructions.
void AddSha256Blocks(uint32_t* state, const uint8_t* bytes, size_t blocks);

}  // namespace fedalt
