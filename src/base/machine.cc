#include "base/machine.h"

#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <tuple>
#include <utility>
#include <vector>

namespace fedalt {
namespace {

namespace fs = std::filesystem;

// Files of proc and sys have no size to ask for, so ReadFile does not serve here. Empty if there is none.
std::string Slurp(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

std::optional<int64_t> IntegerIn(const fs::path& path) {
  int64_t value = 0;
  if (absl::SimpleAtoi(Slurp(path), &value)) return value;
  return std::nullopt;  // absent, "max", or more than 63 bits
}

// "KEY<separator>VALUE" of the first line that starts with `key`.
std::string ValueOf(const std::string& text, const std::string& key, char separator) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(separator, 1));
    if (absl::StripAsciiWhitespace(parts.first) == key) return std::string(absl::StripAsciiWhitespace(parts.second));
  }
  return "";
}

// "MemTotal:  24609316 kB" in bytes.
std::optional<int64_t> MeminfoBytes(const std::string& meminfo, const std::string& key) {
  int64_t kilobytes = 0;
  if (!absl::SimpleAtoi(absl::StripSuffix(ValueOf(meminfo, key, ':'), " kB"), &kilobytes)) return std::nullopt;
  return kilobytes * 1024;
}

// The soft limit of "Max address space         1024000000           unlimited            bytes"; none if it is unlimited.
std::optional<int64_t> ProcessLimit(const std::string& limits, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(limits, '\n')) {
    if (!absl::ConsumePrefix(&line, name)) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    int64_t bytes = 0;
    if (!words.empty() && absl::SimpleAtoi(words[0], &bytes)) return bytes;
  }
  return std::nullopt;
}

void DescribeProcessor(const std::string& cpuinfo, Machine& machine) {
  for (const char* key : {"model name", "Model", "Hardware"}) {
    if (std::string model = ValueOf(cpuinfo, key, ':'); !model.empty()) {
      machine.cpu_model = std::move(model);
      break;
    }
  }
  const std::string flags = absl::StrCat(" ", ValueOf(cpuinfo, "flags", ':'), " ");
  const auto has = [&flags](const char* flag) { return absl::StrContains(flags, absl::StrCat(" ", flag, " ")); };
  machine.avx2 = has("avx2") && has("fma");
  machine.avx512 = has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl");
  machine.avx512_bf16 = has("avx512_bf16");
  machine.amx_bf16 = has("amx_bf16");
}

// The folders of this process's control group for one controller, innermost first; limits of all of them hold. Inside a container
// the path in /proc/self/cgroup can be the host's, so folders that do not exist are passed over.
struct ControlGroup {
  bool unified = true;
  std::vector<fs::path> folders;
};

ControlGroup FindControlGroup(const fs::path& root, const std::string& controller) {
  ControlGroup group;
  fs::path path = "/";
  for (absl::string_view line : absl::StrSplit(Slurp(root / "proc/self/cgroup"), '\n', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    const bool v1 = std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
    if (v1 || (parts[1].empty() && group.unified)) path = parts[2];
    if (v1) group.unified = false;
  }
  fs::path top = root / "sys/fs/cgroup";
  if (!group.unified) top /= controller;
  for (fs::path relative = path.relative_path();; relative = relative.parent_path()) {
    group.folders.push_back(relative.empty() ? top : top / relative);
    if (relative.empty()) break;
  }
  return group;
}

void DescribeMemory(const fs::path& root, Machine& machine) {
  const std::string meminfo = Slurp(root / "proc/meminfo");
  struct sysinfo info {};
  if (::sysinfo(&info) == 0) {  // for a root without proc
    machine.memory_total_bytes = static_cast<int64_t>(info.totalram) * info.mem_unit;
    machine.memory_available_bytes = static_cast<int64_t>(info.freeram) * info.mem_unit;
  }
  machine.memory_total_bytes = MeminfoBytes(meminfo, "MemTotal").value_or(machine.memory_total_bytes);
  machine.memory_available_bytes = MeminfoBytes(meminfo, "MemAvailable").value_or(machine.memory_available_bytes);

  // Of several limits the one counts that leaves the least.
  const auto bound_by = [&machine](MemoryBound bound, int64_t limit, int64_t left) {
    left = std::max<int64_t>(0, left);
    machine.memory_total_bytes = std::min(machine.memory_total_bytes, limit);
    if (left >= machine.memory_available_bytes) return;
    machine.memory_available_bytes = left;
    machine.memory_bound = bound;
  };
  const ControlGroup group = FindControlGroup(root, "memory");
  for (const fs::path& folder : group.folders) {
    const auto limit = IntegerIn(folder / (group.unified ? "memory.max" : "memory.limit_in_bytes"));
    const auto used = IntegerIn(folder / (group.unified ? "memory.current" : "memory.usage_in_bytes"));
    if (!limit || *limit >= machine.memory_total_bytes) continue;
    // The page cache counts as used but gives way.
    int64_t cache = 0;
    (void)absl::SimpleAtoi(ValueOf(Slurp(folder / "memory.stat"), group.unified ? "inactive_file" : "total_inactive_file", ' '),
                           &cache);
    bound_by(MemoryBound::kContainer, *limit, *limit - std::max<int64_t>(0, used.value_or(0) - cache));
  }
  const std::string limits = Slurp(root / "proc/self/limits"), status = Slurp(root / "proc/self/status");
  for (const auto& [bound, name, field] : {std::tuple(MemoryBound::kAddressSpace, "Max address space", "VmSize"),
                                           std::tuple(MemoryBound::kData, "Max data size", "VmData")}) {
    const auto limit = ProcessLimit(limits, name);
    if (limit) bound_by(bound, *limit, *limit - MeminfoBytes(status, field).value_or(0));
  }
}

int UsableCores(const fs::path& root) {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = ::sched_getaffinity(0, sizeof(set), &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
  const ControlGroup group = FindControlGroup(root, "cpu");
  for (const fs::path& folder : group.folders) {
    int64_t quota = -1, period = 0;
    if (group.unified) {
      const std::vector<std::string> parts = absl::StrSplit(absl::StripAsciiWhitespace(Slurp(folder / "cpu.max")), ' ');
      if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &quota) || !absl::SimpleAtoi(parts[1], &period)) continue;
    } else {
      quota = IntegerIn(folder / "cpu.cfs_quota_us").value_or(-1);
      period = IntegerIn(folder / "cpu.cfs_period_us").value_or(0);
    }
    if (quota > 0 && period > 0) cores = static_cast<int>(std::min<int64_t>(cores, (quota + period - 1) / period));
  }
  return cores;
}

}  // namespace

const char* MemoryBoundName(MemoryBound bound) {
  switch (bound) {
    case MemoryBound::kContainer:
      return "of the container (its control group)";
    case MemoryBound::kAddressSpace:
      return "of ulimit -v (address space)";
    case MemoryBound::kData:
      return "of ulimit -d (data)";
    default:
      return "of the machine";
  }
}

Machine DescribeMachine(const fs::path& root) {
  Machine machine;
  machine.cpu_model = "unknown";
  machine.system = "unknown";
  DescribeProcessor(Slurp(root / "proc/cpuinfo"), machine);
  machine.cores = UsableCores(root);
  DescribeMemory(root, machine);
  if (utsname name{}; ::uname(&name) == 0) {
    machine.architecture = name.machine;
    machine.kernel = name.release;
  }
  const std::string pretty = ValueOf(Slurp(root / "etc/os-release"), "PRETTY_NAME", '=');
  if (pretty.size() > 2) machine.system = pretty.substr(1, pretty.size() - 2);
  return machine;
}

StatusOr<int64_t> FreeDiskBytes(const fs::path& path) {
  std::error_code error;
  fs::path existing = fs::absolute(path, error);
  while (!fs::exists(existing, error) && existing.has_relative_path()) existing = existing.parent_path();
  struct statvfs info {};
  if (::statvfs(existing.c_str(), &info) != 0) {
    return OutputError(
        absl::StrCat(existing.string(), ": free space cannot be found out (", std::string(std::strerror(errno)), ")"));
  }
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

}  // namespace fedalt
