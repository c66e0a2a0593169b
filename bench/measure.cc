#include "measure.h"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace fedalt::bench {
namespace {

constexpr int kLeastRuns = 3;
constexpr double kGroupSeconds = 30;

double SecondsOf(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// 12300000 -> "12.3 M"
std::string WithPrefix(double value) {
  for (const auto& [factor, prefix] : {std::pair{1e9, " G"}, {1e6, " M"}, {1e3, " k"}}) {
    if (value >= factor) return absl::StrFormat("%.3g%s", value / factor, prefix);
  }
  return absl::StrFormat("%.3g ", value);
}

}  // namespace

std::vector<Result> Measure(const std::string& group, const std::vector<Case>& cases, int runs) {
  std::vector<std::vector<double>> seconds(cases.size());
  for (const Case& one : cases) one.run();
  double total = 0;
  for (int i = 0; i < runs && (i < kLeastRuns || total < kGroupSeconds); ++i) {
    for (size_t c = 0; c < cases.size(); ++c) {
      seconds[c].push_back(SecondsOf(cases[c].run));
      total += seconds[c].back();
    }
  }
  std::vector<Result> results;
  for (size_t c = 0; c < cases.size(); ++c) {
    std::sort(seconds[c].begin(), seconds[c].end());
    Result result{group, cases[c].name, cases[c].unit};
    result.runs = static_cast<int>(seconds[c].size());
    result.median_seconds = seconds[c][seconds[c].size() / 2];
    result.fastest_seconds = seconds[c].front();
    result.units_per_second = cases[c].units / result.median_seconds;
    result.ratio = c == 0 ? 1.0 : result.median_seconds / results.front().median_seconds;
    results.push_back(result);
  }
  return results;
}

std::string Table(const std::vector<Result>& results) {
  std::string text = absl::StrFormat("%-12s %-34s %12s %18s %8s\n", "group", "case", "median", "rate", "ratio");
  for (const Result& result : results) {
    absl::StrAppendFormat(&text, "%-12s %-34s %9.3f ms %18s %8.2f\n", result.group, result.name, result.median_seconds * 1e3,
                          absl::StrCat(WithPrefix(result.units_per_second), result.unit, "/s"), result.ratio);
  }
  return text;
}

Status WriteReport(const std::filesystem::path& path, const Machine& machine, int threads, const std::vector<Result>& results) {
  nlohmann::json report;
  report["machine"] = {{"cpu", machine.cpu_model},
                       {"architecture", machine.architecture},
                       {"system", machine.system},
                       {"kernel", machine.kernel},
                       {"cores", machine.cores},
                       {"avx2", machine.avx2},
                       {"avx512", machine.avx512},
                       {"avx512_bf16", machine.avx512_bf16},
                       {"memory_bytes", machine.memory_total_bytes}};
  report["threads"] = threads;
  report["results"] = nlohmann::json::array();
  for (const Result& result : results) {
    report["results"].push_back({{"group", result.group},
                                 {"case", result.name},
                                 {"runs", result.runs},
                                 {"median_seconds", result.median_seconds},
                                 {"fastest_seconds", result.fastest_seconds},
                                 {"unit", result.unit},
                                 {"units_per_second", result.units_per_second},
                                 {"ratio_to_first", result.ratio}});
  }
  return WriteFileAtomic(path, report.dump(2) + "\n");
}

}  // namespace fedalt::bench
