#include "model/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

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

void UseLargePages(const std::vector<at::Tensor>& tensors) {
  constexpr uintptr_t kPage = 2 << 20, kGap = 64 << 10;  // what lies between neighbours goes with them
  constexpr int kCollapse = 25;                          // MADV_COLLAPSE
  std::vector<std::pair<uintptr_t, uintptr_t>> ranges;
  for (const at::Tensor& tensor : tensors) {
    const bool ours =
        tensor.defined() && tensor.is_cpu() && tensor.has_storage() && tensor.storage().allocator() != nullptr;  // null: a file's
    const auto begin = ours ? reinterpret_cast<uintptr_t>(tensor.data_ptr()) : 0;
    if (ours) ranges.emplace_back(begin, begin + tensor.nbytes());
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 0; i < ranges.size();) {
    const uintptr_t begin = ranges[i].first;
    uintptr_t end = ranges[i].second;
    for (++i; i < ranges.size() && ranges[i].first <= end + kGap; ++i) end = std::max(end, ranges[i].second);
    const uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = end / kPage * kPage;
    if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, kCollapse);
  }
}

}  // namespace fedalt
