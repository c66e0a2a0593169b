#include "model/tensor_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace fedalt {
namespace {

constexpr uintptr_t kAlignment = 64;  // libtorch's own

/// The block that malloc gave stands right before the data.
void Free(void* data) {
  if (data != nullptr) std::free(static_cast<void**>(data)[-1]);
}

// Versions of libtorch differ in whether allocate is const and whether there is copy_data. What fits overrides; hence no
// `override`.
class MallocAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) const {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &Free, cpu};
    void* const block = bytes > SIZE_MAX - kAlignment ? nullptr : std::malloc(bytes + kAlignment);
    TORCH_CHECK(block != nullptr, "not enough memory: you tried to allocate ", bytes, " bytes");
    // malloc aligns to 16 at least, so there is room for a pointer before the next multiple of 64 behind the beginning.
    void* const data = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(block) / kAlignment + 1) * kAlignment);
    static_cast<void**>(data)[-1] = block;
    return {data, data, &Free, cpu};
  }
  c10::DataPtr allocate(size_t bytes) { return static_cast<const MallocAllocator*>(this)->allocate(bytes); }
  void copy_data(void* to, const void* from, size_t bytes) const { std::memcpy(to, from, bytes); }
  c10::DeleterFnPtr raw_deleter() const { return &Free; }
};

}  // namespace

void TakeTensorsFromMalloc() {
  static MallocAllocator allocator;
  constexpr uint8_t kHighest = 255;  // the default's is 0
  c10::SetCPUAllocator(&allocator, kHighest);
}

}  // namespace fedalt
