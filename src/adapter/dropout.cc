#include "adapter/dropout.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "adapter/philox_words.h"
#include "base/check.h"
#include "base/random.h"

namespace fedalt {
namespace {

constexpr int64_t kChunk = 512;      // features drawn at once; the words stay in the first-level cache
constexpr int64_t kGrain = 1 << 14;  // entries per task

/// out = mask * in; `in` and `out` are different memory.
template <typename In, typename Out>
void Masked(const uint32_t* words, uint32_t threshold, Out kept_value, const In* __restrict in, Out* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<Out>(in[i]) * (words[i] < threshold ? Out{0} : kept_value);
}

/// bfloat16 is the upper half of a float; by hand because c10's conversion keeps the loop from becoming vector instructions.
void Masked(const uint32_t* words, uint32_t threshold, float kept_value, const at::BFloat16* __restrict in, float* __restrict out,
            int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float value = __builtin_bit_cast(float, static_cast<uint32_t>(in[i].x) << 16);
    out[i] = value * (words[i] < threshold ? 0.0f : kept_value);
  }
}

template <typename Out>
void MaskedInPlace(const uint32_t* words, uint32_t threshold, Out kept_value, Out* values, int64_t n) {
  for (int64_t i = 0; i < n; ++i) values[i] *= words[i] < threshold ? Out{0} : kept_value;
}

}  // namespace

DropoutDraws::DropoutDraws(const TokenRows& rows, double p, uint64_t dropout_key, uint64_t module_id)
    : example_ids_(rows.example_ids), positions_(rows.positions) {
  FEDALT_CHECK(p >= 0.0 && p < 1.0, "dropout must lie in [0, 1)");
  FEDALT_CHECK(example_ids_.size() == positions_.size(), "each row needs an example and a position");
  const auto k = Philox4x32(dropout_key, {static_cast<uint32_t>(module_id), static_cast<uint32_t>(module_id >> 32), 0, 0x6B73616D});
  key_ = (static_cast<uint64_t>(k[1]) << 32) | k[0];
  threshold_ = static_cast<uint32_t>(std::min(std::round(p * 0x1.0p32), 0x1.0p32 - 1));
  kept_value_ = 1.0 / (1.0 - p);
}

namespace {

struct Rows {
  const int64_t* example_ids;
  const int64_t* positions;
  uint64_t key;
  uint32_t threshold;
  double kept_value;
};

/// For each row and chunk of features: draw once, then out = mask * x and gradient *= mask (either may be null).
template <typename In, typename Out>
void RunRows(const Rows& rows, int64_t tokens, int64_t features, const In* x, Out* out, Out* gradient) {
  static const FillPhiloxWords fill_words = PhiloxKernels().front().fill;
  const Out kept_value = static_cast<Out>(rows.kept_value);
  at::parallel_for(0, tokens, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, features)), [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[kChunk];
    for (int64_t t = begin; t < end; ++t) {
      const uint64_t example = static_cast<uint64_t>(rows.example_ids[t]);
      const PhiloxRow row{rows.key, static_cast<uint32_t>(rows.positions[t]), static_cast<uint32_t>(example),
                          static_cast<uint32_t>(example >> 32)};
      for (int64_t first = 0; first < features; first += kChunk) {
        const int64_t count = std::min(kChunk, features - first), at = t * features + first;
        fill_words(row, first / kPhiloxGroup, (count + kPhiloxGroup - 1) / kPhiloxGroup, words);
        if (out != nullptr) Masked(words, rows.threshold, kept_value, x + at, out + at, count);
        if (gradient != nullptr) MaskedInPlace(words, rows.threshold, kept_value, gradient + at, count);
      }
    }
  });
}

}  // namespace

at::Tensor DropoutDraws::Run(const at::Tensor* x_ti, at::Tensor* gradient_ti, at::ScalarType dtype) const {
  const at::Tensor x = x_ti == nullptr ? at::Tensor() : x_ti->contiguous();
  const at::Tensor& shaped = x_ti == nullptr ? *gradient_ti : x;
  const int64_t tokens = shaped.size(0), features = shaped.size(1);
  FEDALT_CHECK(tokens == static_cast<int64_t>(positions_.size()), "one address per row");
  if (gradient_ti != nullptr)
    FEDALT_CHECK(gradient_ti->is_contiguous() && gradient_ti->scalar_type() == dtype && gradient_ti->sizes() == shaped.sizes(),
                 "a gradient that is masked in place is contiguous and shaped as x");
  at::Tensor out = x_ti == nullptr ? at::Tensor() : at::empty({tokens, features}, x.options().dtype(dtype));
  const Rows rows{example_ids_.data(), positions_.data(), key_, threshold_, kept_value_};
  const auto run = [&](const auto* in, auto zero) {
    using Out = decltype(zero);
    RunRows(rows, tokens, features, in, x_ti == nullptr ? nullptr : out.data_ptr<Out>(),
            gradient_ti == nullptr ? nullptr : gradient_ti->data_ptr<Out>());
  };
  if (dtype == at::kDouble) {
    FEDALT_CHECK(x_ti == nullptr || x.scalar_type() == at::kDouble, "float64 adapters need a float64 base");
    run(x_ti == nullptr ? nullptr : x.data_ptr<double>(), double{0});
  } else if (x_ti == nullptr || x.scalar_type() == at::kFloat) {
    run(x_ti == nullptr ? nullptr : x.data_ptr<float>(), float{0});
  } else {
    run(x.data_ptr<at::BFloat16>(), float{0});
  }
  return out;
}

at::Tensor DropoutDraws::Apply(const at::Tensor& x_ti, at::ScalarType dtype) const {
  return Run(&x_ti, nullptr, dtype);
}

void DropoutDraws::ApplyInPlace(at::Tensor& gradient_ti) const {
  Run(nullptr, &gradient_ti, gradient_ti.scalar_type());
}

at::Tensor DropoutDraws::ApplyBoth(const at::Tensor& x_ti, at::Tensor& gradient_ti) const {
  return Run(&x_ti, &gradient_ti, gradient_ti.scalar_type());
}

at::Tensor DropoutMask(const TokenRows& rows, int64_t features, double p, uint64_t dropout_key, uint64_t module_id) {
  const at::Tensor ones = at::ones({static_cast<int64_t>(rows.positions.size()), features}, at::kFloat);
  return DropoutDraws(rows, p, dropout_key, module_id).Apply(ones, at::kFloat);
}

}  // namespace fedalt
