#include "model/finite.h"

#include <ATen/Parallel.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

namespace fedalt {
namespace {

/// A floating-point number is finite unless all bits of its exponent are set (IEEE 754; bfloat16 is the upper half of a float).
template <typename Bits>
bool HasNonFinite(const Bits* words, int64_t count, Bits exponent) {
  Bits found = 0;
  for (int64_t i = 0; i < count; ++i) found |= static_cast<Bits>((words[i] & exponent) == exponent);
  return found != 0;
}

template <typename Bits>
std::optional<int64_t> FirstIn(const at::Tensor& values, Bits exponent) {
  const auto* const words = static_cast<const Bits*>(values.data_ptr());
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max(), kGrain = int64_t{1} << 18, kBlock = 1024;
  std::atomic<int64_t> first{kNone};
  at::parallel_for(0, values.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end && block < first; block += kBlock) {
      const int64_t stop = std::min(block + kBlock, end);
      if (!HasNonFinite(words + block, stop - block, exponent)) continue;
      int64_t i = block;
      while ((words[i] & exponent) != exponent) ++i;
      for (int64_t known = first; i < known && !first.compare_exchange_weak(known, i);) {
      }
      return;
    }
  });
  return first == kNone ? std::nullopt : std::optional<int64_t>(first.load());
}

}  // namespace

std::optional<int64_t> FirstNonFinite(const at::Tensor& values) {
  constexpr uint64_t kDouble = 0x7ff0000000000000;
  constexpr uint32_t kFloat = 0x7f800000;
  constexpr uint16_t kBFloat16 = 0x7f80, kHalf = 0x7c00;
  if (!values.defined() || values.numel() == 0) return std::nullopt;
  if (!values.is_cpu() && at::isfinite(values).all().item<bool>()) return std::nullopt;
  const at::Tensor here = values.detach().cpu().contiguous();
  switch (here.scalar_type()) {
    case at::kDouble:
      return FirstIn<uint64_t>(here, kDouble);
    case at::kFloat:
      return FirstIn<uint32_t>(here, kFloat);
    case at::kBFloat16:
      return FirstIn<uint16_t>(here, kBFloat16);
    case at::kHalf:
      return FirstIn<uint16_t>(here, kHalf);
    default:
      return std::nullopt;  // whole numbers
  }
}

Status CheckFinite(std::string_view name, const at::Tensor& values) {
  const std::optional<int64_t> first = FirstNonFinite(values);
  if (!first) return absl::OkStatus();
  std::vector<int64_t> place(static_cast<size_t>(values.dim()));
  int64_t rest = *first;
  for (size_t d = place.size(); d-- > 0; rest /= values.size(static_cast<int64_t>(d)))
    place[d] = rest % values.size(static_cast<int64_t>(d));
  return ModelError(absl::StrCat("tensor ", std::string(name), " holds ", values.flatten()[*first].item<double>(), " at [",
                                 absl::StrJoin(place, ", "),
                                 "], expected finite numbers: the file is damaged, or its training diverged; get it again"));
}

}  // namespace fedalt
