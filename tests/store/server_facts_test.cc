// Every fact that stands in a table of a server's database, changed by a second connection, and what the verification says.
#include "store/audit_evidence.h"

#include <gtest/gtest.h>

#include "store/server_folder.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::RawSql;
using testing::StoreFolder;

std::string Findings(const fs::path& path) {
  const auto database = Database::OpenReadOnly(path, StoreMigrations());
  if (!database.ok()) return database.status().ToString();
  const auto state = Transaction::BeginRead(**database);
  EXPECT_TRUE(state.ok()) << state.status();
  const auto evidence = EvidenceIn(**database, "run-7", testing::CheckToySignature);
  EXPECT_TRUE(evidence.ok()) << evidence.status();
  const auto report = VerifyAuditLog(**database, "run-7", testing::CheckToySignature, evidence.value_or(AuditEvidence()));
  EXPECT_TRUE(report.ok()) << report.status();
  std::string texts;
  for (const AuditFinding& finding : report.value_or(AuditReport()).findings) texts += finding.text + "\n";
  return texts;
}

class ServerFactsTest : public ::testing::Test {
 protected:
  ServerFactsTest() { testing::RecordRun(folder_.path()); }
  /// What is found in a copy of the database that `sql` has changed.
  std::string After(const std::string& sql) {
    const fs::path copy = folder_.path() / "copy.db";
    for (const char* part : {"", "-wal", "-shm"}) fs::remove(copy.string() + part);
    fs::copy_file(folder_.store(), copy);
    RawSql(copy, sql);
    return Findings(copy);
  }
  StoreFolder folder_;
};

TEST_F(ServerFactsTest, NothingIsFoundWhereNothingWasChanged) {
  EXPECT_EQ(Findings(folder_.store()), "");
  RawSql(folder_.store(), "INSERT INTO request (kind, site, cause, time_ms) VALUES ('stop', '', '', 0)");
  EXPECT_EQ(Findings(folder_.store()), "") << "a request that waits is nobody's fact yet";
}

TEST_F(ServerFactsTest, EveryChangeIsFoundAndNamed) {
  const std::pair<const char*, const char*> changes[] = {
      {"UPDATE agreement SET text = 'x'", "(\"run\"): the table agreement has agreement_sha256"},
      {"DELETE FROM agreement", "row in the table agreement is missing"},
      {"INSERT INTO agreement VALUES ('x')", "the table agreement has more than one row"},
      {"UPDATE site SET name = 'oslo' WHERE place = 2", "the table site has sites"},
      {"DELETE FROM site", "the table site has sites"},
      {"UPDATE enrolment SET train_examples = 7 WHERE site = 0",
       "(\"enrolment\", \"graz\"): the table enrolment has train_examples \"7\""},
      {"UPDATE enrolment SET name = 'x' WHERE site = 1", "(\"enrolment\", \"lyon\"): the table enrolment has name"},
      {"DELETE FROM enrolment WHERE site = 1", "(\"enrolment\", \"lyon\"): its row in the table enrolment is missing"},
      {"INSERT INTO enrolment VALUES (2, 5, '')", "the table enrolment has a row (osaka) that the log does not"},
      {"DELETE FROM attempt WHERE round = 2", "(\"round.open\"): its row in the table attempt is missing"},
      {"UPDATE attempt SET abandoned = 'x' WHERE round = 1 AND attempt = 1", "the table attempt has reason \"x\""},
      {"INSERT INTO attempt VALUES (9, 1, 0, NULL, '')", "the table attempt has a row (round 9, attempt 1)"},
      {"UPDATE contribution SET weight = 9 WHERE round = 2 AND site = 0",
       "(\"upload\", \"graz\"): the table contribution has weight"},
      {"UPDATE contribution SET size = 2 WHERE round = 2 AND site = 0", "the table contribution has words \"2\""},
      {"UPDATE contribution SET pieces = zeroblob(32) WHERE round = 3", "the table contribution has content_sha256"},
      {"UPDATE contribution SET counted = 0 WHERE round = 2 AND site = 0", "says that it does not count, the log that it does"},
      {"UPDATE contribution SET counted = 1 WHERE attempt = 1 AND round = 1", "says that it counts, the log that it does not"},
      {"DELETE FROM contribution WHERE round = 2 AND site = 1",
       "(\"upload\", \"lyon\"): its row in the table contribution is missing"},
      {"INSERT INTO contribution VALUES (1, 2, 2, 3, 0, x'', 1)", "the table contribution has a row (round 1, attempt 2, osaka)"},
      {"UPDATE published SET total_weight = 7 WHERE round = 1", "(\"round.closed\"): the table published has total_weight"},
      {"UPDATE published SET pieces = zeroblob(32) WHERE round = 2", "the table published has content_sha256"},
      {"DELETE FROM published WHERE round = 2", "its row in the table published is missing"},
      {"INSERT INTO published VALUES (9, 1, 0, x'')", "the table published has a row (round 9)"},
      {"INSERT INTO published_to VALUES (2, 1, 0, x'')", "the table published_to has content_sha256_of_site"},
      {"UPDATE contributor SET of_round = 2 WHERE round = 2 AND site = 2", "the table contributor has contributors"},
      {"UPDATE contributor SET weight = 2.5 WHERE round = 2 AND site = 0", "the table contributor has contributors"},
      {"UPDATE contributor SET moved = 0 WHERE round = 2 AND site = 1", "the table contributor has moved"},
      {"DELETE FROM contributor WHERE round = 1 AND site = 1", "the table contributor has contributors"},
      {"DELETE FROM round_record WHERE round = 1", "its row in the table round_record is missing"},
      {"UPDATE round_record SET signature = x'00' WHERE round = 2",
       "the record of round 2: the signature of \"server\" is not valid"},
      {"DELETE FROM adoption WHERE site = 2", "(\"countersignature\", \"osaka\"): its row in the table adoption is missing"},
      {"UPDATE adoption SET refused = 'x' WHERE site = 1",
       "(\"publication.refused\", \"lyon\"): the table adoption has reason \"x\""},
      {"UPDATE adoption SET signature = x'00' WHERE site = 2",
       "the countersignature of round 1: the signature of \"osaka\" is not valid"},
      {"UPDATE departure SET time_ms = 7", "the table departure has time_ms \"7\""},
      {"UPDATE start SET time_ms = 7 WHERE number = 1", "the table start has time_ms \"7\""},
      {"UPDATE attempt SET opened_ms = 7 WHERE round = 1 AND attempt = 1", "the table attempt has opened_ms \"7\""},
      {"UPDATE attempt SET opened_ms = 7 WHERE round = 3", "the table attempt has opened_ms \"7\""},
      {"DELETE FROM departure", "(\"departure\", \"osaka\"): its row in the table departure is missing"},
      {"UPDATE departure SET cause = 'x'", "the table departure has cause \"x\""},
      {"UPDATE departure SET site = 1", "the table departure has site \"lyon\""},
      {"INSERT INTO departure (site, time_ms, cause) VALUES (1, 0, '')", "the table departure has a row"},
      {"UPDATE metric SET value = 0.1 WHERE name = 'loss'", "(\"metrics\", \"graz\"): the table metric has loss \"0.1\""},
      {"UPDATE metric SET value = 0.1 WHERE name = 'time_s'", "the table metric has time_s \"0.1\""},
      {"DELETE FROM metric WHERE name = 'time_s'", "its row in the table metric is missing"},
      {"INSERT INTO metric VALUES (1, 1, 'loss', 1)", "the table metric has a row (round 1, lyon, loss)"},
      {"UPDATE start SET instance = 'x' WHERE number = 2", "(\"server.start\"): the table start has instance \"x\""},
      {"UPDATE start SET program = 'x' WHERE number = 1", "the table start has program \"x\""},
      {"UPDATE start SET roster_sha256 = 'x' WHERE number = 2", "the table start has roster_sha256 \"x\""},
      {"UPDATE start SET revoked = '[\"graz\"]' WHERE number = 2", "the table start has revoked"},
      {"UPDATE attempt SET cohort = '[\"graz\"]' WHERE round = 3", "the table attempt has cohort"},
      {"DELETE FROM start WHERE number = 1", "its row in the table start is missing"},
      {"INSERT INTO start VALUES (9, 0, 'x', '', '', '')", "the table start has a row (number 9)"},
      {"UPDATE request SET outcome = 'x'", "(\"operator\"): the table request has outcome \"x\""},
      {"DELETE FROM request", "its row in the table request is missing"},
      {"INSERT INTO pause VALUES (1, 0, 'x', 0)", "the table pause has a row (x)"},
      {"INSERT INTO ending VALUES ('x')", "the table ending has a row (x)"}};
  for (const auto& [sql, part] : changes) {
    const std::string found = After(sql);
    EXPECT_NE(found.find(part), std::string::npos) << sql << "\nfound: " << found;
  }
}

TEST_F(ServerFactsTest, PauseAndEndAreFacts) {
  {
    const auto store = testing::OpenServer(folder_.path());
    ASSERT_TRUE(store->SavePause("again", /*for_sites=*/false).ok());
    ASSERT_TRUE(store->SaveEnd("good enough").ok());
  }
  EXPECT_EQ(Findings(folder_.store()), "");
  EXPECT_NE(After("DELETE FROM pause").find("its row in the table pause is missing"), std::string::npos);
  EXPECT_NE(After("UPDATE pause SET cause = 'x'").find("the table pause has cause \"x\""), std::string::npos);
  EXPECT_NE(After("DELETE FROM ending").find("its row in the table ending is missing"), std::string::npos);
  EXPECT_NE(After("UPDATE ending SET cause = 'x'").find("(\"run.ended\"): the table ending has cause \"x\""), std::string::npos);
}

TEST_F(ServerFactsTest, WhoComesAgainIsComparedWithTheLastEnrolment) {
  {
    const auto store = testing::OpenServer(folder_.path());
    ASSERT_TRUE(store->SaveEnrolment(2, 50, "anew").ok());
    testing::Contribute(*store, 2, 3, 1, 'h');
  }
  EXPECT_EQ(Findings(folder_.store()), "");
  EXPECT_NE(After("UPDATE enrolment SET train_examples = 102 WHERE site = 2").find("has train_examples \"102\""),
            std::string::npos);
  EXPECT_NE(After("DELETE FROM contribution WHERE site = 2").find("(\"upload\", \"osaka\"): its row"), std::string::npos);
}

}  // namespace
}  // namespace fedalt
