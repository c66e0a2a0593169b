#include "store/site_store.h"

#include <gtest/gtest.h>

#include "store/audit_evidence.h"
#include "store/site_folder.h"

namespace fedalt {
namespace {

using testing::OpenSite;
using testing::RawSql;
using testing::RecordRounds;
using testing::StoreFolder;

std::string Entries(const StoreFolder& folder) {
  return RawSql(folder.store(), "SELECT count(*) FROM audit_entry");
}

TEST(SiteStore, AnotherRunIsRefused) {
  const StoreFolder folder;
  ASSERT_TRUE(OpenSite(folder).Begin("run-7").ok());
  EXPECT_TRUE(OpenSite(folder).Begin("run-7").ok());
  const Status other = OpenSite(folder).Begin("run-8");
  EXPECT_EQ(KindOf(other), ErrorKind::kFederation);
  EXPECT_NE(other.message().find("belongs to run \"run-7\", but the server works on \"run-8\""), std::string::npos) << other;
}

TEST(SiteStore, TheSameNoteTwiceIsKeptOnce) {
  const StoreFolder folder;
  {
    SiteStore store = OpenSite(folder);
    ASSERT_TRUE(store.Begin("run-7").ok());
    EXPECT_TRUE(store.Note("sent", {{"round", 1}}).ok());
    EXPECT_TRUE(store.Note("sent", {{"round", 1}}).ok());
    EXPECT_EQ(Entries(folder), "1");
  }
  SiteStore store = OpenSite(folder);
  ASSERT_TRUE(store.Begin("run-7").ok());
  EXPECT_TRUE(store.Note("sent", {{"round", 1}}).ok()) << "a site that was killed says it again";
  EXPECT_EQ(Entries(folder), "1");
  EXPECT_TRUE(store.Note("sent", {{"round", 2}}).ok());
  EXPECT_TRUE(store.Note("read", {{"round", 2}}).ok());
  EXPECT_TRUE(store.Note("sent", {{"round", 2}}).ok()) << "not twice in a row";
  EXPECT_EQ(Entries(folder), "4");
}

AuditReport VerifyIn(const StoreFolder& folder) {
  const auto database = Database::OpenReadOnly(folder.store(), SiteMigrations());
  EXPECT_TRUE(database.ok()) << database.status();
  auto evidence = EvidenceIn(**database, "run-7", testing::CheckToySignature);
  EXPECT_TRUE(evidence.ok()) << evidence.status();
  const auto report = VerifyAuditLog(**database, "run-7", testing::CheckToySignature, std::move(evidence).value());
  EXPECT_TRUE(report.ok()) << report.status();
  return report.value_or(AuditReport());
}

TEST(SiteStore, RecordsAndWhatWasSentAreKept) {
  const StoreFolder folder;
  RecordRounds(folder);
  SiteStore store = OpenSite(folder);
  ASSERT_TRUE(store.Begin("run-7").ok());
  EXPECT_EQ(store.LastRound().value_or(-1), 2);
  const auto record = store.RecordOf(1);
  ASSERT_TRUE(record.ok() && record->has_value());
  EXPECT_EQ((*record)->bytes, testing::RecordAfter(1).bytes);
  EXPECT_EQ((*record)->signature, testing::RecordAfter(1).signature);
  EXPECT_FALSE(store.RecordOf(3)->has_value());
  EXPECT_EQ(*store.SentIn(2), (RecordedContribution{"osaka", 2, 1.0, std::string(64, 'b')}));
  EXPECT_FALSE(store.SentIn(3)->has_value());
}

TEST(SiteStore, ItsLogAndItsRecordsVerify) {
  const StoreFolder folder;
  RecordRounds(folder);
  const AuditReport report = VerifyIn(folder);
  EXPECT_TRUE(report.findings.empty()) << report.findings.front().text;
  EXPECT_EQ(report.signed_by, (std::map<std::string, uint64_t>{{"osaka", 8}}));
  EXPECT_EQ(report.entries, 8u);
  for (const char* sql :
       {"DELETE FROM server_record WHERE round = 1", "DELETE FROM server_record WHERE round = 2",
        "UPDATE server_record SET signature = x'00' WHERE round = 2", "UPDATE sent SET weight = 2 WHERE round = 1",
        "DELETE FROM sent WHERE round = 2", "INSERT INTO sent VALUES (9, 1, '')"}) {
    const StoreFolder other;
    RecordRounds(other);
    RawSql(other.store(), sql);
    EXPECT_FALSE(VerifyIn(other).findings.empty()) << sql;
  }
}

/// Whoever has the file can write any entry, also one that no site writes: it is named, and ends no verification.
TEST(SiteStore, EntriesOfOtherTypesAreFindings) {
  const std::string deep = std::string(5000, '[') + std::string(5000, ']');
  for (const std::string& body :
       {std::string(R"({"record_sha256":7,"round":1})"), std::string(R"({"record_sha256":"00","round":1e300})"),
        R"({"content_sha256":)" + deep + R"(,"round":1})", std::string("no json")}) {
    const StoreFolder folder;
    RecordRounds(folder);
    RawSql(folder.store(), "INSERT INTO audit_entry SELECT 9, time_ms, 'server.record', subject, '" + body +
                               "', leaf, leaf FROM audit_entry WHERE sequence = 8");
    EXPECT_FALSE(VerifyIn(folder).findings.empty()) << body.substr(0, 80);
  }
}

TEST(SiteStore, TheNameOfAnotherRunStaysInItsLine) {
  const StoreFolder folder;
  ASSERT_TRUE(OpenSite(folder).Begin("run-7").ok());
  RawSql(folder.store(), "UPDATE audit_run SET run = 'run-7' || char(10) || 'all is well'");
  const Status other = OpenSite(folder).Begin("run-7");
  EXPECT_EQ(KindOf(other), ErrorKind::kFederation);
  EXPECT_EQ(other.message().find('\n'), absl::string_view::npos) << other;
}

}  // namespace
}  // namespace fedalt
