// fedalt keys, as the real program.
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "app/cli_process.h"
#include "base/file_size_limit.h"
#include "base/signature.h"
#include "net/certificates.h"
#include "net/roster.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ProcessResult;
using testing::Slurp;

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

const std::set<std::string> kPartyFiles = {"certificate.pem", "private.key", "signing.key", "authority.pem", "roster.json"};

class Keys : public ::testing::Test {
 protected:
  ProcessResult Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "keys");
    return testing::RunInProcess(folder_, arguments);
  }
  json Json(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--format", "json"});
    const ProcessResult result = Run(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return json::parse(result.out, nullptr, false);
  }
  void Refused(const std::vector<std::string>& arguments, int code, const std::string& part) {
    const std::set<std::string> before = Tree();
    const ProcessResult result = Run(arguments);
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_SAYS(result.err, part);
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(Tree() == before) << "something has changed";
  }
  // The usual beginning: an authority, a server, two sites.
  void MakeAll() {
    ASSERT_EQ(Run({"init", "keys", "--federation", "clinics"}).code, 0);
    ASSERT_EQ(Run({"server", "keys", "--host", "fl.example.org", "--host", "10.0.0.7"}).code, 0);
    ASSERT_EQ(Run({"site", "keys", "clinic-a"}).code, 0);
    ASSERT_EQ(Run({"site", "keys", "clinic-b"}).code, 0);
  }
  fs::path Path(const std::string& name) const { return folder_.path() / "keys" / name; }
  std::string Text(const std::string& name) const { return Slurp(Path(name)); }
  // The end of a certificate.
  int64_t End(const std::string& name) const { return ParseCertificate(Text(name))->validity.not_after_s; }
  Roster TheRoster() const { return LoadRoster(Path("roster.json")).value_or(Roster()); }
  static mode_t Mode(const fs::path& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
  }
  // Every file and what it holds.
  std::set<std::string> Tree() const {
    std::set<std::string> tree;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
      if (entry.path().filename().string().starts_with(".std")) continue;  // of the process itself
      tree.insert(absl::StrCat(entry.path().string(), "\n", entry.is_regular_file() ? Slurp(entry.path()) : std::string()));
    }
    return tree;
  }
  static std::set<std::string> Names(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
    return names;
  }
  testing::TestFolder folder_;
};

TEST_F(Keys, EveryPartyGetsWhatBelongsOnItsMachine) {
  MakeAll();
  EXPECT_EQ(Names(Path("")), (std::set<std::string>{"authority", "roster.json", "server", "sites"}));
  EXPECT_EQ(Names(Path("authority")), (std::set<std::string>{"authority.pem", "authority.key"}));
  EXPECT_EQ(Names(Path("sites")), (std::set<std::string>{"clinic-a", "clinic-b"}));
  EXPECT_EQ(Mode(Path("")), 0700u);
  EXPECT_EQ(Mode(Path("authority")), 0700u);
  EXPECT_EQ(Mode(Path("authority/authority.key")), 0600u);
  const Roster roster = TheRoster();
  EXPECT_EQ(roster.federation, "clinics");
  ASSERT_TRUE(roster.server);
  ASSERT_EQ(roster.sites.size(), 2u);
  EXPECT_EQ(roster.authority, ParseCertificate(Text("authority/authority.pem"))->fingerprint);
  const auto check = [&](const std::string& folder, const PartyKeys& keys, CertificateUse use, const std::string& name) {
    SCOPED_TRACE(folder);
    EXPECT_EQ(Names(Path(folder)), kPartyFiles);
    EXPECT_EQ(Mode(Path(folder)), 0700u);
    EXPECT_EQ(Mode(Path(folder + "/private.key")), 0600u);
    EXPECT_EQ(Mode(Path(folder + "/signing.key")), 0600u);
    EXPECT_EQ(Text(folder + "/roster.json"), Text("roster.json"));
    EXPECT_EQ(Text(folder + "/authority.pem"), Text("authority/authority.pem"));
    const std::string pem = Text(folder + "/certificate.pem");
    EXPECT_TRUE(CheckCertificate(pem, Text("authority/authority.pem"), use, std::time(nullptr)).ok());
    EXPECT_TRUE(CheckPrivateKey({pem, Text(folder + "/private.key")}).ok());
    EXPECT_EQ(ParseCertificate(pem)->fingerprint, keys.fingerprint);
    EXPECT_EQ(ParseCertificate(pem)->common_name, name);
    const auto signing_key = SigningKey::Load(Path(folder + "/signing.key"));
    ASSERT_TRUE(signing_key.ok()) << signing_key.status();
    EXPECT_EQ(signing_key->public_key().Hex(), keys.signing_key);
  };
  check("server", *roster.server, CertificateUse::kServer, "server");
  check("sites/clinic-a", roster.sites[0].keys, CertificateUse::kSite, "clinic-a");
  check("sites/clinic-b", roster.sites[1].keys, CertificateUse::kSite, "clinic-b");
  EXPECT_EQ(ParseCertificate(Text("server/certificate.pem"))->hosts, (std::vector<std::string>{"fl.example.org", "10.0.0.7"}));
}

TEST_F(Keys, SaysWhereEverythingBelongs) {
  const ProcessResult init = testing::RunFedalt(folder_, {"keys", "init", "keys"});
  EXPECT_EQ(init.code, 0) << init.err;
  EXPECT_SAYS(init.out, "keep keys/authority offline, and never on the server");
  const std::string server = Run({"server", "keys", "--host", "localhost"}).out;
  EXPECT_SAYS(server, "keys/server belongs on the server, and nowhere else");
  const std::string site = Run({"site", "keys", "a"}).out;
  for (const std::string& part :
       {std::string("keys/sites/a belongs on the machine of site a, and nowhere else"), RosterHash(TheRoster()),
        std::string("hand it to every party again, not through the server"), std::string("delete keys/sites/a/private.key"),
        std::string("keep keys/authority offline, and never on the server")})
    EXPECT_SAYS(site, part);
  EXPECT_SAYS(Run({"revoke", "keys", "a"}).out, "hand it to every party again");
}

TEST_F(Keys, RevokedSitesGetNewKeysAtTheSameIndex) {
  MakeAll();
  const Roster before = TheRoster();
  const json revoked = Json({"revoke", "keys", "clinic-a"});
  EXPECT_EQ(revoked["state"], "revoked");
  Roster expected = before;
  expected.sites[0].revoked = true;
  EXPECT_EQ(TheRoster(), expected);
  EXPECT_EQ(revoked["roster_sha256"], RosterHash(expected));
  for (const char* folder : {"server", "sites/clinic-a", "sites/clinic-b"})
    EXPECT_EQ(Text(std::string(folder) + "/roster.json"), Text("roster.json")) << folder;
  EXPECT_EQ(Run({"revoke", "keys", "clinic-a"}).code, 0);  // once more changes nothing
  EXPECT_EQ(TheRoster(), expected);
  Refused({"site", "keys", "clinic-a", "--renew"}, 2, "were revoked");

  const json again = Json({"site", "keys", "clinic-a"});
  const Roster after = TheRoster();
  EXPECT_EQ(again["index"], 0);
  EXPECT_EQ(again["fingerprint"], after.sites[0].keys.fingerprint);
  EXPECT_FALSE(after.sites[0].revoked);
  EXPECT_NE(after.sites[0].keys.fingerprint, before.sites[0].keys.fingerprint);
  EXPECT_NE(after.sites[0].keys.signing_key, before.sites[0].keys.signing_key);
  EXPECT_EQ(after.sites[1], before.sites[1]);
  EXPECT_EQ(ParseCertificate(Text("sites/clinic-a/certificate.pem"))->fingerprint, after.sites[0].keys.fingerprint);
  EXPECT_EQ(Names(Path("sites/clinic-a")), kPartyFiles);
  EXPECT_EQ(Names(Path("sites")), (std::set<std::string>{"clinic-a", "clinic-b"}));
  EXPECT_EQ(Text("server/roster.json"), Text("roster.json"));
}

TEST_F(Keys, RenewalKeepsKeyAndRosterAndNeedsNoSecretOfTheParty) {
  MakeAll();
  const Roster before = TheRoster();
  fs::remove(Path("sites/clinic-a/private.key"));
  fs::remove(Path("sites/clinic-a/signing.key"));
  const std::string old_site = Text("sites/clinic-a/certificate.pem"), old_server = Text("server/certificate.pem");
  EXPECT_EQ(Json({"site", "keys", "clinic-a", "--renew", "--days", "1000"})["roster_changed"], false);
  EXPECT_EQ(Run({"server", "keys", "--renew"}).code, 0);
  EXPECT_EQ(TheRoster(), before);
  EXPECT_NE(Text("sites/clinic-a/certificate.pem"), old_site);
  EXPECT_NE(Text("server/certificate.pem"), old_server);
  const CertificateFacts site = *ParseCertificate(Text("sites/clinic-a/certificate.pem"));
  EXPECT_EQ(site.fingerprint, before.sites[0].keys.fingerprint);
  EXPECT_GT(site.validity.not_after_s, ParseCertificate(old_site)->validity.not_after_s + 269 * 86400);
  EXPECT_EQ(ParseCertificate(Text("server/certificate.pem"))->hosts, (std::vector<std::string>{"fl.example.org", "10.0.0.7"}));
  EXPECT_EQ(Run({"server", "keys", "--renew", "--host", "new.example.org"}).code, 0);
  EXPECT_EQ(ParseCertificate(Text("server/certificate.pem"))->hosts, std::vector<std::string>{"new.example.org"});
  // A certificate that somebody put there is not renewed for him.
  fs::copy_file(Path("sites/clinic-b/certificate.pem"), Path("sites/clinic-a/certificate.pem"),
                fs::copy_options::overwrite_existing);
  Refused({"site", "keys", "clinic-a", "--renew"}, 3, "put back the certificate that belongs here");
}

TEST_F(Keys, ServerGetsNewKeysWhenAsked) {
  MakeAll();
  const Roster before = TheRoster();
  Refused({"server", "keys", "--host", "x"}, 6, "give --replace");
  Refused({"server", "keys", "--host", "x", "--replace", "--renew"}, 2, "expected one of the two");
  EXPECT_EQ(Run({"server", "keys", "--host", "x", "--replace"}).code, 0);
  const Roster after = TheRoster();
  EXPECT_NE(after.server->fingerprint, before.server->fingerprint);
  EXPECT_EQ(after.sites, before.sites);
  EXPECT_EQ(Text("sites/clinic-b/roster.json"), Text("roster.json"));
}

TEST_F(Keys, ShowListsEverybody) {
  const int64_t begin_s = std::time(nullptr);
  MakeAll();
  const int64_t end_s = std::time(nullptr);
  EXPECT_EQ(Run({"revoke", "keys", "clinic-b"}).code, 0);
  const Roster roster = TheRoster();
  const json shown = Json({"show", "keys"});
  EXPECT_EQ(shown["federation"], "clinics");
  EXPECT_EQ(shown["roster_sha256"], RosterHash(roster));
  EXPECT_EQ(shown["authority"]["fingerprint"], roster.authority);
  EXPECT_EQ(shown["server"]["hosts"], (json{"fl.example.org", "10.0.0.7"}));
  EXPECT_EQ(shown["server"]["signing_key"], roster.server->signing_key);
  ASSERT_EQ(shown["sites"].size(), 2u);
  EXPECT_EQ(shown["sites"][0]["state"], "active");
  EXPECT_EQ(shown["sites"][0]["expires"], DateOf(End("sites/clinic-a/certificate.pem")));
  EXPECT_GE(End("sites/clinic-a/certificate.pem"), begin_s + 730 * 86400);
  EXPECT_LE(End("sites/clinic-a/certificate.pem"), end_s + 730 * 86400);
  EXPECT_GE(End("authority/authority.pem"), begin_s + 3650 * int64_t{86400});
  EXPECT_LE(End("authority/authority.pem"), end_s + 3650 * int64_t{86400});
  EXPECT_EQ(shown["sites"][1]["state"], "revoked");
  EXPECT_EQ(shown["sites"][1]["index"], 1);
  const ProcessResult text = Run({"show", "keys"});
  for (const std::string& part : {roster.authority, roster.server->fingerprint, roster.sites[0].keys.fingerprint,
                                  RosterHash(roster), std::string("site clinic-b"), std::string("revoked")})
    EXPECT_SAYS(text.out, part);
  EXPECT_EQ(text.err, "");
}

TEST_F(Keys, ShowWarnsOfWhatNeedsAttention) {
  MakeAll();
  EXPECT_EQ(Run({"site", "keys", "clinic-a", "--renew", "--days", "29"}).code, 0);
  fs::remove_all(Path("sites/clinic-b"));  // moved to its machine
  const ProcessResult text = Run({"show", "keys"});
  EXPECT_EQ(text.code, 0);
  EXPECT_SAYS(text.err, "site clinic-a: the certificate expires on " + DateOf(End("sites/clinic-a/certificate.pem")));
  EXPECT_SAYS(text.err, "site clinic-b: its certificate is not here");
  const json shown = Json({"show", "keys"});
  EXPECT_EQ(shown["sites"][1]["expires"], nullptr);
  EXPECT_EQ(shown["sites"][1]["state"], "unknown");
  EXPECT_EQ(Run({"revoke", "keys", "clinic-b"}).code, 0);
  EXPECT_FALSE(fs::exists(Path("sites/clinic-b")));
  ASSERT_EQ(Run({"init", "short", "--days", "29"}).code, 0);
  EXPECT_SAYS(Run({"show", "short"}).err, "the authority ends on " + DateOf(End("../short/authority/authority.pem")));
}

TEST_F(Keys, RefusesWhatIsThereAlready) {
  MakeAll();
  Refused({"init", "keys"}, 6, "there is an authority already");
  Refused({"site", "keys", "clinic-a"}, 6, "fedalt keys revoke DIR clinic-a");
  folder_.Write("full/file", "x");
  Refused({"init", "full"}, 6, "not an empty directory");
  fs::create_directory(folder_.path() / "empty");
  EXPECT_EQ(Run({"init", "empty"}).code, 0);
  EXPECT_EQ(Mode(folder_.path() / "empty"), 0700u);
}

TEST_F(Keys, RefusesBadArguments) {
  Refused({"init", "keys", "--federation", "a b"}, 2, "the federation's name is \"a b\"");
  Refused({"init", "keys", "--days", "0"}, 2, "--days");
  Refused({"init"}, 2, "dir");
  Refused({}, 2, "subcommand");
  Refused({"show", "keys"}, 3, "fedalt keys init");
  Refused({"site", "keys", "a"}, 3, "fedalt keys init");
  Refused({"server", "keys", "--host", "a"}, 3, "fedalt keys init");
  Refused({"revoke", "keys", "a"}, 3, "fedalt keys init");
  ASSERT_EQ(Run({"init", "keys", "--days", "100"}).code, 0);
  for (const char* name : {"", "a/b", "..", ".a", "a b", "\xc3\xa4", "mean", "server"})
    Refused({"site", "keys", name}, 2, "the site's name is");
  Refused({"site", "keys", std::string(65, 'a')}, 2, "the site's name is");
  Refused({"site", "keys", "--", "-a"}, 2, "the site's name is");
  Refused({"server", "keys"}, 2, "--host is missing");
  Refused({"server", "keys", "--host", "fl:443", "--days", "9"}, 2, "without a port");
  Refused({"server", "keys", "--renew"}, 2, "leave out --renew");
  Refused({"site", "keys", "a", "--renew"}, 2, "leave out --renew");
  Refused({"revoke", "keys", "a"}, 2, "no site of the roster is called \"a\"");
  Refused({"site", "keys", "a"}, 3, "give fewer --days");
  EXPECT_EQ(Run({"site", "keys", "a", "--days", "99"}).code, 0);
}

TEST_F(Keys, RefusesDamagedFolders) {
  MakeAll();
  const std::string roster = Text("roster.json");
  folder_.Write("keys/roster.json", roster.substr(0, roster.size() / 2));
  Refused({"site", "keys", "c"}, 3, "roster.json: line");
  folder_.Write("keys/roster.json", roster);
  ASSERT_EQ(Run({"init", "other"}).code, 0);
  const auto replace = [this](const char* file) {
    fs::copy_file(folder_.path() / "other/authority" / file, Path("authority") / file, fs::copy_options::overwrite_existing);
  };
  replace("authority.key");
  Refused({"site", "keys", "c"}, 3, "authority.key: the private key belongs to another certificate");
  replace("authority.pem");
  Refused({"site", "keys", "c"}, 3, "put back the authority or the roster that belongs here");
  ASSERT_EQ(::chmod((folder_.path() / "other/authority/authority.key").c_str(), 0644), 0);
  Refused({"site", "other", "c"}, 3, "chmod 600");
  fs::remove(folder_.path() / "other/authority/authority.key");  // kept elsewhere, offline
  Refused({"site", "other", "c"}, 3, "authority.key: cannot be opened");
  EXPECT_EQ(Run({"show", "other"}).code, 0);
}

TEST_F(Keys, AFullDiskLeavesEverythingAsItWas) {
  MakeAll();
  EXPECT_EQ(Run({"revoke", "keys", "clinic-b"}).code, 0);
  const std::set<std::string> before = Tree();
  // Below the size of the signing key, of the private key, of a certificate, of every new roster but that of a new folder.
  const rlim_t below_roster = Text("roster.json").size() - 2;
  for (const rlim_t largest : {rlim_t{0}, rlim_t{50}, rlim_t{200}, rlim_t{500}, below_roster}) {
    const std::vector<std::vector<std::string>> lines = {{"site", "keys", "clinic-c"},
                                                         {"site", "keys", "clinic-b"},
                                                         {"server", "keys", "--host", "x", "--replace"},
                                                         {"revoke", "keys", "clinic-a"},
                                                         {"init", "new"}};
    for (const std::vector<std::string>& line : lines) {
      if (largest == below_roster && line[0] == "init") continue;
      SCOPED_TRACE(absl::StrCat(line[0], " ", line.back(), ", at most ", largest, " bytes"));
      int code = 0;
      {
        const testing::FileSizeLimit limit(largest);
        code = Run(line).code;
      }
      EXPECT_EQ(code, 6);
      EXPECT_TRUE(Tree() == before) << "something has changed";
    }
  }
}

// A process that was killed after it put the folder into place, and before the roster named it.
TEST_F(Keys, KeysThatNoRosterNamesAreMadeAgain) {
  MakeAll();
  const std::string roster = Text("roster.json");
  ASSERT_EQ(Run({"site", "keys", "clinic-c"}).code, 0);
  const std::string lost = Text("sites/clinic-c/certificate.pem");
  folder_.Write("keys/roster.json", roster);
  EXPECT_EQ(Run({"site", "keys", "clinic-c"}).code, 0);
  EXPECT_NE(Text("sites/clinic-c/certificate.pem"), lost);
  EXPECT_EQ(ParseCertificate(Text("sites/clinic-c/certificate.pem"))->fingerprint, TheRoster().sites[2].keys.fingerprint);
}

// A process that was killed while it renewed the copies.
TEST_F(Keys, OldCopiesOfTheRosterAreRenewedByTheNextChange) {
  MakeAll();
  const std::string old_roster = Text("server/roster.json");
  ASSERT_EQ(Run({"revoke", "keys", "clinic-a"}).code, 0);
  folder_.Write("keys/server/roster.json", old_roster);
  fs::remove(Path("sites/clinic-b/roster.json"));
  EXPECT_EQ(Run({"revoke", "keys", "clinic-a"}).code, 0);
  EXPECT_EQ(Text("server/roster.json"), Text("roster.json"));
  EXPECT_EQ(Text("sites/clinic-b/roster.json"), Text("roster.json"));
}

TEST_F(Keys, OneProcessAtATime) {
  MakeAll();
  const int descriptor = ::open(Path("").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(descriptor, LOCK_EX), 0);
  Refused({"site", "keys", "clinic-c"}, 2, "another fedalt is at work");
  Refused({"revoke", "keys", "clinic-a"}, 2, "another fedalt is at work");
  ::close(descriptor);
  EXPECT_EQ(Run({"site", "keys", "clinic-c"}).code, 0);
}

}  // namespace
}  // namespace fedalt
