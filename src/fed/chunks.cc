#include "fed/chunks.h"

#include <algorithm>
#include <bit>
#include <exception>

#include "base/check.h"

namespace fedalt {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors travel as they lie in memory");

constexpr int64_t kValueBytes = sizeof(float), kChunkValues = kChunkBytes / kValueBytes;

}  // namespace

// A number of values comes off the wire, and times its bytes it may be more than there are numbers.
int64_t ChunkCount(int64_t values) {
  return values / kChunkValues + (values % kChunkValues > 0 ? 1 : 0);
}

int64_t ChunkSize(int64_t values, int64_t index) {
  return std::min(kChunkValues, values - index * kChunkValues) * kValueBytes;
}

std::string_view ChunkOf(const at::Tensor& values, int64_t index) {
  FEDALT_CHECK(values.scalar_type() == at::kFloat && values.is_contiguous() && values.is_cpu(), "chunks are of float32 in memory");
  const char* bytes = reinterpret_cast<const char*>(values.data_ptr<float>());
  return {bytes + index * kChunkBytes, static_cast<size_t>(ChunkSize(values.numel(), index))};
}

ChunkList ChunksOf(const at::Tensor& values) {
  ChunkList chunks{values.numel(), {}};
  for (int64_t i = 0; i < ChunkCount(values.numel()); ++i) chunks.digests.push_back(Sha256(ChunkOf(values, i)));
  return chunks;
}

std::string ContentHash(const ChunkList& chunks) {
  std::string all;
  for (const Sha256Digest& digest : chunks.digests) all.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  return HexOf(Sha256(all));
}

StatusOr<at::Tensor> FromChunks(const ChunkList& chunks, const std::function<StatusOr<std::string>(const Sha256Digest&)>& get) {
  FEDALT_CHECK(static_cast<int64_t>(chunks.digests.size()) == ChunkCount(chunks.values), "as many pieces as the values make");
  at::Tensor values;
  try {
    values = at::empty({chunks.values}, at::kFloat);
  } catch (const std::exception&) {
    return MemoryError(absl::StrCat("a tensor of ", chunks.values, " values does not fit into this machine's memory"));
  }
  char* to = reinterpret_cast<char*>(values.data_ptr<float>());
  for (size_t i = 0; i < chunks.digests.size(); ++i) {
    const int64_t size = ChunkSize(chunks.values, static_cast<int64_t>(i));
    ASSIGN_OR_RETURN(const std::string bytes, get(chunks.digests[i]));
    if (static_cast<int64_t>(bytes.size()) != size || Sha256(bytes) != chunks.digests[i])
      return OutputError(absl::StrCat("piece ", i, " of a tensor is damaged (", bytes.size(), " bytes, expected ", size,
                                      " with SHA-256 ", HexOf(chunks.digests[i]), ")"));
    std::copy(bytes.begin(), bytes.end(), to + static_cast<int64_t>(i) * kChunkBytes);
  }
  return values;
}

}  // namespace fedalt
