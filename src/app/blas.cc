#include "app/blas.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <absl/strings/str_format.h>
#include <link.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "app/command.h"

namespace fedalt {
namespace {

constexpr double kSlowGflops = 6.0;  // reference BLAS reaches 1 to 2, one core of an optimized one 30 and more

std::vector<std::string> LoadedLibraries() {
  std::vector<std::string> paths;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        if (info->dlpi_name != nullptr && info->dlpi_name[0] != '\0')
          static_cast<std::vector<std::string>*>(data)->emplace_back(info->dlpi_name);
        return 0;
      },
      &paths);
  // Debian's libblas.so.3 is a link that alternatives point at the chosen implementation.
  for (std::string& path : paths) {
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(path, error);
    if (!error) path = real.string();
  }
  return paths;
}

double MeasureGflops() {
  constexpr int64_t kSize = 512;
  constexpr int kRepeats = 3;
  const at::Tensor a = at::ones({kSize, kSize}), b = at::ones({kSize, kSize});
  double best = 0.0;
  for (int i = 0; i <= kRepeats; ++i) {  // the first one warms up; the best one is least disturbed
    const auto begin = std::chrono::steady_clock::now();
    const at::Tensor c = at::mm(a, b);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (i > 0 && seconds > 0.0) best = std::max(best, 2.0 * kSize * kSize * kSize / seconds / 1e9);
  }
  return best;
}

}  // namespace

BlasReport DescribeBlas(bool measure) {
  BlasReport report;
  report.library = "unknown";
  static constexpr std::pair<std::string_view, const char*> kFast[] = {{"openblas", "OpenBLAS"},
                                                                       {"libmkl", "MKL"},
                                                                       {"libblis", "BLIS"},
                                                                       {"libatlas", "ATLAS"},
                                                                       {"libarmpl", "Arm Performance Libraries"}};
  const std::vector<std::string> loaded = LoadedLibraries();
  for (const auto& [part, name] : kFast) {
    for (const std::string& path : loaded) {
      if (report.optimized || path.find(part) == std::string::npos) continue;
      report = {name, path, 0.0, true};
    }
  }
  if (!report.optimized && at::globalContext().hasMKL()) report = {"MKL", "", 0.0, true};
  for (const std::string& path : loaded) {
    if (report.library == "unknown" && path.find("libblas") != std::string::npos) report = {"reference BLAS", path, 0.0, false};
  }
  if (measure) report.gflops = MeasureGflops();
  return report;
}

std::string SlowBlasWarning(const BlasReport& report) {
  const bool slow = report.gflops > 0.0 && report.gflops < kSlowGflops;
  if (report.optimized && !slow) return "";
  if (!report.optimized && report.gflops >= kSlowGflops) return "";
  if (report.optimized) {
    return absl::StrFormat(
        "float32 products run at %.1f GFLOP/s although %s is loaded; expected 30 or more per core: is the machine busy, or its "
        "clock throttled?",
        report.gflops, report.library);
  }
  return absl::StrFormat(
      "matrix products run in %s%s, tens of times slower than they could: libopenblas0-openmp is missing; install it (apt-get "
      "install libopenblas0-openmp)",
      report.library == "unknown" ? "an unknown BLAS" : report.library,
      report.gflops > 0.0 ? absl::StrFormat(" at %.1f GFLOP/s", report.gflops) : "");
}

std::string SlowBlasWarning() {
  BlasReport report = DescribeBlas(/*measure=*/false);
  if (!report.optimized) report = DescribeBlas(/*measure=*/true);  // a name alone proves nothing
  return SlowBlasWarning(report);
}

}  // namespace fedalt
