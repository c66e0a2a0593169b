#include "base/signature.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/private_file.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

template <size_t kSize>
std::array<uint8_t, kSize> ArrayOf(const std::string& hex) {
  const std::string bytes = FromHex(hex);
  std::array<uint8_t, kSize> array{};
  EXPECT_EQ(bytes.size(), kSize) << hex;
  std::copy_n(bytes.begin(), std::min(kSize, bytes.size()), array.begin());
  return array;
}

// RFC 8032, section 7.1: tests 1, 2, 3 and SHA(abc).
struct Vector {
  const char *seed, *public_key, *message, *signature;
};
constexpr Vector kVectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a1"
     "00b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0"
     "c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec"
     "40a"},
    {"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
     "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca"
     "49f",
     "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a"
     "704"},
};

TEST(Ed25519, GivesTheSignaturesOfTheStandard) {
  for (const Vector& vector : kVectors) {
    const SigningKey key = SigningKey::FromSeed(ArrayOf<32>(vector.seed));
    EXPECT_EQ(key.public_key().Hex(), vector.public_key);
    EXPECT_EQ(key.Sign(FromHex(vector.message)), ArrayOf<64>(vector.signature)) << vector.public_key;
    const auto other = VerifyingKey::FromHex(vector.public_key);
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ(*other, key.public_key());
    EXPECT_TRUE(other->Verifies(FromHex(vector.message), ArrayOf<64>(vector.signature)));
  }
}

TEST(Ed25519, RefusesEveryChangedBit) {
  const Vector& vector = kVectors[2];
  const std::string message = FromHex(vector.message);
  const VerifyingKey key = *VerifyingKey::FromHex(vector.public_key);
  const Ed25519Signature signature = ArrayOf<64>(vector.signature);
  for (size_t bit = 0; bit < 512; ++bit) {
    Ed25519Signature changed = signature;
    changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_FALSE(key.Verifies(message, changed)) << "bit " << bit;
  }
  for (size_t bit = 0; bit < message.size() * 8; ++bit) {
    std::string changed = message;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(key.Verifies(changed, signature)) << "bit " << bit;
  }
  EXPECT_FALSE(key.Verifies(message + '\0', signature));
  EXPECT_FALSE(VerifyingKey::FromHex(kVectors[0].public_key)->Verifies(message, signature));
}

// A second number S that fits the equation as well must not count (RFC 8032, section 8.4).
TEST(Ed25519, RefusesTheSameSignatureWrittenOtherwise) {
  const auto order = ArrayOf<32>("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
  for (const Vector& vector : kVectors) {
    Ed25519Signature changed = ArrayOf<64>(vector.signature);
    int carry = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      carry += changed[32 + i] + order[i];
      changed[32 + i] = static_cast<uint8_t>(carry & 255);
      carry >>= 8;
    }
    ASSERT_EQ(carry, 0);
    EXPECT_FALSE(VerifyingKey::FromHex(vector.public_key)->Verifies(FromHex(vector.message), changed));
  }
}

TEST(VerifyingKey, RefusesWhatIsNoKey) {
  const std::string good = kVectors[0].public_key;
  std::string capitals = good;
  for (char& c : capitals) c = static_cast<char>(std::toupper(c));
  for (const std::string& text : {std::string(), good.substr(1), good + "00", "g" + good.substr(1), capitals, " " + good.substr(1),
                                  std::string("01") + std::string(62, '0'),     // the neutral point
                                  std::string(64, '0'),                         // order 4
                                  "ed" + std::string(60, 'f') + "7f",           // y = p, which is 0 written otherwise
                                  std::string("02") + std::string(62, '0')}) {  // not on the curve
    const auto key = VerifyingKey::FromHex(text);
    ASSERT_FALSE(key.ok()) << text;
    EXPECT_EQ(KindOf(key.status()), ErrorKind::kConfig);
  }
}

class SigningKeyFile : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Refusal() {
    const auto key = SigningKey::Load(path_);
    if (key.ok()) return "accepted";
    EXPECT_EQ(KindOf(key.status()), ErrorKind::kConfig);
    EXPECT_EQ(key.status().message().find(kVectors[0].seed), std::string::npos) << "the secret is in the message";
    return std::string(key.status().message());
  }
  void Write(const std::string& text) { ASSERT_TRUE(WritePrivateFileAtomic(path_, text).ok()); }
  const fs::path folder_ = fs::path(testing::TempDir()) / absl::StrCat("signature_test-", ::getpid());
  const fs::path path_ = folder_ / "signing.key";
};

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(SigningKeyFile, IsReadAsItWasWritten) {
  const SigningKey key = SigningKey::FromSeed(ArrayOf<32>(kVectors[0].seed));
  ASSERT_TRUE(key.Save(path_).ok());
  EXPECT_EQ(*ReadFile(path_, ErrorKind::kConfig), std::string("fedalt-signing-key ") + kVectors[0].seed + "\n");
  const auto read = SigningKey::Load(path_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->public_key(), key.public_key());
  EXPECT_EQ(read->Sign("x"), key.Sign("x"));
}

TEST_F(SigningKeyFile, IsForItsOwnerAlone) {
  std::ofstream(folder_ / absl::StrCat("signing.key.part-", ::getpid())) << "left behind, with another mode";
  ASSERT_TRUE(SigningKey::Generate().Save(path_).ok());
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  for (const mode_t mode : {0644, 0604, 0620, 0602, 0601}) {
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
    EXPECT_SAYS(Refusal(), "chmod 600") << std::oct << mode;
  }
  for (const mode_t mode : {0600, 0400, 0440}) {
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
    EXPECT_EQ(Refusal(), "accepted") << std::oct << mode;
  }
}

TEST_F(SigningKeyFile, RefusesOtherContent) {
  const std::string seed = kVectors[0].seed;
  EXPECT_SAYS(Refusal(), "cannot be opened");
  for (const std::string& text :
       {std::string(), seed, "fedalt-signing-key " + seed.substr(1), "fedalt-signing-key " + seed + "0",
        "fedalt-signing-key  " + seed, "fedalt-signing-key " + seed + "\n\n", "fedalt-signing-key " + std::string(64, 'z')}) {
    Write(text);
    EXPECT_SAYS(Refusal(), "is no signing key");
  }
  Write("fedalt-signing-key " + seed);  // without the newline that editors add or take away
  EXPECT_EQ(Refusal(), "accepted");
  Write(std::string(5000, 'x'));
  EXPECT_SAYS(Refusal(), "at most 4096");
}

TEST(SigningKey, NewOnesDiffer) {
  EXPECT_NE(SigningKey::Generate().public_key(), SigningKey::Generate().public_key());
}

TEST(SigningKey, MovesWithItsSecret) {
  SigningKey key = SigningKey::FromSeed(ArrayOf<32>(kVectors[0].seed));
  SigningKey moved = SigningKey::Generate();
  moved = std::move(key);
  EXPECT_EQ(moved.Sign(""), ArrayOf<64>(kVectors[0].signature));
}

// RFC 8032, section 7.1, tests 1 and 2.
constexpr char kKey1[] = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
constexpr char kSignature1[] =
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a10"
    "0b";
constexpr char kKey2[] = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
constexpr char kSignature2[] =
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c"
    "00";

TEST(VerifySignature, PublishedSignatures) {
  EXPECT_TRUE(VerifySignature(kKey1, "", FromHex(kSignature1)));
  EXPECT_TRUE(VerifySignature(kKey2, "\x72", FromHex(kSignature2)));
}

TEST(VerifySignature, RefusesEverythingElse) {
  const std::string signature = FromHex(kSignature2);
  EXPECT_FALSE(VerifySignature(kKey1, "\x72", signature));
  EXPECT_FALSE(VerifySignature(kKey2, "\x73", signature));
  EXPECT_FALSE(VerifySignature(kKey2, "\x72", signature.substr(1)));
  EXPECT_FALSE(VerifySignature(kKey2, "\x72", signature + "x"));
  EXPECT_FALSE(VerifySignature(kKey2, "\x72", ""));
  EXPECT_FALSE(VerifySignature("", "\x72", signature));
  EXPECT_FALSE(VerifySignature(std::string(kKey2) + "00", "\x72", signature));
  EXPECT_FALSE(VerifySignature(std::string(63, '0') + "g", "\x72", signature));
  std::string changed = signature;
  changed[40] ^= 1;
  EXPECT_FALSE(VerifySignature(kKey2, "\x72", changed));
}

}  // namespace
}  // namespace fedalt
