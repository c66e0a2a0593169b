// SHA-256 of bytes and files (libsodium), and CRC-32C for the formats that frame their records with it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

using Sha256Digest = std::array<uint8_t, 32>;

Sha256Digest Sha256(std::string_view bytes);
std::string HexOf(const Sha256Digest& digest);
/// Lower-case hex SHA-256 of a file's content; reads it once, in pieces. `progress`: told after each how many bytes are done.
/// Errors: kData; kInterrupted where a stop was asked for.
StatusOr<std::string> Sha256OfFile(const std::filesystem::path& path, const std::function<void(int64_t)>& progress = {});

/// CRC-32C (Castagnoli) as in RFC 3720, sections 12.1 and B.4. It finds what went wrong by accident, not what somebody changed.
uint32_t Crc32c(std::string_view bytes);

/// Hash built from pieces.
class Sha256Stream {
 public:
  Sha256Stream();
  void Add(std::string_view bytes);
  Sha256Digest Finish();

 private:
  alignas(16) std::array<uint8_t, 128> state_;
};

}  // namespace fedalt
