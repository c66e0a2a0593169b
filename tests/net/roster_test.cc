#include "net/roster.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "base/hash.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

// Keys of RFC 8032, section 7.1.
constexpr char kKey1[] = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
constexpr char kKey2[] = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
constexpr char kKey3[] = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";

Roster Example() {
  return {.federation = "clinics",
          .authority = std::string(64, 'a'),
          .server = PartyKeys{std::string(64, 'b'), kKey1},
          .sites = {{"clinic-a", {std::string(64, 'c'), kKey2}, false}, {"clinic-b", {std::string(64, 'd'), kKey3}, true}}};
}

std::string Refusal(const std::string& text) {
  const auto roster = ParseRoster(text);
  if (roster.ok()) return "accepted";
  EXPECT_EQ(KindOf(roster.status()), ErrorKind::kConfig);
  return std::string(roster.status().message());
}

TEST(Roster, IsReadAsItWasWritten) {
  const fs::path path = fs::path(testing::TempDir()) / absl::StrCat("roster_test-", ::getpid());
  Roster roster = Example();
  ASSERT_TRUE(SaveRoster(roster, path).ok());
  auto read = LoadRoster(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, roster);
  roster.server.reset();
  roster.sites.clear();
  ASSERT_TRUE(SaveRoster(roster, path).ok());
  EXPECT_EQ(*LoadRoster(path), roster);
  roster.federation = "";
  EXPECT_EQ(KindOf(SaveRoster(roster, path)), ErrorKind::kConfig);  // what could not be read again is not written
  fs::remove(path);
  read = LoadRoster(path);
  ASSERT_FALSE(read.ok());
  EXPECT_SAYS(read.status().message(), path.string());
}

TEST(Roster, HasTheMembersThatAreDocumented) {
  const json object = json::parse(RosterText(Example()));
  EXPECT_EQ(object, json::parse(absl::StrCat(R"({"federation": "clinics", "authority": ")", std::string(64, 'a'),
                                             R"(", "server": {"fingerprint": ")", std::string(64, 'b'), R"(", "signing_key": ")",
                                             kKey1, R"("}, "sites": [{"name": "clinic-a", "fingerprint": ")", std::string(64, 'c'),
                                             R"(", "signing_key": ")", kKey2, R"(", "revoked": false}, {"name": "clinic-b",
                                             "fingerprint": ")",
                                             std::string(64, 'd'), R"(", "signing_key": ")", kKey3, R"(", "revoked": true}]})")));
}

TEST(Roster, FindsSites) {
  const Roster roster = Example();
  EXPECT_EQ(FindSiteByFingerprint(roster, std::string(64, 'd')), 1u);
  EXPECT_EQ(FindSiteByFingerprint(roster, std::string(64, 'b')), std::nullopt);  // the server is no site
  EXPECT_EQ(FindSiteByFingerprint(roster, ""), std::nullopt);
  EXPECT_EQ(FindSiteByName(roster, "clinic-a"), 0u);
  EXPECT_EQ(FindSiteByName(roster, "clinic"), std::nullopt);
}

TEST(Roster, HashIsThatOfTheDocumentedLines) {
  EXPECT_EQ(RosterHash(Example()),
            HexOf(Sha256(absl::StrCat("fedalt-roster-1\nfederation clinics\nauthority ", std::string(64, 'a'), "\nserver ",
                                      std::string(64, 'b'), " ", kKey1, "\nsite clinic-a ", std::string(64, 'c'), " ", kKey2,
                                      " active\nsite clinic-b ", std::string(64, 'd'), " ", kKey3, " revoked\n"))));
}

TEST(Roster, HashDependsOnEveryMember) {
  std::vector<Roster> rosters(9, Example());
  rosters[1].federation = "other";
  rosters[2].authority[0] = 'f';
  rosters[3].server.reset();
  rosters[4].server->signing_key = rosters[4].sites[0].keys.signing_key;
  rosters[5].sites[0].revoked = true;
  rosters[6].sites[0].keys.fingerprint[63] = '0';
  rosters[7].sites[1].name = "clinic-c";
  std::swap(rosters[8].sites[0], rosters[8].sites[1]);
  for (size_t i = 0; i < rosters.size(); ++i)
    for (size_t j = 0; j < i; ++j) EXPECT_NE(RosterHash(rosters[i]), RosterHash(rosters[j])) << i << " and " << j;
}

TEST(Roster, RefusesUnknownMissingAndRepeatedMembers) {
  const json good = json::parse(RosterText(Example()));
  ASSERT_EQ(Refusal(good.dump()), "accepted");
  for (const char* place : {"", "/server", "/sites/1"}) {
    const json::json_pointer pointer(place);
    for (const auto& [name, value] : good[pointer].items()) {
      json changed = good;
      changed[pointer].erase(name);
      EXPECT_SAYS(Refusal(changed.dump()), absl::StrCat("has no member \"", name, "\""));
      const std::string text = good[pointer].dump(), whole = good.dump();  // a second member of this name
      std::string twice = whole;
      twice.replace(whole.find(text), text.size(), absl::StrCat("{\"", name, "\":", value.dump(), ",", text.substr(1)));
      EXPECT_SAYS(Refusal(twice), absl::StrCat("the name \"", name, "\" appears twice"));
    }
    json changed = good;
    changed[pointer]["colour"] = "red";
    EXPECT_SAYS(Refusal(changed.dump()), "has an unknown member \"colour\"");
  }
}

TEST(Roster, RefusesOtherTypes) {
  const json good = json::parse(RosterText(Example()));
  const auto with = [&good](const char* place, const json& value) {
    json changed = good;
    changed[json::json_pointer(place)] = value;
    return Refusal(changed.dump());
  };
  for (const char* place : {"/federation", "/authority", "/server/fingerprint", "/server/signing_key", "/sites/0/name",
                            "/sites/0/fingerprint", "/sites/0/signing_key"})
    for (const json& value : {json(1), json(nullptr), json::array(), json(true)})
      EXPECT_SAYS(with(place, value), "expected a string");
  for (const json& value : {json(1), json(nullptr), json("false")})
    EXPECT_SAYS(with("/sites/0/revoked", value), "expected true or false");
  EXPECT_SAYS(with("/server", "x"), "expected an object");
  EXPECT_SAYS(with("/sites/1", json::array()), "entry 1 of \"sites\" is array; expected an object");
  EXPECT_SAYS(with("/sites", json::object()), "expected a list");
  EXPECT_SAYS(with("/sites", nullptr), "expected a list");
  EXPECT_SAYS(Refusal("[]"), "expected an object");
  EXPECT_SAYS(Refusal(""), "broken JSON");
  EXPECT_SAYS(Refusal(good.dump() + "x"), "broken JSON");
  EXPECT_SAYS(Refusal(std::string(100000, '[')), "nested deeper");
}

TEST(Roster, RefusesNamesAndKeysThatAreNotWellFormed) {
  const json good = json::parse(RosterText(Example()));
  const auto with = [&good](const char* place, const std::string& value) {
    json changed = good;
    changed[json::json_pointer(place)] = value;
    return Refusal(changed.dump());
  };
  for (const std::string& name : {std::string(), std::string("a b"), std::string("a/b"), std::string(".."), std::string("-a"),
                                  std::string("\xc3\xa4"), std::string("a\n"), std::string(65, 'a')}) {
    EXPECT_SAYS(with("/sites/0/name", name), "the name of a site is") << name;
    EXPECT_SAYS(with("/federation", name), "the name of the federation is") << name;
  }
  EXPECT_EQ(with("/sites/0/name", std::string(64, 'a')), "accepted");
  EXPECT_EQ(with("/sites/0/name", "_A.9-z"), "accepted");
  for (const std::string& hex :
       {std::string(), std::string(63, 'e'), std::string(65, 'e'), std::string(64, 'E'), std::string(64, 'g')}) {
    for (const char* place : {"/authority", "/server/fingerprint", "/sites/1/fingerprint"})
      EXPECT_SAYS(with(place, hex), "is not of 64 lower-case hex digits") << place;
    EXPECT_SAYS(with("/sites/1/signing_key", hex), "site clinic-b: the public key") << hex;
  }
  EXPECT_SAYS(with("/server/signing_key", std::string(64, '0')), "the server: the public key");
}

TEST(Roster, RefusesWhatIsThereTwice) {
  const json good = json::parse(RosterText(Example()));
  const auto copy = [&good](const char* from, const char* to) {
    json changed = good;
    changed[json::json_pointer(to)] = good[json::json_pointer(from)];
    return Refusal(changed.dump());
  };
  EXPECT_SAYS(copy("/sites/0/name", "/sites/1/name"), "a site called clinic-a is there twice");
  EXPECT_SAYS(copy("/sites/0/fingerprint", "/sites/1/fingerprint"), "is there twice");
  EXPECT_SAYS(copy("/server/fingerprint", "/sites/1/fingerprint"), "is there twice");
  EXPECT_SAYS(copy("/authority", "/server/fingerprint"), "is there twice");
  EXPECT_SAYS(copy("/server/signing_key", "/sites/0/signing_key"), "is there twice");
  EXPECT_SAYS(copy("/sites/1/signing_key", "/sites/0/signing_key"), "is there twice");
}

TEST(Roster, RefusesFilesThatAreTooLarge) {
  const fs::path path = fs::path(testing::TempDir()) / absl::StrCat("roster_test_large-", ::getpid());
  ASSERT_TRUE(WriteFileAtomic(path, RosterText(Example()) + std::string(size_t{16} << 20, ' ')).ok());
  const auto roster = LoadRoster(path);
  fs::remove(path);
  ASSERT_FALSE(roster.ok());
  EXPECT_SAYS(roster.status().message(), "at most 16777216 are accepted");
}

}  // namespace
}  // namespace fedalt
