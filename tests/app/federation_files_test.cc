// server.yaml and site.yaml: what cannot work is refused when the file is read.
#include "app/federation_files.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "app/cli_process.h"
#include "app/config_paths.h"
#include "app/host_port.h"
#include "base/site_name.h"

namespace fedalt {
namespace {

constexpr char kServer[] = "federation: f.yaml\nkeys: keys\ndirectory: run\n";
constexpr char kSite[] =
    "federation: f.yaml\nkeys: keys\ndirectory: run\nsite: osaka\ndata: {train: a.jsonl, test: b.jsonl}\nserver: "
    "fl.example.org:7443\n";

class FederationFiles : public ::testing::Test {
 protected:
  StatusOr<PartyConfig> Load(Party party, const std::string& text) {
    folder_.Write("party.yaml", text);
    return LoadPartyConfig(folder_.path() / "party.yaml", party);
  }
  std::string Refusal(Party party, const std::string& text) {
    const auto config = Load(party, text);
    EXPECT_FALSE(config.ok()) << text;
    if (config.ok()) return "";
    EXPECT_EQ(KindOf(config.status()), ErrorKind::kConfig);
    return std::string(config.status().message());
  }
  testing::TestFolder folder_;
};

std::string Without(std::string text, const std::string& key) {
  const size_t begin = text.find(key);
  return text.erase(begin, text.find('\n', begin) + 1 - begin);
}

TEST_F(FederationFiles, AddressesThatCannotWorkAreRefused) {
  const std::string site = Without(kSite, "server:");
  for (const char* address : {"http://fl.example.org:7443",
                              "' fl.example.org:7443'",
                              "'fl.example.org:7443 '",
                              "127:0:01:8080",
                              "127.0.01:80",
                              "256.0.0.1:80",
                              "fl.example.org",
                              "'fl.example.org:'",
                              "fl.example.org:http",
                              "fl.example.org:0",
                              "fl.example.org:65536",
                              "fl.example.org:-1",
                              "fl.example.org:+80",
                              "':80'",
                              "fl.example.org:80/x",
                              "fl..org:80",
                              "-fl.org:80",
                              "fl_.example.-:80",
                              "'*:80'",
                              "'[::1:80'",
                              "'[::g]:80'",
                              "'::1:80'",
                              "'fe80::1'",
                              "'a b:80'",
                              "user@host:80",
                              "'\"x\":80'"}) {
    const std::string message = Refusal(Party::kSite, site + "server: " + address + "\n");
    EXPECT_NE(message.find("party.yaml:6: server is "), std::string::npos) << message;
    EXPECT_NE(message.find("expected host:port"), std::string::npos) << message;
  }
  for (const char* address : {"http://0.0.0.0:7443", "' 0.0.0.0:7443'", "127:0:01:8080", "'*:7443'", "7443", "0.0.0.0:99999"})
    EXPECT_NE(Refusal(Party::kServer, absl::StrCat(kServer, "listen: ", address, "\n")).find("party.yaml:4: listen is "),
              std::string::npos);
}

TEST_F(FederationFiles, AddressesThatWorkAreTakenAsTheyAre) {
  for (const std::string address :
       {"fl.example.org:7443", "localhost:1", "10.0.0.7:65535", "[::1]:7443", "[fd00::7]:7443", "[fe80::1%eth0]:7443",
        "fl.example.org.:7443", "my_container:80", "xn--mnchen-3ya.de:443", "1password.com:443"}) {
    const auto config = Load(Party::kSite, Without(kSite, "server:") + "server: '" + address + "'\n");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->server, address);
  }
  for (const std::string address : {"0.0.0.0:7443", "[::]:7443", "127.0.0.1:0", "fl.example.org:7443"}) {
    const auto config = Load(Party::kServer, kServer + ("listen: '" + address + "'\n"));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->listen, address);
  }
}

TEST_F(FederationFiles, SitesHaveNamesThatKeysCanHave) {
  for (const char* name : {"mean", "server", "'my site'", "../x", "''"}) {
    const std::string message = Refusal(Party::kSite, Without(kSite, "site:") + "site: " + name + "\n");
    EXPECT_NE(message.find("party.yaml:6: site is "), std::string::npos) << message;
  }
}

TEST_F(FederationFiles, UnknownKeysAreAnsweredInTheWordsOfTheirTool) {
  EXPECT_NE(Refusal(Party::kSite, std::string(kSite) + "superlink: a:1\n").find("\"server\""), std::string::npos);
  EXPECT_NE(Refusal(Party::kSite, std::string(kSite) + "train: {learning_rate: 1}\n").find("\"train.lr\""), std::string::npos);
  EXPECT_NE(Refusal(Party::kServer, std::string(kServer) + "num-server-rounds: 3\nlisten: 0.0.0.0:1\n").find("\"train.rounds\""),
            std::string::npos);
  EXPECT_NE(Refusal(Party::kServer, std::string(kServer) + "min_fit_clients: 3\nlisten: 0.0.0.0:1\n").find("\"minimum_cohort\""),
            std::string::npos);
}

TEST_F(FederationFiles, ValuesAreReadAsInAConfiguration) {
  ::setenv("HOME", "/home/someone", 1);
  const auto site = Load(Party::kSite, Without(kSite, "directory:") +
                                           "directory: ~/run\nshare_metrics: Yes\npatience_s: +60\nrest_of_world: {pin: Off}\n");
  ASSERT_TRUE(site.ok()) << site.status();
  EXPECT_TRUE(site->share_metrics);
  EXPECT_EQ(site->patience_s, 60);
  EXPECT_EQ(site->pinned_round, std::nullopt);
  EXPECT_EQ(site->directory, "/home/someone/run");
  EXPECT_EQ(site->keys, folder_.path() / "keys");
  EXPECT_NE(Refusal(Party::kSite, std::string(kSite) + "patience_s: 1h\n").find("patience_s is \"1h\"; expected an integer"),
            std::string::npos);
}

TEST(Names, OfSitesAreFoldersAndNothingElse) {
  for (const char* name : {"osaka", "site-0", "_A.9-z", "Mean", "server2", "a", "1"}) EXPECT_EQ(SiteNameFault(name), "") << name;
  EXPECT_EQ(SiteNameFault(std::string(64, 'a')), "");
  for (const std::string& name :
       {std::string(), std::string(65, 'a'), std::string("."), std::string(".."), std::string(".a"), std::string("-a"),
        std::string("a/b"), std::string("a b"), std::string("a\n"), std::string("K\xc3\xb6ln"), std::string("a\0b", 3)})
    EXPECT_NE(SiteNameFault(name).find("letters"), std::string::npos) << name;
  for (const char* name : {"mean", "server", "published.safetensors", "result.json"})
    EXPECT_NE(SiteNameFault(name).find("give it another name"), std::string::npos) << name;
  EXPECT_EQ(NameFault("mean"), "") << "a federation may be called that";
}

TEST(Paths, BeginInTheHomeThatTheyName) {
  ::setenv("HOME", "/home/someone", 1);
  EXPECT_EQ(ExpandHome("~"), "/home/someone");
  EXPECT_EQ(ExpandHome("~/x/y"), "/home/someone/x/y");
  EXPECT_EQ(ExpandHome("~root"), ExpandHome("~root/").substr(0, ExpandHome("~root/").size() - 1));
  EXPECT_TRUE(ExpandHome("~root/x").starts_with('/'));
  for (const char* same : {"", "x", "/x/~", "a~/b", "~no-such-user-here/x"}) EXPECT_EQ(ExpandHome(same), same);
}

}  // namespace
}  // namespace fedalt
