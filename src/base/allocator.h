// The process's allocator, as the program wants it.
#pragma once

namespace fedalt {

/// Memory is kept instead of being given back to the kernel between steps: fresh pages cost more than the work done in them. For
/// the beginning of main.
void KeepPages();

}  // namespace fedalt
