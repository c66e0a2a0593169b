#include "base/status.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/file.h"

namespace fedalt {
namespace {

constexpr ErrorKind kAllKinds[] = {ErrorKind::kInternal,  ErrorKind::kUsage,      ErrorKind::kConfig, ErrorKind::kModel,
                                   ErrorKind::kData,      ErrorKind::kOutput,     ErrorKind::kMemory, ErrorKind::kTraining,
                                   ErrorKind::kIntegrity, ErrorKind::kFederation, ErrorKind::kNotNow, ErrorKind::kInterrupted};

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

// The units start the program again where time may mend it, and leave the rest to a person (packaging/systemd/try.sh tries it).
TEST(Status, TheUnitsKnowEveryExitCode) {
  const std::vector<ErrorKind> again = {ErrorKind::kInternal, ErrorKind::kOutput, ErrorKind::kNotNow};
  std::string expected = "\nRestartPreventExitStatus=";
  for (const ErrorKind kind : kAllKinds)
    if (kind != ErrorKind::kInterrupted && std::find(again.begin(), again.end(), kind) == again.end())
      absl::StrAppend(&expected, expected.back() == '=' ? "" : " ", static_cast<int>(kind));
  for (const char* unit : {"server", "site"}) {
    const auto text = ReadFile(absl::StrCat(FEDALT_SOURCE "/packaging/systemd/fedalt-", unit, ".service"), ErrorKind::kData);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_NE(text->find(expected + "\n"), std::string::npos) << unit << expected;
    EXPECT_NE(text->find("\nSuccessExitStatus=130\n"), std::string::npos) << unit;
  }
}

}  // namespace
}  // namespace fedalt
