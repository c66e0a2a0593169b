#include "base/merkle.h"

#include <gtest/gtest.h>
#include <sodium.h>

#include <string>
#include <vector>

namespace fedalt {
namespace {

std::string BytesOfHex(std::string_view hex) {
  std::string bytes(hex.size() / 2, '\0');
  EXPECT_EQ(sodium_hex2bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), hex.data(), hex.size(), nullptr, nullptr,
                           nullptr),
            0);
  return bytes;
}

// The eight leaves and their heads with which implementations of Certificate Transparency are compared.
constexpr const char* kLeaves[] = {
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"};
constexpr const char* kRoots[] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};
std::vector<Sha256Digest> PublishedLeaves(size_t count) {
  std::vector<Sha256Digest> leaves;
  for (size_t i = 0; i < count; ++i) leaves.push_back(MerkleLeaf(BytesOfHex(kLeaves[i])));
  return leaves;
}

TEST(Merkle, PublishedHeads) {
  for (size_t size = 0; size <= 8; ++size) EXPECT_EQ(HexOf(MerkleRoot(PublishedLeaves(size))), kRoots[size]) << size;
}

// Another published tree, of the bytes 0 to 6 as leaves.
TEST(Merkle, PublishedHeadOfSevenLeaves) {
  std::vector<Sha256Digest> leaves;
  for (char i = 0; i < 7; ++i) leaves.push_back(MerkleLeaf(std::string(1, i)));
  EXPECT_EQ(HexOf(MerkleRoot(leaves)), "3560191803028444b232018ac047fdb561c09c23a7a6876c85e08b5e4d48e9f3");
}

// Section 2.1 word for word, on pairs [begin, end).
uint64_t LargestPowerBelow(uint64_t n) {
  uint64_t k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}
Sha256Digest Mth(const std::vector<Sha256Digest>& d, uint64_t begin, uint64_t end) {
  if (begin == end) return Sha256("");
  if (end - begin == 1) return d[begin];
  const uint64_t middle = begin + LargestPowerBelow(end - begin);
  return MerkleNode(Mth(d, begin, middle), Mth(d, middle, end));
}

TEST(Merkle, EqualsTheDefinitionUpToSeventyLeaves) {
  std::vector<Sha256Digest> leaves;
  MerkleHead head;
  for (uint64_t size = 0; size <= 70; ++size) {
    const Sha256Digest root = Mth(leaves, 0, size);
    EXPECT_EQ(head.Root(), root) << size;
    EXPECT_EQ(MerkleRoot(leaves), root) << size;
    EXPECT_EQ(head.size(), size);
    leaves.push_back(MerkleLeaf("leaf " + std::to_string(size)));
    head.Add(leaves.back());
  }
}

}  // namespace
}  // namespace fedalt
