// A tensor's list of pieces as a column of the database: their SHA-256, one after the other.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "fed/chunks.h"

namespace fedalt {

std::string PiecesOf(const ChunkList& chunks);
/// Errors: kOutput (not as many as that many words make).
StatusOr<ChunkList> ChunksFrom(int64_t words, std::string_view pieces);

}  // namespace fedalt
