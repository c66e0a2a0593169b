#include "model/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kData = fs::path(FEDALT_TEST_DATA) / "safetensors";

/// A directory of this test, removed at its end.
class Scratch : public ::testing::Test {
 protected:
  Scratch() : directory_(fs::temp_directory_path() / ("fedalt-safetensors-" + std::to_string(::getpid()))) {
    fs::create_directories(directory_);
  }
  ~Scratch() override { fs::remove_all(directory_); }
  void Write(const std::string& name, const std::string& bytes) { ASSERT_TRUE(WriteFileAtomic(directory_ / name, bytes).ok()); }
  fs::path directory_;
};
using TensorFilesTest = Scratch;
using WriteSafetensorsTest = Scratch;

json Expected() {
  return json::parse(ReadFile(kData / "expected.json", ErrorKind::kData).value());
}

std::string FileOf(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof(size));
  return bytes + header + std::string(data_bytes, '\1');
}

StatusOr<SafetensorsHeader> Parse(const std::string& bytes) {
  return ParseSafetensorsHeader(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
}

/// The message of a refused file; also checks that it is an error of the model.
std::string Refusal(const std::string& bytes) {
  const Status status = Parse(bytes).status();
  if (status.ok()) return "accepted";
  EXPECT_EQ(KindOf(status), ErrorKind::kModel);
  return std::string(status.message());
}
std::string Refusal(const std::string& header, size_t data_bytes) {
  return Refusal(FileOf(header, data_bytes));
}

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

TEST(SafetensorsHeader, AcceptsAMinimalFileAndGivesOffsetsInTheFile) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"__metadata__":{"k":"v"}})";
  const auto parsed = Parse(FileOf(header, 24));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const TensorEntry& entry = parsed->tensors.at("a");
  EXPECT_EQ(entry.begin, 8 + header.size());
  EXPECT_EQ(entry.end, 8 + header.size() + 24);
  EXPECT_EQ(entry.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(entry.dtype, at::kFloat);
  EXPECT_EQ(parsed->metadata.at("k"), "v");
}

TEST(SafetensorsHeader, RefusesEveryPrefixOfAGoodFile) {
  const std::string good = ReadFile(kData / "mixed.safetensors", ErrorKind::kModel).value();
  ASSERT_TRUE(Parse(good).ok());
  for (size_t size = 0; size < good.size(); ++size) EXPECT_NE(Refusal(good.substr(0, size)), "accepted") << size;
  EXPECT_SAYS(Refusal(good.substr(0, 3)), "it has 3 bytes, at least 8 are needed");
  EXPECT_SAYS(Refusal(good.substr(0, 100)), "cut off");
  EXPECT_SAYS(Refusal(good.substr(0, good.size() - 1)), "cut off");
  EXPECT_SAYS(Refusal(good + "x"), "after the last tensor belong to no tensor");
}

TEST(SafetensorsHeader, RefusesLyingHeaderLengths) {
  EXPECT_SAYS(Refusal(std::string(16, '\xff')), "at most 100000000 are accepted");
  std::string bytes = FileOf("{}", 0);
  bytes[0] = 3;
  EXPECT_SAYS(Refusal(bytes), "should have 3 bytes but only 2 follow");
  EXPECT_SAYS(Refusal(std::string(8, '\0')), "does not begin with '{'");
  EXPECT_SAYS(Refusal("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull");
}

TEST(SafetensorsHeader, RefusesBrokenJson) {
  EXPECT_SAYS(Refusal("[]", 0), "does not begin with '{'");
  EXPECT_SAYS(Refusal("{\"a\":", 0), "line 1, column");
  EXPECT_SAYS(Refusal("{} {}", 0), "broken JSON");
  EXPECT_SAYS(Refusal("{\"a\":{\"b\":{\"c\":{\"d\":{}}}}}", 0), "nested deeper than the 4 levels");
  EXPECT_SAYS(Refusal(std::string(1000000, '{'), 0), "broken JSON");
  EXPECT_SAYS(Refusal("{\"a\":" + std::string(1000000, '['), 0), "nested deeper");
  EXPECT_SAYS(Refusal("{\"\xff\":1}", 0), "UTF-8");
}

TEST(SafetensorsHeader, RefusesDuplicateNames) {
  EXPECT_SAYS(
      Refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
      "the name \"a\" appears twice");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,1]}})", 1),
              "the name \"shape\" appears twice");
}

TEST(SafetensorsHeader, RefusesWrongFields) {
  EXPECT_SAYS(Refusal(R"({"a":3})", 0), "entry of tensor \"a\" is not a JSON object");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1), "has no field \"shape\"");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1), "fields other than");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1), "dtype of tensor \"a\" is not a string");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", 1),
              "has dtype \"F8_E4M3\", which is not supported");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1), "shape of tensor \"a\" is not a list");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1), "contains \"-1\"");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1), "contains \"1.0\"");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}})", 1), "whole numbers");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1), "not two whole numbers");
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,-1]}})", 1), "not two whole numbers");
  EXPECT_SAYS(Refusal(R"({"__metadata__":{"k":1}})", 0), "value of \"k\" is not a string");
  EXPECT_SAYS(Refusal(R"({"__metadata__":[]})", 0), "__metadata__ is not a JSON object");
}

TEST(SafetensorsHeader, RefusesShapesThatOverflow) {
  for (const char* shape :
       {"[4294967296,4294967296]", "[9223372036854775807,2]", "[0,4294967296,4294967296]", "[4611686018427387904]"})
    EXPECT_SAYS(Refusal(std::string(R"({"a":{"dtype":"F64","shape":)") + shape + R"(,"data_offsets":[0,0]}})", 0),
                "more elements than 64 bits");
  std::string many = "[1";
  for (int i = 0; i < 64; ++i) many += ",1";
  EXPECT_SAYS(Refusal(R"({"a":{"dtype":"U8","shape":)" + many + R"(],"data_offsets":[0,1]}})", 1), "65 dimensions");
}

TEST(SafetensorsHeader, RefusesOffsetsThatLie) {
  const auto one = [](const std::string& offsets) { return R"({"a":{"dtype":"F32","shape":[1],"data_offsets":)" + offsets + "}}"; };
  EXPECT_SAYS(Refusal(one("[4,0]"), 4), "end (0) before they begin (4)");
  EXPECT_SAYS(Refusal(one("[0,8]"), 4), "end at byte 8 but the file holds 4 bytes");
  EXPECT_SAYS(Refusal(one("[18446744073709551612,18446744073709551615]"), 4), "cut off");
  EXPECT_SAYS(Refusal(one("[0,8]"), 8), "has 8 bytes of data, its dtype and shape need 4");
  EXPECT_SAYS(Refusal(one("[4,8]"), 8), "bytes 0 to 4 before tensor \"a\" belong to no tensor");
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a + R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b +
           "}}";
  };
  EXPECT_SAYS(Refusal(two("[0,4]", "[3,7]"), 7), "overlap");
  EXPECT_SAYS(Refusal(two("[0,4]", "[0,4]"), 4), "overlap");
  EXPECT_SAYS(Refusal(two("[0,4]", "[5,9]"), 9), "bytes 4 to 5 before tensor \"b\"");
  EXPECT_EQ(Refusal(two("[4,8]", "[0,4]"), 8), "accepted");
}

TEST_F(TensorFilesTest, ReadsWhatTheOriginalLibraryWrote) {
  const auto files = TensorFiles::OpenFile(kData / "mixed.safetensors");
  ASSERT_TRUE(files.ok()) << files.status();
  const json expected = Expected()["mixed"];
  EXPECT_EQ((*files)->Names().size(), expected.size());
  EXPECT_EQ((*files)->metadata().at("format"), "pt");
  const std::map<std::string, at::ScalarType> dtypes = {{"torch.float64", at::kDouble}, {"torch.float32", at::kFloat},
                                                        {"torch.float16", at::kHalf},   {"torch.bfloat16", at::kBFloat16},
                                                        {"torch.int64", at::kLong},     {"torch.int32", at::kInt},
                                                        {"torch.int16", at::kShort},    {"torch.int8", at::kChar},
                                                        {"torch.uint8", at::kByte},     {"torch.bool", at::kBool}};
  for (const auto& [name, want] : expected.items()) {
    const auto tensor = (*files)->Get(name);
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->sizes().vec(), want["shape"].get<std::vector<int64_t>>()) << name;
    EXPECT_EQ(tensor->scalar_type(), dtypes.at(want["dtype"])) << name;
    const std::vector<double> values = want["values"];
    EXPECT_TRUE(at::equal(tensor->to(at::kDouble).reshape({-1}), at::tensor(values, at::kDouble))) << name;
  }
}

TEST_F(TensorFilesTest, SharesTheMapWhichOutlivesTheFiles) {
  at::Tensor first, second;
  {
    const auto files = TensorFiles::OpenFile(kData / "mixed.safetensors");
    ASSERT_TRUE(files.ok());
    first = (*files)->Get("f32").value();
    second = (*files)->Get("f32").value();
  }
  EXPECT_EQ(first.data_ptr(), second.data_ptr());  // no copy was made
  EXPECT_EQ(first[2][3].item<float>(), 1.0f);
}

TEST_F(TensorFilesTest, CopiesWhereDataAreNotAligned) {
  const float values[2] = {1.5f, -2.25f};
  std::string bytes =
      FileOf(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"F32","shape":[2],"data_offsets":[3,11]}})", 3);
  bytes.append(reinterpret_cast<const char*>(values), sizeof(values));
  Write("odd.safetensors", bytes);
  const auto files = TensorFiles::OpenFile(directory_ / "odd.safetensors");
  ASSERT_TRUE(files.ok()) << files.status();
  const at::Tensor tensor = (*files)->Get("b").value();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % alignof(float), 0u);
  EXPECT_TRUE(at::equal(tensor, at::tensor({1.5f, -2.25f})));
}

TEST_F(TensorFilesTest, AForeignBoolBecomesZeroOrOne) {
  Write("bool.safetensors", FileOf(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 0) + std::string("\0\x07", 2));
  const at::Tensor tensor = TensorFiles::OpenFile(directory_ / "bool.safetensors").value()->Get("a").value();
  EXPECT_EQ(tensor.sum().item<int64_t>(), 1);
}

TEST_F(TensorFilesTest, NamesTheTensorThatIsAbsentOrHasAnotherShape) {
  const auto files = TensorFiles::OpenFile(kData / "mixed.safetensors").value();
  EXPECT_SAYS(files->Get("nothing").status().message(), "mixed.safetensors: has no tensor \"nothing\"");
  const std::vector<int64_t> wanted = {4, 3};
  EXPECT_SAYS(files->Get("f32", &wanted).status().message(), "tensor \"f32\" has shape (3, 4), expected (4, 3)");
  EXPECT_EQ(KindOf(files->Get("f32", &wanted).status()), ErrorKind::kModel);
  const std::vector<int64_t> right = {3, 4};
  EXPECT_TRUE(files->Get("f32", &right).ok());
  EXPECT_EQ(files->Describe("f32")->shape, right);
}

TEST_F(TensorFilesTest, ReadsAShardedModelOfTransformers) {
  const auto files = TensorFiles::OpenModelDirectory(kData / "sharded");
  ASSERT_TRUE(files.ok()) << files.status();
  const json expected = Expected()["sharded"];
  EXPECT_EQ((*files)->Names().size(), expected.size());
  EXPECT_GT((*files)->files().size(), 1u);
  for (const auto& [name, want] : expected.items()) {
    const at::Tensor tensor = (*files)->Get(name).value().to(at::kDouble);
    EXPECT_EQ(tensor.sizes().vec(), want["shape"].get<std::vector<int64_t>>());
    EXPECT_NEAR(tensor.sum().item<double>(), want["sum"].get<double>(), 1e-9) << name;
    EXPECT_NEAR(tensor.square().sum().item<double>(), want["square"].get<double>(), 1e-9) << name;
  }
}

TEST_F(TensorFilesTest, RefusesBadIndexFiles) {
  const auto refusal = [&](const std::string& index) {
    Write("model.safetensors.index.json", index);
    const Status status = TensorFiles::OpenModelDirectory(directory_).status();
    EXPECT_EQ(KindOf(status), ErrorKind::kModel);
    return std::string(status.message());
  };
  Write("part.safetensors", FileOf(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1));
  EXPECT_SAYS(refusal("{"), "index.json: line 1");
  EXPECT_SAYS(refusal("{}"), "has no \"weight_map\"");
  EXPECT_SAYS(refusal(R"({"weight_map":{"a":1}})"), "file of tensor \"a\" is not a string");
  EXPECT_SAYS(refusal(R"({"weight_map":{"a":"../part.safetensors"}})"), "expected the plain name of a file");
  EXPECT_SAYS(refusal(R"({"weight_map":{"a":"/etc/passwd"}})"), "expected the plain name of a file");
  EXPECT_SAYS(refusal(R"({"weight_map":{"a":".."}})"), "expected the plain name of a file");
  EXPECT_SAYS(refusal(R"({"weight_map":{"a":"part.safetensors\u0000x"}})"), "expected the plain name of a file");
  EXPECT_SAYS(refusal(R"({"weight_map":{"a":"gone.safetensors"}})"), "names the file \"gone.safetensors\", which is not there");
  EXPECT_SAYS(refusal(R"({"weight_map":{"b":"part.safetensors"}})"),
              "places tensor \"b\" in \"part.safetensors\", which does not contain it");
  EXPECT_SAYS(refusal(R"({"weight_map":{"a":"part.safetensors","a":"part.safetensors"}})"), "appears twice");
  Write("model.safetensors.index.json", R"({"weight_map":{"a":"part.safetensors"}})");
  EXPECT_TRUE(TensorFiles::OpenModelDirectory(directory_).ok());
}

TEST_F(TensorFilesTest, SaysWhatIsMissingInADirectory) {
  EXPECT_SAYS(TensorFiles::OpenModelDirectory(directory_).status().message(), "has neither model.safetensors nor");
  EXPECT_SAYS(TensorFiles::OpenModelDirectory(directory_ / "gone").status().message(), "is not a directory");
  Write("pytorch_model.bin", "x");
  EXPECT_SAYS(TensorFiles::OpenModelDirectory(directory_).status().message(), "convert it with transformers");
  EXPECT_SAYS(TensorFiles::OpenFile(directory_ / "gone.safetensors").status().message(), "cannot be opened");
}

TEST_F(WriteSafetensorsTest, GivesTheBytesOfTheOriginalLibrary) {
  for (const char* name : {"mixed.safetensors", "no_tensors.safetensors"}) {
    const std::string original = ReadFile(kData / name, ErrorKind::kModel).value();
    const auto files = TensorFiles::OpenFile(kData / name).value();
    std::vector<std::pair<uint64_t, std::string>> by_place;
    for (const std::string& tensor : files->Names()) by_place.emplace_back(files->Describe(tensor)->begin, tensor);
    // The empty tensor begins where "f32" begins; the original put it first.
    std::sort(by_place.begin(), by_place.end());
    NamedTensors tensors;
    for (const auto& [place, tensor] : by_place) tensors.emplace_back(tensor, files->Get(tensor).value());
    ASSERT_TRUE(WriteSafetensors(directory_ / "again.safetensors", tensors, files->metadata()).ok());
    EXPECT_EQ(ReadFile(directory_ / "again.safetensors", ErrorKind::kModel).value(), original) << name;
  }
}

TEST_F(WriteSafetensorsTest, RoundTripsMixedWidthsAndViewsAligned) {
  const at::Tensor base = at::arange(12, at::kFloat).reshape({3, 4});
  const NamedTensors tensors = {{"bytes", at::arange(3, at::kByte)},
                                {"transposed", base.t()},
                                {"slice", base.slice(1, 1, 3)},
                                {"long", at::arange(2, at::kLong)},
                                {"none", at::empty({0, 5})}};
  ASSERT_TRUE(WriteSafetensors(directory_ / "a.safetensors", tensors, {{"path", "not \xff UTF-8"}}).ok());
  ASSERT_TRUE(WriteSafetensors(directory_ / "b.safetensors", tensors, {{"path", "not \xff UTF-8"}}).ok());
  EXPECT_EQ(ReadFile(directory_ / "a.safetensors", ErrorKind::kModel).value(),
            ReadFile(directory_ / "b.safetensors", ErrorKind::kModel).value());
  const auto files = TensorFiles::OpenFile(directory_ / "a.safetensors");
  ASSERT_TRUE(files.ok()) << files.status();
  for (const auto& [name, tensor] : tensors) {
    EXPECT_TRUE(at::equal((*files)->Get(name).value(), tensor)) << name;
    EXPECT_EQ((*files)->Describe(name)->begin % tensor.element_size(), 0u) << name;
  }
  for (const auto& entry : fs::directory_iterator(directory_))
    EXPECT_EQ(entry.path().extension(), ".safetensors") << "a temporary file stayed";
}

TEST_F(WriteSafetensorsTest, SaysWhereItCannotWrite) {
  const Status status = WriteSafetensors(directory_ / "gone" / "a.safetensors", {{"a", at::ones({1})}});
  EXPECT_EQ(KindOf(status), ErrorKind::kOutput);
  EXPECT_SAYS(status.message(), "gone/a.safetensors: cannot be created");
}

}  // namespace
}  // namespace fedalt
