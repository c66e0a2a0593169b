// The allocator of tensors: aligned, and without holes that grow from step to step.
#include "model/tensor_memory.h"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace fedalt {
namespace {

constexpr int64_t kMany = 1 << 20;

class TensorMemory : public testing::Test {
 protected:
  static void SetUpTestSuite() { KeepTensorMemory(); }
};

TEST_F(TensorMemory, IsAligned) {
  for (int64_t count = 1; count < 300; ++count) {
    const at::Tensor tensor = at::ones({count}, at::kByte);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 64, 0u);
    EXPECT_EQ(tensor.sum().item<int64_t>(), count);
  }
}

TEST_F(TensorMemory, IsTakenWhereATensorOfTheSizeWasFreed) {
  at::Tensor first = at::empty({kMany}), neighbour = at::empty({kMany}), third = at::empty({kMany});
  const void* const freed = neighbour.data_ptr();
  neighbour = at::Tensor();
  neighbour = at::empty({kMany});
  EXPECT_EQ(neighbour.data_ptr(), freed);
}

TEST_F(TensorMemory, TakesRawRequestsAndNone) {
  c10::Allocator* const allocator = c10::GetCPUAllocator();
  void* const memory = allocator->raw_allocate(100);
  ASSERT_NE(memory, nullptr);
  allocator->raw_deallocate(memory);
  EXPECT_EQ(allocator->allocate(0).get(), nullptr);
}

TEST_F(TensorMemory, SaysWhenThereIsNone) {
  EXPECT_THROW(c10::GetCPUAllocator()->allocate(SIZE_MAX), std::bad_alloc);
  EXPECT_THROW(c10::GetCPUAllocator()->allocate(SIZE_MAX / 2), std::bad_alloc);
}

// Whether the kernel gives large pages is its own affair; what the tensors hold, and where, must not change.
TEST_F(TensorMemory, LargePagesHoldWhatWasThere) {
  constexpr int64_t kNumbers = 5 << 20;
  const at::Tensor large = at::arange(kNumbers, at::kInt), view = large.narrow(0, 7, kNumbers / 2), small = at::ones({3});
  std::vector<float> foreign(kMany, 2.5f);
  const at::Tensor not_ours = at::from_blob(foreign.data(), {kMany});
  const void* const address = large.data_ptr();
  UseLargePages({large, view, small, not_ours, at::Tensor(), at::empty({0})});
  EXPECT_EQ(large.data_ptr(), address);
  EXPECT_TRUE(at::equal(large, at::arange(kNumbers, at::kInt)));
  EXPECT_TRUE(at::equal(small, at::ones({3})));
  EXPECT_TRUE(at::equal(not_ours, at::full({kMany}, 2.5f)));
}

}  // namespace
}  // namespace fedalt
