// The header of a safetensors file (github.com/huggingface/safetensors, "Format"), read from memory with every number checked.
// Apart from safetensors.h so that it needs nothing of libtorch but the names of dtypes: it is fuzzed by itself. Thread-safe.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace fedalt {

struct TensorEntry {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  ///< byte offsets inside the file, already checked against its size
  uint64_t end = 0;
};

/// Parses and checks a safetensors header of a whole file in memory: header length, JSON, duplicate names, dtypes, shapes whose
/// product overflows, offsets that lie, overlap, leave holes or point outside. Nothing is allocated from unchecked numbers. Errors:
/// kModel. Dtypes: F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL.
struct SafetensorsHeader {
  std::map<std::string, TensorEntry> tensors;
  std::map<std::string, std::string> metadata;
};
StatusOr<SafetensorsHeader> ParseSafetensorsHeader(const std::byte* data, size_t size);

}  // namespace fedalt
