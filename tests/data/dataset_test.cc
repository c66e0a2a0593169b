#include "data/dataset.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "base/file.h"

namespace fedalt {
namespace {

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

std::vector<Example> Good(const std::string& bytes) {
  auto examples = ParseExamples(bytes, "x.json");
  EXPECT_TRUE(examples.ok()) << examples.status();
  return std::move(examples).value_or(std::vector<Example>{});
}

/// The message of refused data; also checks kind and name.
std::string Refusal(const std::string& bytes) {
  const auto examples = ParseExamples(bytes, "x.json");
  if (examples.ok()) return "accepted";
  EXPECT_EQ(KindOf(examples.status()), ErrorKind::kData);
  EXPECT_TRUE(examples.status().message().substr(0, 8) == "x.json: ") << examples.status();
  return std::string(examples.status().message());
}

TEST(ParseExamples, ReadsArraysAndLinesAlike) {
  const std::string a = R"({"instruction":"do","input":"this, [that]","output":"done \"}\\","tag":"t","more":[1,{"x":null}]})";
  const std::string b = R"({"output":"","instruction":"täst"})";
  for (const std::string& bytes :
       {"[" + a + "," + b + "]", " \n[\n" + a + "\n,\n" + b + "\n]\n\n", a + "\n" + b, "\n" + a + "\r\n\n  \n" + b + "\n",
        "\xef\xbb\xbf" + a + "\n" + b, "\xef\xbb\xbf[" + a + "," + b + "]"}) {
    const std::vector<Example> examples = Good(bytes);
    ASSERT_EQ(examples.size(), 2u) << bytes;
    EXPECT_EQ(examples[0].id, 0);
    EXPECT_EQ(examples[0].instruction, "do");
    EXPECT_EQ(examples[0].input, "this, [that]");
    EXPECT_EQ(examples[0].output, "done \"}\\");
    EXPECT_EQ(examples[0].tag, "t");
    EXPECT_EQ(examples[1].id, 1);
    EXPECT_EQ(examples[1].instruction, "täst");
    EXPECT_EQ(examples[1].input, "");
    EXPECT_EQ(examples[1].output, "");
    EXPECT_EQ(examples[1].tag, "");
  }
}

TEST(ParseExamples, OptionalFields) {
  EXPECT_EQ(Good(R"({"instruction":"a","input":null,"output":"b","task":"nli"})")[0].tag, "nli");
  EXPECT_EQ(Good(R"({"instruction":"a","output":"b","task":"nli","tag":"mine"})")[0].tag, "mine");
  EXPECT_SAYS(Refusal(R"({"instruction":"a","input":["x"],"output":"b"})"), "field \"input\" is");
  EXPECT_SAYS(Refusal(R"({"instruction":"a","output":"b","tag":3})"), "field \"tag\" is \"3\", expected a string");
}

TEST(ParseExamples, NamesExampleFieldAndLine) {
  const std::string good = R"({"instruction":"a","output":"b"})";
  EXPECT_SAYS(Refusal(good + "\n\n" + R"({"instruction":"a","output":3})"),
              "line 3: example 1 field \"output\" is \"3\", expected a string");
  EXPECT_SAYS(Refusal(good + "\n" + R"({"instruction":"a","output":null})"),
              "line 2: example 1 field \"output\" is null, expected a string");
  EXPECT_SAYS(
      Refusal(good + "\n" + R"({"instruction":"a","answer":"b"})"),
      "line 2: example 1 has no field \"output\" (it has \"answer\", \"instruction\"); expected \"instruction\" and \"output\"");
  EXPECT_SAYS(Refusal("{}"), "example 0 has no field \"instruction\" (it has none)");
  EXPECT_SAYS(Refusal("[\n\n" + good + ",\n\n\n{\"instruction\":true,\n\"output\":\"b\"}]"),
              "line 6: example 1 field \"instruction\" is \"true\"");
  EXPECT_SAYS(Refusal("[" + good + ",\n5]"), "line 2: example 1 is not a JSON object");
  EXPECT_SAYS(Refusal("[" + good + ",\n[" + good + "]]"), "line 2: example 1 is not a JSON object");
  EXPECT_SAYS(Refusal(R"({"instruction":"a","output":"b","output":"c"})"), "the name \"output\" appears twice");
}

TEST(ParseExamples, GivesTheLineOfBrokenJson) {
  const std::string good = R"({"instruction":"a","output":"b"})";
  EXPECT_SAYS(Refusal(good + "\n" + good + "\n{\"instruction\":\"a\" \"output\":\"b\"}"), "line 3, column 27");
  EXPECT_SAYS(Refusal("[" + good + ",\n{\"instruction\":\"a\",\n \"output\": b}\n]"), "line 3, column 12");
  EXPECT_SAYS(Refusal("[\n" + good + ",\n{\"instruction\":\"a,\n\"output\":\"b\"}\n]"), "line 3, column 19");  // a quote is missing
  EXPECT_SAYS(Refusal("[" + good + "," + good), "the file ends inside the array");
  EXPECT_SAYS(Refusal("[" + good + ",\n{\"instruction\":\"a\",\"out"), "line 2, column");
  EXPECT_SAYS(Refusal("[" + good + ",\n"), "line 1: the file ends inside the array");
  EXPECT_SAYS(Refusal("[" + good + ",\n]"), "line 2: example 1 is empty: there is a comma too many");
  EXPECT_SAYS(Refusal("[" + good + ",," + good + "]"), "example 1 is empty");
  EXPECT_SAYS(Refusal("[" + good + "}"), "closed with '}' instead of ']'");
  EXPECT_SAYS(Refusal("[" + good + "]\n[" + good + "]"), "line 2: the array of examples is followed by something else");
  EXPECT_SAYS(Refusal("[" + good + "\n" + good + "]"), "line 2, column 1");  // a comma is missing
  EXPECT_SAYS(Refusal("{\n\"instruction\":\"a\",\n\"output\":\"b\"\n}"), "each line is one JSON object");
  EXPECT_SAYS(Refusal("[" + good + std::string(1, '\0') + "]"), "line 1: broken JSON: a zero byte");
  EXPECT_SAYS(Refusal("[" + good + ",\n\xef\xbb\xbf" + good + "]"), "line 2: broken JSON: a byte order mark");
  EXPECT_SAYS(Refusal(std::string(100000, '[')), "nested deeper");
  EXPECT_SAYS(Refusal("{\"a\":" + std::string(100000, '[')), "nested deeper");
}

TEST(ParseExamples, RefusesInvalidUtf8AndEmptyData) {
  EXPECT_SAYS(Refusal("{\"instruction\":\"a\xff\",\"output\":\"b\"}"), "UTF-8");
  EXPECT_SAYS(Refusal("{\"instruction\":\"a\xed\xa0\x80\",\"output\":\"b\"}"), "UTF-8");  // a surrogate
  EXPECT_SAYS(Refusal(R"({"instruction":"\ud800","output":"b"})"), "surrogate");
  EXPECT_SAYS(Refusal(""), "is empty");
  EXPECT_SAYS(Refusal(" \n\t\n"), "is empty");
  EXPECT_SAYS(Refusal("\xef\xbb\xbf"), "is empty");
  EXPECT_SAYS(Refusal("[ ]"), "has no examples");
  EXPECT_SAYS(Refusal("instruction,output\n"), "begins with \"instruct\", expected a JSON array");
}

TEST(ReadExamples, NamesTheFile) {
  const auto path = std::filesystem::temp_directory_path() / ("fedalt-dataset-" + std::to_string(::getpid()) + ".jsonl");
  EXPECT_SAYS(ReadExamples(path).status().message(), path.string() + ": cannot be opened");
  ASSERT_TRUE(WriteFileAtomic(path, R"({"instruction":"a","output":"b"})").ok());
  EXPECT_EQ(ReadExamples(path)->size(), 1u);
  ASSERT_TRUE(WriteFileAtomic(path, "{").ok());
  EXPECT_SAYS(ReadExamples(path).status().message(), path.string() + ": example 0");
  std::filesystem::remove(path);
}

std::vector<Example> Numbered(int64_t n) {
  std::vector<Example> examples(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) examples[static_cast<size_t>(i)].id = i;
  return examples;
}
std::vector<int64_t> Ids(const std::vector<Example>& examples) {
  std::vector<int64_t> ids;
  for (const Example& example : examples) ids.push_back(example.id);
  return ids;
}

TEST(SplitValidation, HoldsOutTheShareAndKeepsOrder) {
  for (const auto& [n, share, held_out] : std::vector<std::tuple<int64_t, double, size_t>>{
           {100, 0.1, 10}, {7, 0.5, 4}, {10, 0.01, 1}, {2, 0.9, 1}, {1, 0.5, 0}, {0, 0.5, 0}, {50, 0.0, 0}, {3, 0.99, 2}}) {
    const TrainValidationSplit split = SplitValidation(Numbered(n), share, 3, 5);
    EXPECT_EQ(split.validation.size(), held_out) << n << " " << share;
    std::vector<int64_t> all = Ids(split.train), validation = Ids(split.validation);
    EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
    EXPECT_TRUE(std::is_sorted(validation.begin(), validation.end()));
    all.insert(all.end(), validation.begin(), validation.end());
    EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), static_cast<size_t>(n));
    EXPECT_EQ(all.size(), static_cast<size_t>(n));
  }
}

TEST(SplitValidation, IsChosenBySeedAndSite) {
  const auto held_out = [](uint64_t seed, uint64_t site) {
    return Ids(SplitValidation(Numbered(200), 0.2, seed, site).validation);
  };
  EXPECT_EQ(held_out(1, 2), held_out(1, 2));
  EXPECT_NE(held_out(1, 2), held_out(1, 3));
  EXPECT_NE(held_out(1, 2), held_out(2, 2));
}

}  // namespace
}  // namespace fedalt
