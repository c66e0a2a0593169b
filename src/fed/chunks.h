// A tensor as content-addressed pieces, as it travels and as the server keeps it: float32, little-endian, cut into 1 MiB.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/status.h"

namespace fedalt {

inline constexpr int64_t kChunkBytes = int64_t{1} << 20;

/// How many pieces that many values make.
int64_t ChunkCount(int64_t values);
/// The size in bytes of piece `index` (0-based) of that many values.
int64_t ChunkSize(int64_t values, int64_t index);

/// One tensor's pieces by their SHA-256, in order.
struct ChunkList {
  int64_t values = 0;
  std::vector<Sha256Digest> digests;
};

/// The bytes of piece `index`; they are the tensor's own. Precondition: float32, contiguous, on the CPU.
std::string_view ChunkOf(const at::Tensor& values, int64_t index);
ChunkList ChunksOf(const at::Tensor& values);
/// What a tensor is, in one hash: SHA-256 over those of its pieces, as 64 hex digits.
std::string ContentHash(const ChunkList& chunks);
/// Puts the tensor together from what `get` returns for each piece. Errors: those of `get`; kOutput for a piece whose size or hash
/// is not the listed one; kMemory.
StatusOr<at::Tensor> FromChunks(const ChunkList& chunks, const std::function<StatusOr<std::string>(const Sha256Digest&)>& get);

}  // namespace fedalt
