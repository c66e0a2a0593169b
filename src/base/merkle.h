// The Merkle tree of RFC 6962, section 2.1, with SHA-256, as far as the audit log needs it: tree heads.
//
// Everything works on leaf hashes, MerkleLeaf(data); the data themselves are the caller's. Functions are pure and may be called by
// any thread; a MerkleHead belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace fedalt {

/// SHA-256(0x00 || data).
Sha256Digest MerkleLeaf(std::string_view data);
/// SHA-256(0x01 || left || right).
Sha256Digest MerkleNode(const Sha256Digest& left, const Sha256Digest& right);

/// The tree head of leaves that come one after the other; keeps one hash per level, O(log n).
class MerkleHead {
 public:
  void Add(const Sha256Digest& leaf);
  uint64_t size() const { return size_; }
  /// MTH(D[size]); of no leaves, SHA-256 of nothing.
  Sha256Digest Root() const;

 private:
  uint64_t size_ = 0;
  std::vector<Sha256Digest> complete_;  ///< roots of the complete subtrees, largest first: one per bit of size_
};

/// MTH of all leaves at once.
Sha256Digest MerkleRoot(std::span<const Sha256Digest> leaves);

/// A tree head as others see it.
struct TreeHead {
  uint64_t size = 0;
  Sha256Digest root = {};
  bool operator==(const TreeHead&) const = default;
};

}  // namespace fedalt
