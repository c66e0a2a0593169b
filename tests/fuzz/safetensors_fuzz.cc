// links: base deps_torch
// sources: src/model/safetensors_header.cc
// A safetensors header from any bytes: refused, or every entry lies inside the file and has the size of its dtype and shape.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "model/safetensors_header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto header = fedalt::ParseSafetensorsHeader(reinterpret_cast<const std::byte*>(data), size);
  if (!header.ok()) {
    FEDALT_CHECK(fedalt::KindOf(header.status()) == fedalt::ErrorKind::kModel && !header.status().message().empty(),
                 "an error says what is wrong");
    return 0;
  }
  uint64_t total = 0;
  for (const auto& [name, entry] : header->tensors) {
    FEDALT_CHECK(8 <= entry.begin && entry.begin <= entry.end && entry.end <= size, "inside the file");
    uint64_t bytes = c10::elementSize(entry.dtype);
    for (const int64_t length : entry.shape) bytes *= static_cast<uint64_t>(length);
    FEDALT_CHECK(bytes == entry.end - entry.begin, "as many bytes as dtype and shape need");
    total += bytes;
  }
  FEDALT_CHECK(total <= size, "no byte belongs to two tensors");
  return 0;
}
