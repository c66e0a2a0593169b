#include "measure.h"

#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "model/tensor_memory.h"

namespace fedalt::bench {

double SecondsOf(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

ProductProbe::ProductProbe(int64_t tokens, int64_t in, int64_t out, at::ScalarType dtype)
    : x_ti_(at::randn({tokens, in}).to(dtype)), weight_oi_(at::randn({out, in}).to(dtype)) {}

double ProductProbe::Rate(double least_seconds) const {
  const double operations =
      2.0 * static_cast<double>(x_ti_.size(0)) * static_cast<double>(x_ti_.size(1)) * static_cast<double>(weight_oi_.size(0));
  int count = 0;
  double seconds = 0.0;
  while (seconds < least_seconds) {
    seconds += SecondsOf([&] { at::linear(x_ti_, weight_oi_); });
    ++count;
  }
  return operations * count / seconds;
}

double ReadBandwidth() {
  constexpr int64_t kWords = int64_t{1} << 25;  // 256 MB: more than any cache
  constexpr int kPasses = 8;
  static const at::Tensor memory = [] {
    at::Tensor words = at::ones({kWords}, at::kLong);
    UseLargePages({words});  // as the weights have: the most that the machine reads
    return words;
  }();
  const int64_t* const words = memory.data_ptr<int64_t>();
  std::atomic<int64_t> total{0};
  double seconds = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    seconds += SecondsOf([&] {
      at::parallel_for(0, kWords, kWords / (4 * at::get_num_threads()), [&](int64_t begin, int64_t end) {
        int64_t sum[8] = {};
        for (int64_t i = begin; i + 8 <= end; i += 8)
          for (int j = 0; j < 8; ++j) sum[j] += words[i + j];
        for (const int64_t one : sum) total += one;
      });
    });
  }
  return total > 0 ? static_cast<double>(kWords) * 8 * kPasses / seconds : 0.0;
}

}  // namespace fedalt::bench
