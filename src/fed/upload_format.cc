#include "fed/upload_format.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace fedalt {
namespace {

constexpr float kLargestInt8 = 127.0F;

int64_t Blocks(int64_t values) {
  return (values + kScaleBlock - 1) / kScaleBlock;
}

/// The least float of 17 significant bits that is not below `value`: its products with integers up to 127 are exact.
float RoundedUp(float value) {
  constexpr uint32_t kLowBits = 0x7f;
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + kLowBits) & ~kLowBits);
}

float ScaleOf(const float* values, int64_t count) {
  constexpr float kLeast = 1e-30F;
  float largest = 0.0F;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) return values[i];  // for the check at the other end
    largest = std::max(largest, std::abs(values[i]));
  }
  return largest < kLeast ? 0.0F : RoundedUp(largest / kLargestInt8);
}

struct Int8Words {
  float* scales;
  int8_t* numbers;
  Int8Words(const at::Tensor& words, int64_t values)
      : scales(words.data_ptr<float>()), numbers(reinterpret_cast<int8_t*>(scales + Blocks(values))) {}
};

void EncodeInt8(const at::Tensor& values, const at::Tensor& words) {
  const float* const from = values.data_ptr<float>();
  const int64_t count = values.numel();
  const Int8Words to(words, count);
  constexpr int64_t kGrain = 1024;
  at::parallel_for(0, Blocks(count), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kScaleBlock, size = std::min(kScaleBlock, count - first);
      const float scale = to.scales[block] = ScaleOf(from + first, size);
      const bool usable = std::isfinite(scale) && scale > 0.0F;
      for (int64_t i = first; i < first + size; ++i)
        to.numbers[i] = usable ? static_cast<int8_t>(std::clamp(std::nearbyint(from[i] / scale), -kLargestInt8, kLargestInt8)) : 0;
    }
  });
}

at::Tensor DecodeInt8(const at::Tensor& words, int64_t count) {
  at::Tensor values = at::empty({count}, at::kFloat);
  const Int8Words from(words, count);
  float* const to = values.data_ptr<float>();
  constexpr int64_t kGrain = 1 << 15;
  at::parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = from.scales[i / kScaleBlock] * static_cast<float>(from.numbers[i]);
  });
  return values;
}

/// OK if no number is greater than `limit`, or none. `decode`: the magnitude of the word's bits.
template <typename Bits, typename Decode>
Status CheckEach(std::string_view bytes, double limit, const Decode& decode) {
  for (size_t at = 0; at + sizeof(Bits) <= bytes.size(); at += sizeof(Bits)) {
    Bits bits = 0;
    std::memcpy(&bits, &bytes[at], sizeof(bits));
    const double magnitude = decode(bits);
    if (!(magnitude <= limit))  // also NaN
      return absl::OutOfRangeError(absl::StrCat("holds a number of magnitude ", magnitude, ", its number ", at / sizeof(Bits),
                                                "; expected finite ones up to ", limit));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t EncodedWords(UploadFormat format, int64_t values) {
  switch (format) {
    case UploadFormat::kFloat32:
      return values;
    case UploadFormat::kBFloat16:
      return (values + 1) / 2;
    case UploadFormat::kInt8:
      return Blocks(values) + (values + 3) / 4;
  }
  FEDALT_CHECK(false, "all formats are named");
}

at::Tensor AsTransmitted(const at::Tensor& values, UploadFormat format) {
  if (format == UploadFormat::kFloat32) return values;
  return Decoded(Encoded(values.contiguous(), format), format, values.numel());
}

at::Tensor Encoded(const at::Tensor& values, UploadFormat format) {
  FEDALT_CHECK(values.scalar_type() == at::kFloat && values.is_contiguous() && values.is_cpu(), "contributions are of float32");
  if (format == UploadFormat::kFloat32) return values;
  at::Tensor words = at::zeros({EncodedWords(format, values.numel())}, at::kFloat);
  if (format == UploadFormat::kBFloat16) {
    words.view(at::kBFloat16).narrow(0, 0, values.numel()).copy_(values);
  } else {
    EncodeInt8(values, words);
  }
  return words;
}

at::Tensor Decoded(const at::Tensor& words, UploadFormat format, int64_t values) {
  FEDALT_CHECK(words.numel() == EncodedWords(format, values), "as many words as the values make");
  if (format == UploadFormat::kFloat32) return words;
  if (format == UploadFormat::kBFloat16) return words.view(at::kBFloat16).narrow(0, 0, values).to(at::kFloat);
  return DecodeInt8(words, values);
}

Status CheckBounded(std::string_view bytes, int64_t first, UploadFormat format, int64_t values, double limit) {
  const auto of_float = [](uint32_t bits) { return std::abs(static_cast<double>(std::bit_cast<float>(bits))); };
  if (format == UploadFormat::kBFloat16) {
    constexpr int kLowBits = 16;
    return CheckEach<uint16_t>(bytes, limit, [&](uint16_t bits) { return of_float(static_cast<uint32_t>(bits) << kLowBits); });
  }
  if (format == UploadFormat::kFloat32) return CheckEach<uint32_t>(bytes, limit, of_float);
  // The scales; what they scale is at most 128.
  constexpr double kLargestNumber = 128.0;
  const int64_t scales = std::max<int64_t>(Blocks(values) - first, 0);
  bytes = bytes.substr(0, std::min(bytes.size(), static_cast<size_t>(scales) * sizeof(float)));
  return CheckEach<uint32_t>(bytes, limit, [&](uint32_t bits) { return kLargestNumber * of_float(bits); });
}

}  // namespace fedalt
