#include "model/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <malloc.h>
#include <sys/mman.h>
#include <torch/version.h>

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

// From 2.3 on an allocator may change with what it gives, and copies.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 3)
#define FEDALT_ALLOCATE_CONST
#define FEDALT_ALLOCATOR_COPIES
#else
#define FEDALT_ALLOCATE_CONST const
#endif

class TensorAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) FEDALT_ALLOCATE_CONST override {
    if (bytes == 0) return {nullptr, nullptr, &Free, c10::DeviceType::CPU};
    if (bytes > SIZE_MAX - kAlignment) throw std::bad_alloc();
    void* const memory = std::malloc(bytes + kAlignment);
    if (memory == nullptr) throw std::bad_alloc();
    void* const aligned = static_cast<char*>(memory) + (kAlignment - reinterpret_cast<uintptr_t>(memory) % kAlignment);
    static_cast<void**>(aligned)[-1] = memory;
    return {aligned, aligned, &Free, c10::DeviceType::CPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
#ifdef FEDALT_ALLOCATOR_COPIES
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
#endif
};

}  // namespace

void KeepTensorMemory() {
  constexpr int kLarge = 1 << 30;
  constexpr int kStep = 64 << 20;
  // One heap for all threads: heaps of their own have 64 MB each, whose ends larger tensors leave empty, and what one frees the
  // others cannot use.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, kLarge);
  mallopt(M_TRIM_THRESHOLD, kLarge);
  mallopt(M_TOP_PAD, kStep);
  static TensorAllocator allocator;
  c10::SetCPUAllocator(&allocator, 1);
}

void UseLargePages(const std::vector<at::Tensor>& tensors) {
  constexpr uintptr_t kPage = 2 << 20;
  constexpr int64_t kGap = 64 << 10;  // what lies between neighbours goes with them
  constexpr int kCollapse = 25;       // MADV_COLLAPSE: what was touched; MADV_HUGEPAGE: what will be
  std::vector<std::pair<char*, char*>> ranges;
  for (const at::Tensor& tensor : tensors) {
    const bool ours =
        tensor.defined() && tensor.is_cpu() && tensor.has_storage() && tensor.storage().allocator() != nullptr;  // null: a file's
    if (!ours) continue;
    auto* const begin = static_cast<char*>(tensor.data_ptr());
    ranges.emplace_back(begin, begin + tensor.nbytes());
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 0; i < ranges.size();) {
    char* const begin = ranges[i].first;
    char* end = ranges[i].second;
    for (++i; i < ranges.size() && ranges[i].first - end <= kGap; ++i) end = std::max(end, ranges[i].second);
    // What shares the first and the last page lies in the same heap and goes with them.
    const auto page_of = [](const char* address) { return reinterpret_cast<uintptr_t>(address) / kPage; };
    char* const first = begin - reinterpret_cast<uintptr_t>(begin) % kPage;
    const size_t bytes = (page_of(end - 1) - page_of(begin) + 1) * kPage;
    for (const int advice : {MADV_HUGEPAGE, kCollapse}) ::madvise(first, bytes, advice);
  }
}

}  // namespace fedalt
