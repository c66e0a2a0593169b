#include "model/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <malloc.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace fedalt {
namespace {

constexpr uintptr_t kAlignment = 64;

/// What malloc gave is remembered just before the aligned memory: it comes in steps of 16 bytes, so there is room.
void Free(void* aligned) {
  if (aligned != nullptr) std::free(static_cast<void**>(aligned)[-1]);
}

class TensorAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) const override {
    if (bytes == 0) return {nullptr, nullptr, &Free, c10::DeviceType::CPU};
    if (bytes > SIZE_MAX - kAlignment) throw std::bad_alloc();
    void* const memory = std::malloc(bytes + kAlignment);
    if (memory == nullptr) throw std::bad_alloc();
    void* const aligned = static_cast<char*>(memory) + (kAlignment - reinterpret_cast<uintptr_t>(memory) % kAlignment);
    static_cast<void**>(aligned)[-1] = memory;
    return {aligned, aligned, &Free, c10::DeviceType::CPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
};

}  // namespace

void KeepTensorMemory() {
  constexpr int kLarge = 1 << 30;
  constexpr int kStep = 64 << 20;
  mallopt(M_MMAP_THRESHOLD, kLarge);
  mallopt(M_TRIM_THRESHOLD, kLarge);
  mallopt(M_TOP_PAD, kStep);
  static TensorAllocator allocator;
  c10::SetCPUAllocator(&allocator, 1);
}

}  // namespace fedalt
