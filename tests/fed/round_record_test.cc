// The record of a round: its bytes are those that are documented, and nothing else is read.
#include "fed/round_record.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace fedalt {
namespace {

RoundRecord Example() {
  RoundRecord record;
  record.run = "clinics-7";
  record.round = 3;
  record.previous_round = 2;
  record.previous = Sha256("two");
  record.total_weight = 2.5;
  record.contents = {{"", std::string(64, 'a')}};
  record.contributors = {{"graz", 3, 1.0, std::string(64, 'b')}, {"lyon 2\n", 2, 1.5, std::string(64, 'c')}};
  record.log = {42, Sha256("root")};
  return record;
}

TEST(RoundRecord, HasTheDocumentedBytes) {
  const std::string expected =
      "fedalt round record v1\n"
      "9:clinics-7\n"
      "3 2 3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3\n"
      "4004000000000000\n"
      "42 4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2\n"
      "1\n"
      "0: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
      "2\n"
      "4:graz 3 3ff0000000000000 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n"
      "7:lyon 2\n 2 3ff8000000000000 cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\n";
  EXPECT_EQ(EncodeRecord(Example()), expected);
  const auto record = ParseRecord(expected);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(EncodeRecord(*record), expected);
  EXPECT_EQ(record->contributors, Example().contributors);
  EXPECT_EQ(record->log, Example().log);
  EXPECT_EQ(record->total_weight, 2.5);
  EXPECT_EQ(AdoptionMessage(RecordDigest(expected)), "fedalt adopted record v1\n" + HexOf(Sha256(expected)) + "\n");
}

TEST(RoundRecord, FindsASitesPart) {
  RoundRecord record = Example();
  EXPECT_EQ(record.ContributionOf("graz")->round, 3);
  EXPECT_EQ(record.ContributionOf("oslo"), nullptr);
  EXPECT_EQ(record.ContentFor("oslo")->content, std::string(64, 'a'));
  record.contents = {{"graz", std::string(64, 'd')}, {"lyon", std::string(64, 'e')}};
  EXPECT_EQ(record.ContentFor("lyon")->content, std::string(64, 'e'));
  EXPECT_EQ(record.ContentFor("oslo"), nullptr);
}

/// Every byte changed, every byte left out, every beginning: what is still read encodes to itself and is another record.
TEST(RoundRecord, OneRecordHasOneEncoding) {
  const std::string bytes = EncodeRecord(Example());
  const auto check = [&](const std::string& other) {
    const auto record = ParseRecord(other);
    EXPECT_TRUE(record.ok() || KindOf(record.status()) == ErrorKind::kIntegrity) << record.status();
    if (record.ok()) {
      EXPECT_EQ(EncodeRecord(*record), other);
    }
  };
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const char c : {'\0', '\n', ' ', '0', '9', 'a', 'F', '\x7f'})
      if (bytes[at] != c) check(std::string(bytes).replace(at, 1, 1, c));
    check(std::string(bytes).erase(at, 1));
    EXPECT_FALSE(ParseRecord(bytes.substr(0, at)).ok()) << at;
  }
  EXPECT_FALSE(ParseRecord(bytes + "\n").ok());
}

TEST(RoundRecord, RefusesWhatCannotBe) {
  const auto refused = [](const std::function<void(RoundRecord&)>& spoil) {
    RoundRecord record = Example();
    spoil(record);
    EXPECT_EQ(KindOf(ParseRecord(EncodeRecord(record)).status()), ErrorKind::kIntegrity);
  };
  for (const double weight : {0.0, -0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    refused([&](RoundRecord& record) { record.total_weight = weight; });
    refused([&](RoundRecord& record) { record.contributors[1].weight = weight; });
  }
  for (const int64_t round : {int64_t{0}, int64_t{-1}, int64_t{4}, std::numeric_limits<int64_t>::min()})
    refused([&](RoundRecord& record) { record.contributors[0].round = round; });
  refused([](RoundRecord& record) { record.round = 0; });
  refused([](RoundRecord& record) { record.previous_round = 3; });
  refused([](RoundRecord& record) { record.contributors.clear(); });
  refused([](RoundRecord& record) { record.contents.clear(); });
  refused([](RoundRecord& record) { std::swap(record.contributors[0], record.contributors[1]); });
  refused([](RoundRecord& record) { record.contributors[1].site = "graz"; });
  refused([](RoundRecord& record) { record.contributors[0].content.pop_back(); });
  refused([](RoundRecord& record) { record.contents.push_back({"graz", std::string(64, 'a')}); });
}

}  // namespace
}  // namespace fedalt
