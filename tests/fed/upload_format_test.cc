#include "fed/upload_format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/random.h"

namespace fedalt {
namespace {

constexpr UploadFormat kFormats[] = {UploadFormat::kFloat32, UploadFormat::kBFloat16, UploadFormat::kInt8};

/// Values of many magnitudes, so that blocks differ.
at::Tensor SomeValues(int64_t count) {
  const RandomStream draws(7, RandomPurpose::kData, {static_cast<uint64_t>(count)});
  at::Tensor values = at::empty({count}, at::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    const double magnitude = std::pow(10.0, 12.0 * draws.Uniform(static_cast<uint64_t>(i / 50)) - 9.0);
    values[i] = static_cast<float>(magnitude * (2.0 * draws.Uniform(static_cast<uint64_t>(count + i)) - 1.0));
  }
  return values;
}

std::string_view BytesOf(const at::Tensor& words) {
  return {reinterpret_cast<const char*>(words.data_ptr<float>()), static_cast<size_t>(words.nbytes())};
}

TEST(UploadFormat, WhatIsTransmittedIsTransmittedExactly) {
  for (const UploadFormat format : kFormats)
    for (const int64_t count : {0, 1, 2, 63, 64, 65, 1000, 4099}) {
      const at::Tensor rounded = AsTransmitted(SomeValues(count), format), words = Encoded(rounded, format);
      EXPECT_EQ(words.numel(), EncodedWords(format, count));
      const at::Tensor back = Decoded(words, format, count);
      ASSERT_EQ(back.numel(), count);
      EXPECT_EQ(BytesOf(back), BytesOf(rounded)) << "format " << static_cast<int>(format) << ", " << count << " values";
      EXPECT_TRUE(AsTransmitted(rounded, format).equal(rounded));
    }
}

TEST(UploadFormat, TheErrorIsWithinWhatIsStated) {
  const int64_t count = 64 * 100 + 17;
  const at::Tensor values = SomeValues(count);
  EXPECT_TRUE(AsTransmitted(values, UploadFormat::kFloat32).equal(values));
  const at::Tensor halves = AsTransmitted(values, UploadFormat::kBFloat16), eighths = AsTransmitted(values, UploadFormat::kInt8);
  double greatest = 0.0;
  for (int64_t block = 0; block < count; block += kScaleBlock) {
    const int64_t size = std::min(kScaleBlock, count - block);
    const double largest = values.narrow(0, block, size).abs().max().item<double>();
    for (int64_t i = block; i < block + size; ++i) {
      const double value = values[i].item<double>();
      EXPECT_LE(std::abs(halves[i].item<double>() - value), std::abs(value) / 256.0);
      const double error = std::abs(eighths[i].item<double>() - value);
      EXPECT_LE(error, 0.004 * largest);
      greatest = std::max(greatest, error / largest);
    }
  }
  EXPECT_GT(greatest, 0.003);  // the bound is not idle
}

TEST(UploadFormat, ThePublishedSizesHold) {
  EXPECT_EQ(EncodedWords(UploadFormat::kFloat32, 4'194'304), 4'194'304);
  EXPECT_EQ(EncodedWords(UploadFormat::kBFloat16, 4'194'304), 2'097'152);
  EXPECT_EQ(EncodedWords(UploadFormat::kInt8, 4'194'304), 1'048'576 + 65'536);
}

TEST(UploadFormat, ValuesThatAreNotFiniteAreFoundInWhatArrives) {
  constexpr int64_t kCount = 200;
  for (const UploadFormat format : kFormats)
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      at::Tensor values = SomeValues(kCount);
      EXPECT_TRUE(CheckBounded(BytesOf(Encoded(values, format)), 0, format, kCount, 1e6).ok());
      values[130] = bad;
      EXPECT_FALSE(CheckBounded(BytesOf(Encoded(values, format)), 0, format, kCount, 1e6).ok()) << static_cast<int>(format);
    }
  // So are those that decode to more than the limit.
  for (const UploadFormat format : kFormats) {
    at::Tensor values = SomeValues(kCount);
    values[130] = -1000.0;
    EXPECT_TRUE(CheckBounded(BytesOf(Encoded(values, format)), 0, format, kCount, 1010.0).ok()) << static_cast<int>(format);
    const Status found = CheckBounded(BytesOf(Encoded(values, format)), 0, format, kCount, 990.0);
    EXPECT_TRUE(absl::IsOutOfRange(found)) << found;
  }
  // Numbers behind the scales are any bits.
  at::Tensor words = at::zeros({EncodedWords(UploadFormat::kInt8, kCount)}, at::kFloat);
  words[10] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(CheckBounded(BytesOf(words), 0, UploadFormat::kInt8, kCount, 1e6).ok());
  EXPECT_TRUE(CheckBounded(BytesOf(words).substr(16), 4, UploadFormat::kInt8, kCount, 1e6).ok());
  words[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(CheckBounded(BytesOf(words).substr(8), 2, UploadFormat::kInt8, kCount, 1e6).ok());
}

}  // namespace
}  // namespace fedalt
