// How the values of a contribution travel: float32, bfloat16, or 8 bits with a scale for each 64 values.
//
// A site rounds its contribution first (AsTransmitted) and keeps that, so that what it subtracts later is exactly what it sent; the
// encoding of rounded values loses nothing. On one machine the same rounding happens, and the results are the same.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "fed/options.h"

namespace fedalt {

/// Values that share a scale in UploadFormat::kInt8.
inline constexpr int64_t kScaleBlock = 64;

/// Words of 4 bytes that so many values make: float32 one each; bfloat16 two in a word; int8 the scales (float32), then four in a
/// word. The last word is filled up with zeros.
int64_t EncodedWords(UploadFormat format, int64_t values);

/// The values as the other end will have them: float32, flat. The error is none (float32), at most 2^-8 of a value (bfloat16, to
/// nearest even), at most 0.4 % of the largest magnitude among its 64 values (int8: half of a step of scale = largest / 127,
/// rounded up to 17 bits, so that products with a scale are exact). Magnitudes below 1e-30 become 0 in int8. AsTransmitted of its
/// own result changes nothing. Precondition: float32 (other dtypes only with kFloat32, which passes all through).
at::Tensor AsTransmitted(const at::Tensor& values, UploadFormat format);

/// As words (float32 as a container of bits; not to be calculated with). Precondition: float32, contiguous, on the CPU.
at::Tensor Encoded(const at::Tensor& values, UploadFormat format);
/// The inverse, of EncodedWords(format, values) words.
at::Tensor Decoded(const at::Tensor& words, UploadFormat format, int64_t values);

/// Whether the numbers in a chunk of the words, from word `first` on, are finite and decode to magnitudes of at most `limit`.
/// `bytes`: a multiple of 4 bytes. Errors: OutOfRange (names the first other number and where in the chunk it stands).
Status CheckBounded(std::string_view bytes, int64_t first, UploadFormat format, int64_t values, double limit);

}  // namespace fedalt
