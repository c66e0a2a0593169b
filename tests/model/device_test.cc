// Which device a run gets, and what is said where there is none. The work on a CUDA device itself needs one; its expressions are
// tested on the CPU with FEDALT_CPU_KERNELS=tensor.
#include "model/device.h"

#include <gtest/gtest.h>

#include "model_test_data.h"

namespace fedalt {
namespace {

const CudaReport kWithoutCuda{}, kWithoutDevice{true, 0, "", 0}, kWithDevice{true, 2, "A GPU", 80'000'000'000};

TEST(Device, AutoTakesWhatThereIs) {
  EXPECT_EQ(ChooseDevice("auto", kWithoutCuda).value(), at::Device(at::kCPU));
  EXPECT_EQ(ChooseDevice("auto", kWithoutDevice).value(), at::Device(at::kCPU));
  EXPECT_EQ(ChooseDevice("auto", kWithDevice).value(), at::Device(at::kCUDA, 0));
  EXPECT_EQ(ChooseDevice("cpu", kWithDevice).value(), at::Device(at::kCPU));
  EXPECT_EQ(ChooseDevice("cuda", kWithDevice).value(), at::Device(at::kCUDA, 0));
}

TEST(Device, SaysWhyThereIsNoCuda) {
  const auto expect = [](const StatusOr<at::Device>& device, const char* part) {
    ASSERT_FALSE(device.ok());
    EXPECT_EQ(KindOf(device.status()), ErrorKind::kConfig);
    EXPECT_NE(device.status().message().find(part), std::string::npos) << device.status();
  };
  expect(ChooseDevice("cuda", kWithoutCuda), "without CUDA; build it with one that has it");
  expect(ChooseDevice("cuda", kWithoutDevice), "sees no CUDA device; look at nvidia-smi");
  expect(ChooseDevice("gpu", kWithDevice), "\"gpu\"; expected auto, cpu or cuda");
}

TEST(Device, HasAName) {
  EXPECT_EQ(DeviceName(at::Device(at::kCPU), kWithDevice), "CPU");
  EXPECT_EQ(DeviceName(at::Device(at::kCUDA, 0), kWithDevice), "A GPU");
}

TEST(Device, ReportAgreesWithLibtorch) {
  const CudaReport cuda = DescribeCuda();
  EXPECT_EQ(cuda.devices > 0, at::globalContext().hasCUDA());
  EXPECT_TRUE(cuda.built_in || cuda.devices == 0);
}

// The same model on both devices; runs where there is a GPU.
TEST(Device, CudaComputesTheSameHiddenStates) {
  const CudaReport cuda = DescribeCuda();
  if (cuda.devices == 0) GTEST_SKIP() << "this machine shows no CUDA device to libtorch";
  const at::Device device(at::kCUDA, 0);
  PrepareDevice(device);
  const at::NoGradGuard no_grad;
  for (const char* family : {"llama", "bloom"}) {
    const std::string directory = absl::StrCat(FEDALT_TEST_DATA "/model/", family);
    const auto on_cpu = Transformer::Load(directory, {}), on_cuda = Transformer::Load(directory, {.device = device});
    ASSERT_TRUE(on_cpu.ok() && on_cuda.ok()) << on_cpu.status() << on_cuda.status();
    const PackedTokens tokens{at::randint((*on_cpu)->config().vocab_size, {30}, at::kLong), {0, 12, 30}};
    const at::Tensor expected = (*on_cpu)->Hidden(tokens, {}), found = (*on_cuda)->Hidden(tokens, {});
    EXPECT_TRUE(found.is_cuda());
    EXPECT_LE(MaxDifference(found.cpu(), expected), 1e-4) << family;
    EXPECT_TRUE(at::equal((*on_cuda)->Hidden(tokens, {}), found)) << family;
  }
}

}  // namespace
}  // namespace fedalt
