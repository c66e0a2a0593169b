#include "base/merkle.h"

#include <gtest/gtest.h>
#include <sodium.h>

#include <string>

namespace fedalt {
namespace {

using Proof = std::vector<Sha256Digest>;

std::string BytesOfHex(std::string_view hex) {
  std::string bytes(hex.size() / 2, '\0');
  EXPECT_EQ(sodium_hex2bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), hex.data(), hex.size(), nullptr, nullptr,
                           nullptr),
            0);
  return bytes;
}

Sha256Digest Digest(std::string_view hex) {
  const std::string bytes = BytesOfHex(hex);
  Sha256Digest digest{};
  EXPECT_EQ(bytes.size(), digest.size());
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

// The eight leaves, their heads and proofs with which implementations of Certificate Transparency are compared.
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
constexpr char kLeaf1[] = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
constexpr char kLeaf4[] = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
constexpr char kNode23[] = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
constexpr char kNode45[] = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
constexpr char kNode67[] = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
constexpr char kNode4567[] = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";

std::vector<Sha256Digest> PublishedLeaves(size_t count) {
  std::vector<Sha256Digest> leaves;
  for (size_t i = 0; i < count; ++i) leaves.push_back(MerkleLeaf(BytesOfHex(kLeaves[i])));
  return leaves;
}

Proof Digests(const std::vector<const char*>& hexes) {
  Proof proof;
  for (const char* hex : hexes) proof.push_back(Digest(hex));
  return proof;
}

TEST(Merkle, PublishedHeads) {
  for (size_t size = 0; size <= 8; ++size) EXPECT_EQ(HexOf(MerkleRoot(PublishedLeaves(size))), kRoots[size]) << size;
}

TEST(Merkle, PublishedInclusionProofs) {
  const struct {
    uint64_t index, size;
    Proof proof;
  } cases[] = {
      {0, 1, {}},
      {0, 8, Digests({kLeaf1, kNode23, kNode4567})},
      {5, 8, Digests({kLeaf4, kNode67, kRoots[4]})},
      {2, 3, Digests({kRoots[2]})},
      {1, 5, Digests({kRoots[1], kNode23, kLeaf4})},
  };
  for (const auto& [index, size, proof] : cases) {
    const auto leaves = PublishedLeaves(size);
    EXPECT_EQ(InclusionProof(leaves, index), proof) << index << " of " << size;
    EXPECT_TRUE(VerifyInclusion(leaves[index], index, size, proof, Digest(kRoots[size]))) << index << " of " << size;
  }
}

TEST(Merkle, PublishedConsistencyProofs) {
  const struct {
    uint64_t before, now;
    Proof proof;
  } cases[] = {
      {1, 1, {}},
      {1, 8, Digests({kLeaf1, kNode23, kNode4567})},
      {6, 8, Digests({kNode45, kNode67, kRoots[4]})},
      {2, 5, Digests({kNode23, kLeaf4})},
      {2, 8, Digests({kNode23, kNode4567})},
  };
  for (const auto& [before, now, proof] : cases) {
    EXPECT_EQ(ConsistencyProof(PublishedLeaves(now), before), proof) << before << " to " << now;
    EXPECT_TRUE(VerifyConsistency({before, Digest(kRoots[before])}, {now, Digest(kRoots[now])}, proof)) << before << " to " << now;
  }
}

// Another published tree, of the bytes 0 to 6 as leaves.
TEST(Merkle, PublishedProofsOfSevenLeaves) {
  std::vector<Sha256Digest> leaves;
  for (char i = 0; i < 7; ++i) leaves.push_back(MerkleLeaf(std::string(1, i)));
  const char a[] = "fcf0a6c700dd13e274b6fba8deea8dd9b26e4eedde3495717cac8408c9c5177f";
  const char b[] = "a20bf9a7cc2dc8a08f5f415a71b19f6ac427bab54d24eec868b5d3103449953a";
  const char c[] = "89c929834ed1459b07f65b5e1a2143a8cf5d8efdf30f49ffffa328bb1d9133bb";
  const char d[] = "583c7dfb7b3055d99465544032a571e10a134b1b6f769422bbb71fd7fa167a5d";
  EXPECT_EQ(HexOf(MerkleRoot(leaves)), "3560191803028444b232018ac047fdb561c09c23a7a6876c85e08b5e4d48e9f3");
  EXPECT_EQ(InclusionProof(leaves, 3), Digests({a, b, c}));
  EXPECT_EQ(ConsistencyProof(leaves, 3), Digests({a, d, b, c}));
}

// Section 2.1 word for word, on pairs [begin, end).
uint64_t LargestPowerBelow(uint64_t n) {
  uint64_t k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}
Sha256Digest Mth(const Proof& d, uint64_t begin, uint64_t end) {
  if (begin == end) return Sha256("");
  if (end - begin == 1) return d[begin];
  const uint64_t middle = begin + LargestPowerBelow(end - begin);
  return MerkleNode(Mth(d, begin, middle), Mth(d, middle, end));
}
Proof Path(uint64_t m, const Proof& d, uint64_t begin, uint64_t end) {
  if (end - begin == 1) return {};
  const uint64_t k = LargestPowerBelow(end - begin), middle = begin + k;
  Proof path = m < k ? Path(m, d, begin, middle) : Path(m - k, d, middle, end);
  path.push_back(m < k ? Mth(d, middle, end) : Mth(d, begin, middle));
  return path;
}
Proof SubProof(uint64_t m, const Proof& d, uint64_t begin, uint64_t end, bool b) {
  if (m == end - begin) return b ? Proof{} : Proof{Mth(d, begin, end)};
  const uint64_t k = LargestPowerBelow(end - begin), middle = begin + k;
  Proof proof = m <= k ? SubProof(m, d, begin, middle, b) : SubProof(m - k, d, middle, end, false);
  proof.push_back(m <= k ? Mth(d, middle, end) : Mth(d, begin, middle));
  return proof;
}

// Every proof with one thing wrong.
std::vector<Proof> Spoilt(const Proof& proof) {
  std::vector<Proof> all;
  for (size_t i = 0; i < proof.size(); ++i) {
    all.push_back(proof);
    all.back()[i][i % 32] ^= 0x10;
    all.push_back(proof);
    all.back().erase(all.back().begin() + static_cast<std::ptrdiff_t>(i));
  }
  all.push_back(proof);
  all.back().push_back(Sha256("more"));
  all.push_back(proof);
  all.back().insert(all.back().begin(), Sha256("more"));
  return all;
}

TEST(Merkle, EqualsTheDefinitionUpToSeventyLeaves) {
  Proof leaves;
  MerkleHead head;
  for (uint64_t size = 0; size <= 70; ++size) {
    const Sha256Digest root = Mth(leaves, 0, size);
    EXPECT_EQ(head.Root(), root) << size;
    EXPECT_EQ(MerkleRoot(leaves), root) << size;
    EXPECT_EQ(head.size(), size);
    for (uint64_t i = 0; i < size; ++i) {
      const Proof proof = InclusionProof(leaves, i);
      EXPECT_EQ(proof, Path(i, leaves, 0, size)) << i << " of " << size;
      EXPECT_TRUE(VerifyInclusion(leaves[i], i, size, proof, root)) << i << " of " << size;
      EXPECT_FALSE(VerifyInclusion(Sha256("other"), i, size, proof, root));
      EXPECT_FALSE(VerifyInclusion(leaves[i], i + 1, size, proof, root));
      EXPECT_FALSE(VerifyInclusion(leaves[i], i, size, proof, Sha256("other")));
      for (const Proof& spoilt : Spoilt(proof)) EXPECT_FALSE(VerifyInclusion(leaves[i], i, size, spoilt, root));
    }
    for (uint64_t before = 0; before <= size; ++before) {
      const TreeHead old_head = {before, Mth(leaves, 0, before)}, new_head = {size, root};
      const Proof proof = ConsistencyProof(leaves, before);
      if (before > 0) {
        EXPECT_EQ(proof, SubProof(before, leaves, 0, size, true)) << before << " to " << size;
      }
      EXPECT_TRUE(VerifyConsistency(old_head, new_head, proof)) << before << " to " << size;
      EXPECT_FALSE(VerifyConsistency({before, Sha256("other")}, new_head, proof)) << before << " to " << size;
      if (before > 0) {
        EXPECT_FALSE(VerifyConsistency(old_head, {size, Sha256("other")}, proof)) << before << " to " << size;
      }
      for (const Proof& spoilt : Spoilt(proof)) EXPECT_FALSE(VerifyConsistency(old_head, new_head, spoilt));
    }
    leaves.push_back(MerkleLeaf("leaf " + std::to_string(size)));
    head.Add(leaves.back());
  }
}

TEST(Merkle, RefusesSizesThatCannotBe) {
  const auto leaves = PublishedLeaves(3);
  const Sha256Digest root = MerkleRoot(leaves);
  EXPECT_FALSE(VerifyInclusion(leaves[0], 0, 0, {}, root));
  EXPECT_FALSE(VerifyInclusion(leaves[0], 3, 3, InclusionProof(leaves, 0), root));
  EXPECT_FALSE(VerifyInclusion(leaves[0], UINT64_MAX, UINT64_MAX, {}, root));
  EXPECT_FALSE(VerifyConsistency({4, root}, {3, root}, {}));
  EXPECT_FALSE(VerifyConsistency({3, root}, {UINT64_MAX, root}, {}));
}

}  // namespace
}  // namespace fedalt
