#include "base/merkle.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace fedalt {
namespace {

std::string_view BytesOf(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

/// The largest power of two smaller than n. Precondition: n > 1.
uint64_t Split(uint64_t n) {
  return std::bit_floor(n - 1);
}

}  // namespace

Sha256Digest MerkleLeaf(std::string_view data) {
  Sha256Stream stream;
  stream.Add(std::string_view("\x00", 1));
  stream.Add(data);
  return stream.Finish();
}

Sha256Digest MerkleNode(const Sha256Digest& left, const Sha256Digest& right) {
  Sha256Stream stream;
  stream.Add(std::string_view("\x01", 1));
  stream.Add(BytesOf(left));
  stream.Add(BytesOf(right));
  return stream.Finish();
}

void MerkleHead::Add(const Sha256Digest& leaf) {
  Sha256Digest root = leaf;
  for (uint64_t bits = size_; bits % 2 == 1; bits /= 2) {  // as adding one carries
    root = MerkleNode(complete_.back(), root);
    complete_.pop_back();
  }
  complete_.push_back(root);
  ++size_;
}

Sha256Digest MerkleHead::Root() const {
  if (complete_.empty()) return Sha256("");
  Sha256Digest root = complete_.back();
  for (size_t i = complete_.size() - 1; i-- > 0;) root = MerkleNode(complete_[i], root);
  return root;
}

Sha256Digest MerkleRoot(std::span<const Sha256Digest> leaves) {
  MerkleHead head;
  for (const Sha256Digest& leaf : leaves) head.Add(leaf);
  return head.Root();
}

std::vector<Sha256Digest> InclusionProof(std::span<const Sha256Digest> leaves, uint64_t index) {
  FEDALT_CHECK(index < leaves.size(), "there is no such leaf");
  std::vector<Sha256Digest> proof;
  while (leaves.size() > 1) {
    const uint64_t k = Split(leaves.size());
    const bool left = index < k;
    proof.push_back(MerkleRoot(left ? leaves.subspan(k) : leaves.first(k)));
    leaves = left ? leaves.first(k) : leaves.subspan(k);
    if (!left) index -= k;
  }
  std::reverse(proof.begin(), proof.end());
  return proof;
}

std::vector<Sha256Digest> ConsistencyProof(std::span<const Sha256Digest> leaves, uint64_t old_size) {
  FEDALT_CHECK(old_size <= leaves.size(), "the old tree is larger");
  std::vector<Sha256Digest> proof;
  if (old_size == 0) return proof;
  bool root_is_known = true;  // the b of SUBPROOF: this subtree is the whole old tree
  while (old_size < leaves.size()) {
    const uint64_t k = Split(leaves.size());
    const bool left = old_size <= k;
    proof.push_back(MerkleRoot(left ? leaves.subspan(k) : leaves.first(k)));
    leaves = left ? leaves.first(k) : leaves.subspan(k);
    if (!left) {
      old_size -= k;
      root_is_known = false;
    }
  }
  if (!root_is_known) proof.push_back(MerkleRoot(leaves));
  std::reverse(proof.begin(), proof.end());
  return proof;
}

bool VerifyInclusion(const Sha256Digest& leaf, uint64_t index, uint64_t size, std::span<const Sha256Digest> proof,
                     const Sha256Digest& root) {
  if (index >= size) return false;
  uint64_t node = index, last = size - 1;  // on the present level: the node on the path, and the last one
  Sha256Digest hash = leaf;
  for (const Sha256Digest& sibling : proof) {
    if (last == 0) return false;
    if (node % 2 == 1 || node == last) {
      hash = MerkleNode(sibling, hash);
      while (node % 2 == 0 && node != 0) {  // a last node without a sibling goes up as it is
        node /= 2;
        last /= 2;
      }
    } else {
      hash = MerkleNode(hash, sibling);
    }
    node /= 2;
    last /= 2;
  }
  return last == 0 && hash == root;
}

bool VerifyConsistency(const TreeHead& before, const TreeHead& now, std::span<const Sha256Digest> proof) {
  if (before.size > now.size) return false;
  if (before.size == now.size) return proof.empty() && before.root == now.root;
  if (before.size == 0) return proof.empty() && before.root == Sha256("");
  uint64_t node = before.size - 1, last = now.size - 1;
  while (node % 2 == 1) {  // up to the largest subtree that is complete in both
    node /= 2;
    last /= 2;
  }
  const bool old_root_is_first = std::has_single_bit(before.size);
  if (!old_root_is_first && proof.empty()) return false;
  Sha256Digest old_root = old_root_is_first ? before.root : proof.front(), new_root = old_root;
  for (const Sha256Digest& sibling : old_root_is_first ? proof : proof.subspan(1)) {
    if (last == 0) return false;
    if (node % 2 == 1 || node == last) {
      old_root = MerkleNode(sibling, old_root);
      new_root = MerkleNode(sibling, new_root);
      while (node % 2 == 0 && node != 0) {
        node /= 2;
        last /= 2;
      }
    } else {
      new_root = MerkleNode(new_root, sibling);
    }
    node /= 2;
    last /= 2;
  }
  return last == 0 && old_root == before.root && new_root == now.root;
}

}  // namespace fedalt
