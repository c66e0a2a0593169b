#include "base/random.h"

#include <numeric>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/hash.h"

namespace fedalt {

std::array<uint32_t, 4> Philox4x32(uint64_t key, std::array<uint32_t, 4> c) {
  constexpr uint64_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kMul0 * c[0], p1 = kMul1 * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1), static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1,
         static_cast<uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

RandomStream::RandomStream(uint64_t seed, RandomPurpose purpose, std::initializer_list<uint64_t> path) {
  // Each element is absorbed by one block, so two paths give the same key only by a 64-bit collision.
  uint64_t key = seed;
  const auto absorb = [&key](uint64_t word, uint32_t tag) {
    const auto block = Philox4x32(key, {static_cast<uint32_t>(word), static_cast<uint32_t>(word >> 32), tag, 0x666C7431});
    key = (static_cast<uint64_t>(block[1]) << 32) | block[0];
  };
  absorb(static_cast<uint64_t>(purpose), 0);
  for (uint64_t word : path) absorb(word, 1);
  key_ = key;
}

uint64_t RandomStream::Bits(uint64_t index) const {
  const auto block = Philox4x32(key_, {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), 0, 0});
  return (static_cast<uint64_t>(block[1]) << 32) | block[0];
}

double RandomStream::Uniform(uint64_t index) const {
  return static_cast<double>(Bits(index) >> 11) * 0x1.0p-53;
}

uint64_t RandomStream::Below(uint64_t index, uint64_t bound) const {
  FEDALT_CHECK(bound > 0, "an empty range has no element");
  return static_cast<uint64_t>((static_cast<unsigned __int128>(Bits(index)) * bound) >> 64);
}

std::vector<int64_t> RandomStream::Permutation(int64_t n) const {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = n - 1; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)], order[Below(static_cast<uint64_t>(i), static_cast<uint64_t>(i) + 1)]);
  return order;
}

uint64_t StableId(std::string_view text) {
  const Sha256Digest digest = Sha256(text);
  uint64_t id = 0;
  for (int i = 0; i < 8; ++i) id = (id << 8) | digest[static_cast<size_t>(i)];
  return id;
}

uint64_t SiteAddress(std::string_view name, int64_t pass) {
  return StableId(pass == 0 ? std::string(name) : std::string(name) + "\n" + std::to_string(pass));
}

}  // namespace fedalt
