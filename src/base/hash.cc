#include "base/hash.h"

#include <sodium.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "base/interrupt.h"
#include "base/sha256_blocks.h"

namespace fedalt {
namespace {
crypto_hash_sha256_state* StateOf(std::array<uint8_t, 128>& bytes) {
  static_assert(sizeof(crypto_hash_sha256_state) <= 128);
  return reinterpret_cast<crypto_hash_sha256_state*>(bytes.data());
}

/// Remainders of all bytes, for the polynomial 0x1EDC6F41 with its bits turned round.
constexpr std::array<uint32_t, 256> kCrc32cTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ (remainder % 2 == 1 ? 0x82F63B78u : 0u);
    table[byte] = remainder;
  }
  return table;
}();
}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) crc = (crc >> 8) ^ kCrc32cTable[(crc ^ static_cast<uint8_t>(byte)) & 0xFFu];
  return ~crc;
}

Sha256Stream::Sha256Stream() {
  crypto_hash_sha256_init(StateOf(state_));
}

void Sha256Stream::Add(std::string_view bytes) {
  // libsodium's state is that of the standard: eight words, the bits so far, and the bytes of a block that is not full.
  constexpr size_t kBlock = 64;
  crypto_hash_sha256_state* const state = StateOf(state_);
  const auto* at = reinterpret_cast<const uint8_t*>(bytes.data());
  size_t left = bytes.size();
  const size_t held = state->count / 8 % kBlock, fills = held == 0 ? 0 : kBlock - held;
  if (HasSha256Instructions() && left >= fills + kBlock) {
    crypto_hash_sha256_update(state, at, fills);
    at += fills;
    left -= fills;
    AddSha256Blocks(state->state, at, left / kBlock);
    state->count += left / kBlock * kBlock * 8;
    at += left / kBlock * kBlock;
    left %= kBlock;
  }
  crypto_hash_sha256_update(state, at, left);
}

Sha256Digest Sha256Stream::Finish() {
  Sha256Digest digest;
  crypto_hash_sha256_final(StateOf(state_), digest.data());
  return digest;
}

Sha256Digest Sha256(std::string_view bytes) {
  Sha256Stream stream;
  stream.Add(bytes);
  return stream.Finish();
}

std::string HexOf(const Sha256Digest& digest) {
  std::string hex(digest.size() * 2 + 1, '\0');
  sodium_bin2hex(hex.data(), hex.size(), digest.data(), digest.size());
  hex.pop_back();
  return hex;
}

StatusOr<std::string> Sha256OfFile(const std::filesystem::path& path, const std::function<void(int64_t)>& progress) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) return DataError(absl::StrCat(path.string(), ": cannot be read (", std::string(std::strerror(errno)), ")"));
  Sha256Stream stream;
  std::vector<char> piece(size_t{1} << 20);
  size_t count = 0;
  int64_t done = 0;
  while ((count = std::fread(piece.data(), 1, piece.size(), file.get())) > 0) {
    stream.Add({piece.data(), count});
    done += static_cast<int64_t>(count);
    if (progress) progress(done);
    RETURN_IF_ERROR(CheckInterrupt(absl::StrCat(path.string(), " was hashed")));
  }
  if (std::ferror(file.get())) return DataError(absl::StrCat(path.string(), ": read error part way through; check the disk"));
  return HexOf(stream.Finish());
}

}  // namespace fedalt
