#include "base/strict_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace fedalt {
namespace {

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

std::string Refusal(const std::string& bytes, const JsonOptions& options = {.kind = ErrorKind::kData}) {
  const auto json = ParseJson(bytes, options);
  if (json.ok()) return "accepted";
  EXPECT_EQ(KindOf(json.status()), options.kind);
  return std::string(json.status().message());
}

TEST(ParseJson, GivesWhatTheOrdinaryParserGives) {
  for (const std::string text :
       {"null", " true ", "-3", "18446744073709551615", "1.5e3", R"("a\u00e4\n")", "[]", "{}", "[1,[2,{\"a\":[]}],{}]",
        R"({"b":{"a":1},"a":[{"a":2},{"a":3}],"":null,"c":"x"})", "\r\n[\t1 , 2 ]\n"}) {
    const auto json = ParseJson(text, {});
    ASSERT_TRUE(json.ok()) << text << json.status();
    EXPECT_EQ(*json, nlohmann::json::parse(text)) << text;
  }
}

TEST(ParseJson, RefusesTwoEqualNamesInOneObjectOnly) {
  EXPECT_SAYS(Refusal(R"({"x":{"name":1,"other":2,"name":3}})"), "the name \"name\" appears twice");
  EXPECT_SAYS(Refusal(R"({"a":1,"\u0061":2})"), "the name \"a\" appears twice");
  EXPECT_EQ(Refusal(R"([{"a":{"a":1}},{"a":2}])"), "accepted");
}

TEST(ParseJson, BoundsTheNesting) {
  EXPECT_EQ(Refusal("[[[]]]", {.max_depth = 3}), "accepted");
  EXPECT_SAYS(Refusal("[[[[]]]]", {.max_depth = 3}), "nested deeper than the 3 levels");
  EXPECT_SAYS(Refusal(std::string(1000000, '[')), "nested deeper");
}

TEST(ParseJson, GivesThePlaceOfTheFault) {
  EXPECT_SAYS(Refusal("{\"a\": 1,\n \"b\": oops}"), "line 2, column 7: broken JSON");
  EXPECT_SAYS(Refusal("oops", {.first_line = 41}), "line 41, column 1");
  EXPECT_SAYS(Refusal(""), "line 1, column 1: broken JSON");
  EXPECT_SAYS(Refusal("[1] 2"), "line 1, column 5");
  EXPECT_SAYS(Refusal("1e999"), "broken JSON: number overflow");
}

TEST(ParseJson, RefusesWhatIsNotText) {
  EXPECT_SAYS(Refusal("\"\xc3\x28\""), "UTF-8");
  EXPECT_SAYS(Refusal(std::string("[1]\n\0garbage", 12)), "line 2: broken JSON: a zero byte");
  EXPECT_SAYS(Refusal("\xef\xbb\xbf[1]"), "a byte order mark");
  EXPECT_SAYS(Refusal("\"a\nb\""), "broken JSON");
}

TEST(QuoteForMessage, IsShortAndPrintable) {
  EXPECT_EQ(QuoteForMessage("a\nb\xff"), "\"a?b?\"");
  EXPECT_EQ(QuoteForMessage(std::string(1000, 'x')), "\"" + std::string(80, 'x') + "...\"");
}

}  // namespace
}  // namespace fedalt
