#include "base/merkle.h"

namespace fedalt {
namespace {

std::string_view BytesOf(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
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

}  // namespace fedalt
