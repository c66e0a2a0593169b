#include "model/tensor_allocator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "base/allocator.h"

namespace fedalt {
namespace {

TEST(TensorAllocator, AlignsAndHandsBackWhatWasFreed) {
  KeepPages();
  TakeTensorsFromMalloc();
  for (const int64_t bytes : {1, 63, 64, 65, 4096, 1'000'003}) {
    at::Tensor tensor = at::empty({bytes}, at::kByte);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 64, 0u) << bytes;
    tensor.fill_(7);
    EXPECT_EQ(tensor.sum().item<int64_t>(), 7 * bytes);
  }
  EXPECT_EQ(at::empty({0}).numel(), 0);
  // Between two others, so that only a block of exactly its size is free.
  const auto block = [] { return at::empty({3'000'000}, at::kByte); };
  const at::Tensor before = block();
  at::Tensor freed = block();
  const at::Tensor behind = block();
  const void* const place = freed.data_ptr();
  freed.reset();
  EXPECT_EQ(block().data_ptr(), place);
}

TEST(TensorAllocator, TooMuchIsAnErrorNotACrash) {
  TakeTensorsFromMalloc();
  EXPECT_THROW(at::empty({int64_t{1} << 60}, at::kByte), c10::Error);
}

}  // namespace
}  // namespace fedalt
