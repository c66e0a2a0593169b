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

}  // namespace
}  // namespace fedalt
