// fedalt audit, the real program, on a log that the library wrote and libsodium signed.
#include <gtest/gtest.h>
#include <sodium.h>
#include <sqlite3.h>

#include <nlohmann/json.hpp>

#include "app/cli_process.h"
#include "store/audit_evidence.h"
#include "store/audit_log.h"
#include "store/database.h"
#include "store/schema.h"

namespace fedalt {
namespace {

using nlohmann::json;
using testing::ProcessResult;
using testing::RunFedalt;
using testing::RunInProcess;
using testing::TestFolder;

struct KeyPair {
  explicit KeyPair(char name) {
    unsigned char seed[crypto_sign_SEEDBYTES] = {};
    seed[0] = static_cast<unsigned char>(name);
    crypto_sign_seed_keypair(open, secret, seed);
  }
  std::string hex() const {
    std::string text(2 * sizeof open + 1, '\0');
    sodium_bin2hex(text.data(), text.size(), open, sizeof open);
    text.pop_back();
    return text;
  }
  std::string Sign(const std::string& message) const {
    std::string signature(crypto_sign_BYTES, '\0');
    crypto_sign_detached(reinterpret_cast<unsigned char*>(signature.data()), nullptr,
                         reinterpret_cast<const unsigned char*>(message.data()), message.size(), secret);
    return signature;
  }
  unsigned char open[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES];
};

json Party(char name) {
  return {{"fingerprint", std::string(64, name == 's' ? '5' : name)}, {"signing_key", KeyPair(name).hex()}};
}

json Site(const std::string& name, char key) {
  json site = Party(key);
  site["name"] = name;
  site["revoked"] = false;
  return site;
}

json RosterJson() {
  return {{"federation", "clinics"},
          {"authority", std::string(64, '0')},
          {"server", Party('s')},
          {"sites", {Site("clinic-a", 'a'), Site("clinic-b", 'b')}}};
}

/// server/store.db with 6 entries, of which the server has signed 5 and clinic-a 3; server/roster.json.
void WriteServer(const TestFolder& folder) {
  folder.Write("server/roster.json", RosterJson().dump());
  auto database = Database::Open(folder.path() / "server" / kStoreName, StoreMigrations());
  ASSERT_TRUE(database.ok()) << database.status();
  auto log = AuditLog::Open(**database, "run-7");
  ASSERT_TRUE(log.ok()) << log.status();
  const auto sign = [&](const char* signer, char name) {
    const TreeHead head = *log->Head();
    ASSERT_TRUE(log->StoreHead({head, signer, KeyPair(name).Sign(HeadMessage("run-7", head))}).ok());
  };
  for (int64_t i = 1; i <= 6; ++i) {
    const Status status =
        log->Append(1'700'000'000'000 + i, i == 4 ? "refusal" : "notice", i == 6 ? "" : "clinic-a", {{"round", i}}).status();
    ASSERT_TRUE(status.ok()) << status;
    if (i == 3) sign("clinic-a", 'a');
    if (i == 5) sign("server", 's');
  }
}

void Tamper(const TestFolder& folder, const std::string& sql) {
  sqlite3* connection = nullptr;
  ASSERT_EQ(sqlite3_open((folder.path() / "server/store.db").c_str(), &connection), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(connection,
                         ("DROP TRIGGER IF EXISTS audit_entry_stays; DROP TRIGGER IF EXISTS audit_entry_remains; " + sql).c_str(),
                         nullptr, nullptr, nullptr),
            SQLITE_OK)
      << sqlite3_errmsg(connection);
  sqlite3_close(connection);
}

/// What the program says that it does not find.
std::string NotFound() {
  std::string text = "not found by any verification:\n";
  for (const std::string& what : NotFoundByAudit()) text += "  - " + what + "\n";
  return text;
}

void ExpectRefusal(const ProcessResult& result, int code, const std::string& part) {
  EXPECT_EQ(result.code, code) << result.err;
  EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find("fedalt: "), 0u) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
}

TEST(Audit, ShowsTheEntries) {
  const TestFolder folder;
  WriteServer(folder);
  const ProcessResult text = RunFedalt(folder, {"audit", "show", "server"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(text.err, "");
  EXPECT_EQ(text.out.substr(0, text.out.find('\n')), "1  2023-11-14T22:13:20.001Z  notice  clinic-a  {\"round\":1}");
  EXPECT_EQ(std::count(text.out.begin(), text.out.end(), '\n'), 6);
  EXPECT_EQ(RunInProcess(folder, {"audit", "show", "server", "--kind", "refusal"}).out,
            "4  2023-11-14T22:13:20.004Z  refusal  clinic-a  {\"round\":4}\n");
  const json object = json::parse(RunInProcess(folder, {"audit", "show", "server", "--format", "json"}).out, nullptr, false);
  EXPECT_EQ(object["run"], "run-7");
  ASSERT_EQ(object["entries"].size(), 6u);
  EXPECT_EQ(object["entries"][5]["body"], (json{{"round", 6}}));
  EXPECT_EQ(object["entries"][5]["subject"], "");
  EXPECT_EQ(object["entries"][5]["time_ms"], 1'700'000'000'006);
  Tamper(folder, "UPDATE audit_entry SET subject = char(27) || '[2J', time_ms = 9223372036854775807 WHERE sequence = 1");
  const std::string out = RunInProcess(folder, {"audit", "show", "server"}).out;
  EXPECT_EQ(out.substr(0, out.find('\n')), "1  9223372036854775807  notice  ?[2J  {\"round\":1}")
      << "nothing for a terminal to obey";
}

TEST(Audit, VerifiesALogThatNobodyChanged) {
  const TestFolder folder;
  WriteServer(folder);
  folder.Write("mine.json", RosterJson().dump());
  const ProcessResult text = RunFedalt(folder, {"audit", "verify", "server", "--trust", "mine.json"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(text.err, "");
  EXPECT_EQ(text.out,
            "run \"run-7\": 6 entries, 5 of them signed\n"
            "  clinic-a: 3 entries\n"
            "  clinic-b: nothing\n"
            "  server: 5 entries\n"
            "not covered: 1 entry after entry 5, which no signature covers yet\n"
            "the first 5 entries are as they were signed, and all tables agree with them\n" +
                NotFound());
  const ProcessResult own = RunInProcess(folder, {"audit", "verify", "server", "--run", "run-7", "--signed-at-least", "5"});
  EXPECT_EQ(own.code, 0) << own.err;
  EXPECT_EQ(own.out, text.out);
  EXPECT_NE(own.err.find("server/roster.json, beside the log itself"), std::string::npos) << own.err;
  const ProcessResult object = RunInProcess(folder, {"audit", "verify", "server", "--trust", "mine.json", "--format", "json"});
  EXPECT_EQ(json::parse(object.out, nullptr, false), (json{{"run", "run-7"},
                                                           {"verified", true},
                                                           {"entries", 6},
                                                           {"signed_entries", 5},
                                                           {"not_covered_entries", 1},
                                                           {"signed_by", {{"server", 5}, {"clinic-a", 3}}},
                                                           {"findings", json::array()},
                                                           {"does_not_find", NotFoundByAudit()}}));
}

TEST(Audit, SaysWhatItNeedsWithoutARoster) {
  const TestFolder folder;
  WriteServer(folder);
  std::filesystem::remove(folder.path() / "server/roster.json");
  ExpectRefusal(RunInProcess(folder, {"audit", "verify", "server"}), 2, "give your copy of roster.json with --trust");
}

TEST(Audit, NamesAChangedEntry) {
  const TestFolder folder;
  WriteServer(folder);
  Tamper(folder, "UPDATE audit_entry SET body = '{}' WHERE sequence = 2");
  const ProcessResult text = RunFedalt(folder, {"audit", "verify", "server", "--trust", "server/roster.json"});
  const std::string finding = "entry 2 (\"notice\", \"clinic-a\") does not match its hash; it was changed after it was written";
  ExpectRefusal(text, 9, "server/store.db: the audit log does not verify, 1 finding: " + finding);
  EXPECT_NE(text.out.find("changed: " + finding + "\n"), std::string::npos) << text.out;
  EXPECT_EQ(text.out.find("are as they were signed"), std::string::npos) << text.out;
  const ProcessResult object =
      RunInProcess(folder, {"audit", "verify", "server", "--trust", "server/roster.json", "--format", "json"});
  EXPECT_EQ(object.code, 9);
  const json report = json::parse(object.out, nullptr, false);
  EXPECT_EQ(report["verified"], false);
  EXPECT_EQ(report["findings"], (json{{{"first", 2}, {"last", 2}, {"text", finding}}}));
}

TEST(Audit, KeysAndExpectationsOfTheAuditorCount) {
  const TestFolder folder;
  WriteServer(folder);
  json roster = RosterJson();
  roster["server"]["signing_key"] = KeyPair('x').hex();
  folder.Write("other.json", roster.dump());
  ExpectRefusal(RunInProcess(folder, {"audit", "verify", "server", "--trust", "other.json"}), 9,
                "the head of 5 entries: the signature of \"server\" is not valid");
  folder.Write("mine.json", RosterJson().dump());
  ExpectRefusal(RunInProcess(folder, {"audit", "verify", "server", "--trust", "mine.json", "--run", "run-8"}), 9,
                "the log is that of run \"run-7\", not of \"run-8\"");
  ExpectRefusal(RunInProcess(folder, {"audit", "verify", "server", "--trust", "mine.json", "--signed-at-least", "6"}), 9,
                "a signed head of at least 6 entries was expected");
  Tamper(folder, "DELETE FROM audit_entry WHERE sequence > 4");
  ExpectRefusal(RunInProcess(folder, {"audit", "verify", "server", "--trust", "mine.json"}), 9, "entry 5 is missing at the end");
}

TEST(Audit, RefusesWhatItCannotRead) {
  const TestFolder folder;
  ExpectRefusal(RunInProcess(folder, {"audit"}), 2, "fedalt audit --help");
  for (const char* what : {"show", "verify"}) {
    ExpectRefusal(RunInProcess(folder, {"audit", what}), 2, "dir is required");
    ExpectRefusal(RunInProcess(folder, {"audit", what, "absent"}), 2, "absent: there is no such directory");
    ExpectRefusal(RunInProcess(folder, {"audit", what, "."}), 2, ".: holds no store.db");
    folder.Write("broken/store.db", std::string(10'000, 'x'));
    ExpectRefusal(RunInProcess(folder, {"audit", what, "broken"}), 6, "broken/store.db: is not a database");
    folder.Write("empty/store.db", "");
    ExpectRefusal(RunInProcess(folder, {"audit", what, "empty"}), 6, "empty/store.db: is an empty database");
  }
  WriteServer(folder);
  std::string cut = testing::Slurp(folder.path() / "server/store.db");
  cut.resize(cut.size() / 2 / 4096 * 4096);
  folder.Write("cut/store.db", cut);
  folder.Write("cut/roster.json", RosterJson().dump());
  const ProcessResult damaged = RunFedalt(folder, {"audit", "verify", "cut", "--trust", "cut/roster.json"});
  ExpectRefusal(damaged, 6, "cut/store.db: is damaged");
}

TEST(Audit, RefusesARosterThatIsNone) {
  const TestFolder folder;
  WriteServer(folder);
  const auto verify = [&](const std::string& roster) {
    folder.Write("trust.json", roster);
    return RunInProcess(folder, {"audit", "verify", "server", "--trust", "trust.json"});
  };
  ExpectRefusal(RunInProcess(folder, {"audit", "verify", "server", "--trust", "absent.json"}), 3, "absent.json");
  ExpectRefusal(verify("{"), 3, "trust.json: line 1");
  ExpectRefusal(verify("[]"), 3, "trust.json: the roster is array; expected an object");
  json roster = RosterJson();
  roster["server"]["signing_key"] = "00";
  ExpectRefusal(verify(roster.dump()), 3, "trust.json: the server");
  roster = RosterJson();
  roster["sites"][1]["name"] = "clinic-a";
  ExpectRefusal(verify(roster.dump()), 3, "a site called clinic-a is there twice");
  roster["sites"][1]["name"] = "server";
  ExpectRefusal(verify(roster.dump()), 3, "the name of a site is \"server\"");
  roster["sites"][1].erase("name");
  ExpectRefusal(verify(roster.dump()), 3, "\"name\"");
}

TEST(Audit, HelpHasExamples) {
  const TestFolder folder;
  for (const char* what : {"show", "verify"}) {
    const ProcessResult help = RunInProcess(folder, {"audit", what, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_NE(help.out.find(std::string("  fedalt audit ") + what + " server"), std::string::npos) << help.out;
  }
}

}  // namespace
}  // namespace fedalt
