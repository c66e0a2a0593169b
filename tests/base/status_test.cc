#include "base/status.h"

#include <gtest/gtest.h>

#include <string>

#include "base/file.h"

namespace fedalt {
namespace {

constexpr ErrorKind kAllKinds[] = {ErrorKind::kInternal,  ErrorKind::kUsage,      ErrorKind::kConfig, ErrorKind::kModel,
                                   ErrorKind::kData,      ErrorKind::kOutput,     ErrorKind::kMemory, ErrorKind::kTraining,
                                   ErrorKind::kIntegrity, ErrorKind::kInterrupted};

TEST(Status, KeepsItsKind) {
  for (ErrorKind kind : kAllKinds) {
    const Status status = MakeError(kind, "what was found");
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(KindOf(status), kind);
    EXPECT_EQ(status.message(), "what was found");
  }
}

TEST(Status, OfALibraryIsInternal) {
  EXPECT_EQ(KindOf(absl::NotFoundError("x")), ErrorKind::kInternal);
}

TEST(Status, AnnotateKeepsTheKindAndLeavesOkAlone) {
  const Status status = Annotate(ModelError("no tensor x"), "model.safetensors");
  EXPECT_EQ(status.message(), "model.safetensors: no tensor x");
  EXPECT_EQ(KindOf(status), ErrorKind::kModel);
  EXPECT_TRUE(Annotate(absl::OkStatus(), "anything").ok());
}

StatusOr<int> Half(int value) {
  if (value % 2 != 0) return DataError("odd");
  return value / 2;
}
StatusOr<int> Quarter(int value) {
  ASSIGN_OR_RETURN(const int half, Half(value));
  ASSIGN_OR_RETURN(const int quarter, Half(half));
  RETURN_IF_ERROR(quarter == 7 ? ConfigError("seven") : absl::OkStatus());
  return quarter;
}
TEST(Status, MacrosReturnTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(KindOf(Quarter(6).status()), ErrorKind::kData);
  EXPECT_EQ(KindOf(Quarter(28).status()), ErrorKind::kConfig);
}

TEST(Status, EveryExitCodeIsDocumented) {
  const auto text = ReadFile(FEDALT_SOURCE "/docs/exit-codes.md", ErrorKind::kData);
  ASSERT_TRUE(text.ok()) << text.status();
  for (ErrorKind kind : kAllKinds) {
    EXPECT_NE(text->find(absl::StrCat("\n| ", static_cast<int>(kind), " | ")), std::string::npos) << static_cast<int>(kind);
  }
}

}  // namespace
}  // namespace fedalt
