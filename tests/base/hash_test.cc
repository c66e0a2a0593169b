#include "base/hash.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/file.h"
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

TEST(Sha256, OfAFile) {
  const auto path = std::filesystem::path(testing::TempDir()) / "hash_test_file";
  ASSERT_TRUE(WriteFileAtomic(path, std::string(1000000, 'a')).ok());
  EXPECT_EQ(*Sha256OfFile(path), kMillionA);
  std::filesystem::remove(path);
  const auto missing = Sha256OfFile(path);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(KindOf(missing.status()), ErrorKind::kData);
}

TEST(StableId, IsTheBeginningOfTheHash) {
  EXPECT_EQ(StableId("abc"), 0xba7816bf8f01cfeau);
}

}  // namespace
}  // namespace fedalt
