#include "store/pieces.h"

#include <cstring>

namespace fedalt {

std::string PiecesOf(const ChunkList& chunks) {
  std::string pieces;
  for (const Sha256Digest& digest : chunks.digests) pieces.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  return pieces;
}

StatusOr<ChunkList> ChunksFrom(int64_t size, std::string_view pieces) {
  ChunkList chunks{size, {}};
  constexpr size_t kDigest = sizeof(Sha256Digest);
  if (size < 0 || pieces.size() % kDigest != 0 || static_cast<int64_t>(pieces.size() / kDigest) != ChunkCount(size))
    return OutputError(absl::StrCat("the database names ", pieces.size() / kDigest, " pieces for ", size,
                                    " values; it was changed by somebody else, put a backup back"));
  for (size_t at = 0; at < pieces.size(); at += kDigest) {
    Sha256Digest digest{};
    std::memcpy(digest.data(), &pieces[at], kDigest);
    chunks.digests.push_back(digest);
  }
  return chunks;
}

}  // namespace fedalt
