#include "base/hash.h"

#include <gtest/gtest.h>
#include <sodium.h>

#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/random.h"

namespace fedalt {
namespace {

// FIPS 180-2, appendix B.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kMillionA[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(HexOf(Sha256("abc")), kAbc);
  EXPECT_EQ(HexOf(Sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HexOf(Sha256(std::string(1000000, 'a'))), kMillionA);
}

TEST(Sha256, PiecesGiveTheHashOfTheWhole) {
  Sha256Stream stream;
  const std::string piece(999, 'a');
  for (int i = 0; i < 1001; ++i) stream.Add(piece);
  stream.Add("a");
  EXPECT_EQ(HexOf(stream.Finish()), kMillionA);
}

// RFC 3720, appendix B.4, whose bytes are the little-endian ones of these numbers.
TEST(Crc32c, KnownAnswers) {
  std::string up, down;
  for (char i = 0; i < 32; ++i) {
    up += i;
    down += static_cast<char>(31 - i);
  }
  std::string read_command(48, '\0');
  for (const auto& [place, byte] :
       {std::pair{0, 0x01}, {1, 0xC0}, {16, 0x14}, {22, 0x04}, {27, 0x14}, {31, 0x18}, {32, 0x28}, {40, 0x02}})
    read_command[place] = static_cast<char>(byte);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(Crc32c(up), 0x46DD794Eu);
  EXPECT_EQ(Crc32c(down), 0x113FDB5Cu);
  EXPECT_EQ(Crc32c(read_command), 0xD9963A56u);
  EXPECT_EQ(Crc32c(""), 0u);
}

TEST(Sha256, IsTheSameForAllLengthsAndPieces) {
  std::string bytes(400, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 37 + i / 7);
  for (size_t length = 0; length <= bytes.size(); ++length)
    for (size_t first = 0; first <= length; first += 13) {
      const std::string_view whole = std::string_view(bytes).substr(0, length);
      Sha256Digest expected{};
      crypto_hash_sha256(expected.data(), reinterpret_cast<const unsigned char*>(whole.data()), whole.size());
      Sha256Stream stream;
      stream.Add(whole.substr(0, first));
      stream.Add(whole.substr(first));
      ASSERT_EQ(HexOf(stream.Finish()), HexOf(expected)) << length << " bytes, " << first << " of them first";
    }
}

TEST(Sha256, OfAFile) {
  const auto path = std::filesystem::path(testing::TempDir()) / "hash_test_file";
  ASSERT_TRUE(WriteFileAtomic(path, std::string(1000000, 'a')).ok());
  EXPECT_EQ(*Sha256OfFile(path), kMillionA);
  std::filesystem::remove(path);
  const auto missing = Sha256OfFile(path);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(KindOf(missing.status()), ErrorKind::kData);
}

TEST(Sha256, OfAFileHearsAWishToStop) {
  const auto path = std::filesystem::path(testing::TempDir()) / "hash_test_stopped";
  ASSERT_TRUE(WriteFileAtomic(path, std::string(5 << 20, 'a')).ok());
  std::vector<int64_t> told;
  const auto hash = Sha256OfFile(path, [&](int64_t bytes) {
    told.push_back(bytes);
    if (told.size() == 2) SetInterruptRequested(true);
  });
  SetInterruptRequested(false);
  ASSERT_FALSE(hash.ok());
  EXPECT_EQ(KindOf(hash.status()), ErrorKind::kInterrupted);
  EXPECT_EQ(told, (std::vector<int64_t>{1 << 20, 2 << 20}));
  std::filesystem::remove(path);
}

TEST(StableId, IsTheBeginningOfTheHash) {
  EXPECT_EQ(StableId("abc"), 0xba7816bf8f01cfeau);
}

}  // namespace
}  // namespace fedalt
