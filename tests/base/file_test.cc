#include "base/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "base/file_size_limit.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::path(::testing::TempDir()) / absl::StrCat("file_test-", ::getpid());
    fs::remove_all(directory_);
    ASSERT_TRUE(MakeDirectories(directory_ / "a/b").ok());
  }
  void TearDown() override { fs::remove_all(directory_); }
  size_t FilesIn(const fs::path& directory) {
    return static_cast<size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
  }
  fs::path directory_;
};

TEST_F(FileTest, WhatIsWrittenIsRead) {
  const std::string bytes("a\0b\n\xff", 5);
  const fs::path path = directory_ / "a/b/file";
  ASSERT_TRUE(WriteFileAtomic(path, bytes).ok());
  EXPECT_EQ(*ReadFile(path, ErrorKind::kData), bytes);
  ASSERT_TRUE(WriteFileAtomic(path, "").ok());
  EXPECT_EQ(*ReadFile(path, ErrorKind::kData), "");
  EXPECT_EQ(FilesIn(directory_ / "a/b"), 1u);
}

TEST_F(FileTest, FailedReadsNameThePathAndKeepTheKind) {
  const auto missing = ReadFile(directory_ / "none", ErrorKind::kModel);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(KindOf(missing.status()), ErrorKind::kModel);
  EXPECT_NE(missing.status().message().find((directory_ / "none").string()), absl::string_view::npos);
  EXPECT_FALSE(ReadFile(directory_, ErrorKind::kModel).ok());
  ASSERT_TRUE(WriteFileAtomic(directory_ / "ten", "0123456789").ok());
  EXPECT_TRUE(ReadFile(directory_ / "ten", ErrorKind::kData, 10).ok());
  EXPECT_FALSE(ReadFile(directory_ / "ten", ErrorKind::kData, 9).ok());
}

TEST_F(FileTest, AFullDiskLeavesTheOldFileAndNoPart) {
  const fs::path path = directory_ / "file";
  ASSERT_TRUE(WriteFileAtomic(path, "old").ok());
  Status status;
  {
    const testing::FileSizeLimit limit(100000);
    status = WriteFileAtomic(path, std::string(300000, 'x'));
  }
  EXPECT_EQ(KindOf(status), ErrorKind::kOutput);
  EXPECT_NE(status.message().find(path.string()), absl::string_view::npos);
  EXPECT_EQ(*ReadFile(path, ErrorKind::kData), "old");
  EXPECT_EQ(FilesIn(directory_), 2u);  // it and the folder a
}

TEST_F(FileTest, AnErrorOfTheProducerLeavesTheOldFileAndNoPart) {
  const fs::path path = directory_ / "file";
  ASSERT_TRUE(WriteFileAtomic(path, "old").ok());
  const Status status = WriteFileAtomic(path, [](const AppendBytes& append) -> Status {
    RETURN_IF_ERROR(append("new"));
    return TrainingError("not finite");
  });
  EXPECT_EQ(KindOf(status), ErrorKind::kTraining);
  EXPECT_EQ(*ReadFile(path, ErrorKind::kData), "old");
  EXPECT_EQ(FilesIn(directory_), 2u);
}

TEST_F(FileTest, AFullDeviceIsAnOutputErrorThatSaysSo) {
  const Status status = AppendLine("/dev/full", "a line");
  EXPECT_EQ(KindOf(status), ErrorKind::kOutput);
  EXPECT_NE(status.message().find(std::strerror(ENOSPC)), absl::string_view::npos) << status.message();
}

TEST_F(FileTest, LinesAreAppended) {
  const fs::path path = directory_ / "lines";
  ASSERT_TRUE(AppendLine(path, "one").ok());
  ASSERT_TRUE(AppendLine(path, "two").ok());
  EXPECT_EQ(*ReadFile(path, ErrorKind::kData), "one\ntwo\n");
}

TEST_F(FileTest, ADirectoryThatCannotBeMadeIsAnOutputError) {
  ASSERT_TRUE(WriteFileAtomic(directory_ / "file", "x").ok());
  EXPECT_EQ(KindOf(MakeDirectories(directory_ / "file")), ErrorKind::kOutput);
  EXPECT_EQ(KindOf(MakeDirectories(directory_ / "file/below")), ErrorKind::kOutput);
  EXPECT_EQ(KindOf(WriteFileAtomic(directory_ / "none/file", "x")), ErrorKind::kOutput);
}

TEST_F(FileTest, ADirectoryIsThereAsAWholeOrNotAtAll) {
  const auto fill = [](const fs::path& folder) -> Status {
    RETURN_IF_ERROR(MakeDirectories(folder / "inner"));
    return WriteFileAtomic(folder / "inner/file", "x");
  };
  const fs::path place = directory_ / "new/place";
  ASSERT_TRUE(WriteDirectoryAtomic(place, fill).ok());
  EXPECT_EQ(*ReadFile(place / "inner/file", ErrorKind::kData), "x");
  EXPECT_EQ(FilesIn(place.parent_path()), 1u);
  ASSERT_TRUE(WriteDirectoryAtomic((directory_ / "a/b/").string(), fill).ok()) << "an empty directory, with a slash behind it";
  EXPECT_TRUE(fs::exists(directory_ / "a/b/inner/file"));

  const Status taken = WriteDirectoryAtomic(place, fill);
  EXPECT_EQ(KindOf(taken), ErrorKind::kOutput);
  EXPECT_NE(taken.message().find("is not an empty directory; choose another --out"), std::string::npos) << taken;
  EXPECT_EQ(KindOf(CheckNewOrEmpty(place / "inner/file")), ErrorKind::kOutput);
  const fs::path failed = directory_ / "failed";
  EXPECT_EQ(KindOf(WriteDirectoryAtomic(failed,
                                        [&](const fs::path& folder) {
                                          EXPECT_TRUE(fill(folder).ok());
                                          return DataError("no");
                                        })),
            ErrorKind::kData);
  EXPECT_FALSE(fs::exists(failed));
  EXPECT_EQ(FilesIn(directory_), 2u) << "a and new; no temporary directory stays";
}

TEST_F(FileTest, AMapOutlivesTheNameOfItsFile) {
  const fs::path path = directory_ / "file";
  ASSERT_TRUE(WriteFileAtomic(path, "mapped").ok());
  const auto map = MappedFile::Open(path, ErrorKind::kModel);
  ASSERT_TRUE(map.ok());
  fs::remove(path);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>((*map)->data()), (*map)->size()), "mapped");
  ASSERT_TRUE(WriteFileAtomic(path, "").ok());
  EXPECT_EQ((*MappedFile::Open(path, ErrorKind::kModel))->size(), 0u);
  EXPECT_EQ(KindOf(MappedFile::Open(directory_ / "none", ErrorKind::kModel).status()), ErrorKind::kModel);
}

}  // namespace
}  // namespace fedalt
