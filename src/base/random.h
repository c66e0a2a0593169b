// Counter-based random numbers: every draw is a pure function of its key and its index, so there is no generator state to save,
// and the order of the draws, packing or threads cannot change them. Philox4x32-10 (Salmon et al., SC 2011).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace fedalt {

/// One Philox4x32-10 block: 128 random bits from a 64-bit key and a 128-bit counter.
std::array<uint32_t, 4> Philox4x32(uint64_t key, std::array<uint32_t, 4> counter);

/// What a stream of draws is for. Streams of different purposes never overlap.
enum class RandomPurpose : uint32_t {
  kInit = 1,
  kDropout = 2,
  kShuffle = 3,
  kSplit = 4,
  kParticipation = 5,
  kSampling = 6,
  kData = 7,
  kSiteSplit = 8,
  kBootstrap = 9,
  kFewShots = 10
};

/// A stream of independent draws, addressed by index. Cheap to copy; equal arguments give equal draws on every machine.
class RandomStream {
 public:
  /// `path` names the stream below the purpose, for example {site, round, step, module}.
  RandomStream(uint64_t seed, RandomPurpose purpose, std::initializer_list<uint64_t> path);

  /// 64 random bits for draw `index`.
  uint64_t Bits(uint64_t index) const;
  /// Uniform in [0, 1), 53 bits.
  double Uniform(uint64_t index) const;
  /// Uniform integer in [0, bound), bound > 0, without modulo bias worth naming (< 2^-32 for bound < 2^32).
  uint64_t Below(uint64_t index, uint64_t bound) const;
  /// A permutation of 0..n-1 (Fisher-Yates over draws 0..n-1).
  std::vector<int64_t> Permutation(int64_t n) const;

  /// The 64-bit key of this stream, for kernels that call Philox4x32 themselves.
  uint64_t key() const { return key_; }

 private:
  uint64_t key_;
};

/// A stable 64-bit name for a string (first 8 bytes of its SHA-256), for use in a stream's path.
uint64_t StableId(std::string_view text);

/// The address of a site's draws, for a stream's path: StableId of its name, so no draw depends on the order of the sites. Later
/// passes of a round (0-based) have addresses of their own: StableId of the name, a line feed (no name holds one) and the number.
uint64_t SiteAddress(std::string_view name, int64_t pass = 0);

}  // namespace fedalt
