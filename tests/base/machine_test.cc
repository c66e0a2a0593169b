#include "base/machine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGiB = int64_t{1} << 30;

// A folder that stands for the root of a machine.
class MachineTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / absl::StrCat("machine_test-", ::getpid());
    fs::remove_all(root_);
    Put("proc/meminfo", "MemTotal:       33554432 kB\nMemFree:         1048576 kB\nMemAvailable:   25165824 kB\n");
  }
  void TearDown() override { fs::remove_all(root_); }
  void Put(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  fs::path root_;
};

TEST_F(MachineTest, ProcessorAndSystem) {
  Put("proc/cpuinfo",
      "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx fma avx2 avx512f avx512bw avx512dq avx512vl "
      "avx512_bf16\n\n");
  Put("etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
  const Machine machine = DescribeMachine(root_);
  EXPECT_EQ(machine.cpu_model, "Some CPU @ 2 GHz");
  EXPECT_EQ(machine.system, "Debian GNU/Linux 12 (bookworm)");
  EXPECT_TRUE(machine.avx2);
  EXPECT_TRUE(machine.avx512);
  EXPECT_TRUE(machine.avx512_bf16);
  EXPECT_FALSE(machine.amx_bf16);
  EXPECT_FALSE(machine.architecture.empty());
}

TEST_F(MachineTest, AFlagIsAWholeWord) {
  Put("proc/cpuinfo", "flags : fma avx2x avx512f avx512bw avx512dq avx512vlx\n");
  const Machine machine = DescribeMachine(root_);
  EXPECT_FALSE(machine.avx2);
  EXPECT_FALSE(machine.avx512);
  EXPECT_EQ(machine.cpu_model, "unknown");
}

TEST_F(MachineTest, MemoryWithoutALimit) {
  Put("proc/self/cgroup", "0::/user.slice\n");
  Put("sys/fs/cgroup/user.slice/memory.max", "max\n");
  const Machine machine = DescribeMachine(root_);
  EXPECT_EQ(machine.memory_total_bytes, 32 * kGiB);
  EXPECT_EQ(machine.memory_available_bytes, 24 * kGiB);
  EXPECT_EQ(machine.memory_bound, MemoryBound::kMachine);
}

TEST_F(MachineTest, ALimitOfVersion2HoldsForAllBelow) {
  Put("proc/self/cgroup", "0::/box/inner\n");
  Put("sys/fs/cgroup/box/memory.max", absl::StrCat(8 * kGiB, "\n"));
  Put("sys/fs/cgroup/box/memory.current", absl::StrCat(5 * kGiB, "\n"));
  Put("sys/fs/cgroup/box/memory.stat", absl::StrCat("anon 1\ninactive_file ", 2 * kGiB, "\nactive_file 3\n"));
  Put("sys/fs/cgroup/box/inner/memory.max", "max\n");
  const Machine machine = DescribeMachine(root_);
  EXPECT_EQ(machine.memory_bound, MemoryBound::kContainer);
  EXPECT_EQ(machine.memory_total_bytes, 8 * kGiB);
  EXPECT_EQ(machine.memory_available_bytes, 5 * kGiB);
}

TEST_F(MachineTest, LimitsOfTheProcess) {
  const std::string head = "Limit                     Soft Limit           Hard Limit           Units     \n";
  const auto limits = [&](const std::string& data, const std::string& space) {
    return absl::StrCat(head, "Max data size             ", data, "   unlimited  bytes\n", "Max address space         ", space,
                        "   unlimited  bytes\n");
  };
  Put("proc/self/status", "Name:\tx\nVmSize:\t 1048576 kB\nVmRSS:\t 100 kB\nVmData:\t  524288 kB\n");
  Put("proc/self/limits", limits("unlimited", absl::StrCat(3 * kGiB)));
  Machine machine = DescribeMachine(root_);
  EXPECT_EQ(machine.memory_bound, MemoryBound::kAddressSpace);
  EXPECT_EQ(machine.memory_total_bytes, 3 * kGiB);
  EXPECT_EQ(machine.memory_available_bytes, 2 * kGiB);  // what is mapped already counts
  Put("proc/self/limits", limits(absl::StrCat(2 * kGiB), absl::StrCat(3 * kGiB)));
  machine = DescribeMachine(root_);
  EXPECT_EQ(machine.memory_bound, MemoryBound::kData);
  EXPECT_EQ(machine.memory_available_bytes, 3 * kGiB / 2);
  Put("proc/self/limits", limits("unlimited", absl::StrCat(kGiB / 2)));
  EXPECT_EQ(DescribeMachine(root_).memory_available_bytes, 0);  // less than is mapped already
}

TEST_F(MachineTest, ALimitOfVersion1WhereThePathIsTheHosts) {
  Put("proc/self/cgroup", "5:cpu,cpuacct:/host/path\n4:memory:/host/path\n0::/\n");
  Put("sys/fs/cgroup/memory/memory.limit_in_bytes", absl::StrCat(4 * kGiB, "\n"));
  Put("sys/fs/cgroup/memory/memory.usage_in_bytes", absl::StrCat(1 * kGiB, "\n"));
  const Machine machine = DescribeMachine(root_);
  EXPECT_EQ(machine.memory_total_bytes, 4 * kGiB);
  EXPECT_EQ(machine.memory_available_bytes, 3 * kGiB);
}

TEST_F(MachineTest, NoLimitOfVersion1IsAHugeNumber) {
  Put("proc/self/cgroup", "4:memory:/\n");
  Put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(DescribeMachine(root_).memory_bound, MemoryBound::kMachine);
}

TEST_F(MachineTest, AQuotaOfHalfACoreGivesOneCore) {
  Put("proc/self/cgroup", "0::/\n");
  Put("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(DescribeMachine(root_).cores, 1);
}

TEST_F(MachineTest, DamagedFilesAreLikeNone) {
  Put("proc/meminfo", "MemTotal: many kB\nMemAvailable:\n");
  Put("proc/self/cgroup", "0\n::\n:::::\nx:memory\n");
  Put("proc/cpuinfo", ":\n\n:::");
  Put("sys/fs/cgroup/cpu.max", "max\n");
  Put("etc/os-release", "PRETTY_NAME=\n");
  const Machine machine = DescribeMachine(root_);
  EXPECT_GT(machine.memory_total_bytes, 0);
  EXPECT_GE(machine.cores, 1);
  EXPECT_EQ(machine.system, "unknown");
}

TEST(ThisMachine, HasCoresAndMemory) {
  const Machine machine = DescribeMachine();
  EXPECT_GE(machine.cores, 1);
  EXPECT_GT(machine.memory_total_bytes, 0);
  EXPECT_GT(machine.memory_available_bytes, 0);
  EXPECT_LE(machine.memory_available_bytes, machine.memory_total_bytes);
}

TEST(FreeDiskBytes, OfAPathThatIsNotThereYet) {
  const auto here = FreeDiskBytes(testing::TempDir());
  ASSERT_TRUE(here.ok());
  EXPECT_GT(*here, 0);
  EXPECT_TRUE(FreeDiskBytes(fs::path(testing::TempDir()) / "not/there/yet").ok());
  EXPECT_TRUE(FreeDiskBytes("relative/not/there").ok());
}

}  // namespace
}  // namespace fedalt
