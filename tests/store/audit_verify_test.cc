// Every way to change a signed log that we could think of, done by a second connection, and what the verification says about it.
#include "store/audit_verify.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "store/signed_log.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::OpenStore;
using testing::RawSql;
using testing::StoreFolder;

AuditReport Verify(const fs::path& path, const std::string& run = "run-7", AuditEvidence evidence = {}) {
  const auto database = Database::OpenReadOnly(path, StoreMigrations());
  EXPECT_TRUE(database.ok()) << database.status();
  if (!database.ok()) return {};
  const auto report = VerifyAuditLog(**database, run, testing::CheckToySignature, std::move(evidence));
  EXPECT_TRUE(report.ok()) << report.status();
  return report.value_or(AuditReport());
}

std::string Texts(const AuditReport& report) {
  std::string texts;
  for (const AuditFinding& finding : report.findings) texts += finding.text + "\n";
  return texts;
}

/// A fresh signed log, changed by `sql`, verified.
AuditReport After(const std::string& sql, const std::string& run = "run-7") {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  RawSql(folder.store(), testing::kDropTriggers + sql);
  return Verify(folder.store(), run);
}

/// The same by somebody who computes all hashes again, from entry `first` on.
AuditReport AfterWithHashes(const std::string& sql, int64_t first) {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  RawSql(folder.store(), testing::kDropTriggers + sql);
  {
    const auto database = OpenStore(folder.store());
    std::vector<AuditEntry> entries;
    EXPECT_TRUE(ReadEntries(*database, 0, "", [&](const AuditEntry& entry) {
                  entries.push_back(entry);
                  return absl::OkStatus();
                }).ok());
    auto update = database->Prepare("UPDATE audit_entry SET previous = ?1, leaf = ?2 WHERE sequence = ?3");
    Sha256Digest previous = {};
    const auto bytes = [](const Sha256Digest& digest) { return std::string(digest.begin(), digest.end()); };
    for (AuditEntry& entry : entries) {
      if (entry.sequence >= first) {
        entry.previous = previous;
        entry.leaf = LeafOf(entry);
        EXPECT_TRUE(
            update->BindBlob(1, bytes(entry.previous)).BindBlob(2, bytes(entry.leaf)).BindInt(3, entry.sequence).Run().ok());
      }
      previous = entry.leaf;
    }
  }
  return Verify(folder.store());
}

TEST(AuditVerify, AnUntouchedLogIsAsItWasSigned) {
  const AuditReport report = After("");
  EXPECT_EQ(Texts(report), "");
  EXPECT_EQ(report.run, "run-7");
  EXPECT_EQ(report.entries, 12u);
  EXPECT_EQ(report.signed_entries, 10u);
  EXPECT_EQ(report.signed_by, (std::map<std::string, uint64_t>{{"server", 10}, {"site-a", 10}, {"site-b", 10}}));
}

TEST(AuditVerify, WithoutAHeadNothingIsSigned) {
  const AuditReport report = After("DELETE FROM audit_head");
  EXPECT_EQ(Texts(report), "");
  EXPECT_EQ(report.entries, 12u);
  EXPECT_EQ(report.signed_entries, 0u);
  EXPECT_TRUE(report.signed_by.empty());
}

TEST(AuditVerify, AnEmptyLogIsEmpty) {
  const StoreFolder folder;
  {
    const auto database = OpenStore(folder.store());
    AuditLog log = testing::OpenLog(*database);
    testing::MustSign(log, {"server"});
  }
  const AuditReport report = Verify(folder.store());
  EXPECT_EQ(Texts(report), "");
  EXPECT_EQ(report.entries, 0u);
  EXPECT_EQ(report.signed_by, (std::map<std::string, uint64_t>{{"server", 0}}));
}

// All columns of all signed entries, one at a time: the entry is named, and no entry that was left alone.
TEST(AuditVerify, NamesAnyChangedField) {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  RawSql(folder.store(), testing::kDropTriggers);
  const std::string whole = folder.Read();
  for (int64_t sequence = 1; sequence <= 12; ++sequence) {
    for (const char* change : {"time_ms = time_ms + 1", "kind = kind || 'x'", "subject = 'site-9'", "subject = ''",
                               "body = replace(body, 'round', 'rounds')", "body = body || ' '", "body = ''",
                               "previous = zeroblob(31)", "leaf = randomblob(32)", "leaf = x''"}) {
      SCOPED_TRACE(std::to_string(sequence) + ": " + change);
      RawSql(folder.store(), "UPDATE audit_entry SET " + std::string(change) + " WHERE sequence = " + std::to_string(sequence));
      const AuditReport report = Verify(folder.store());
      const std::string name = "entry " + std::to_string(sequence) + " (";
      ASSERT_FALSE(report.findings.empty());
      const bool named =
          Texts(report).find(name) != std::string::npos && Texts(report).find("does not match its hash") != std::string::npos;
      EXPECT_TRUE(named) << Texts(report);
      size_t content = 0;
      for (const AuditFinding& finding : report.findings) {
        if (finding.text.find("does not match its hash") == std::string::npos) continue;
        ++content;
        EXPECT_EQ(finding.first, sequence);
        EXPECT_EQ(finding.last, sequence);
      }
      EXPECT_EQ(content, 1u) << Texts(report);
      folder.Write(whole);
    }
  }
}

// The heads still fit what the database says were the hashes, so the one entry is all that there is to say.
TEST(AuditVerify, AChangedBodyIsTheOnlyFinding) {
  const AuditReport report = After("UPDATE audit_entry SET body = '{\"round\":99}' WHERE sequence = 4");
  EXPECT_EQ(Texts(report), "entry 4 (\"upload\", \"site-1\") does not match its hash; it was changed after it was written\n");
  EXPECT_EQ(report.signed_entries, 10u);
}

TEST(AuditVerify, AnEntryChangedTogetherWithItsHash) {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  RawSql(folder.store(), testing::kDropTriggers);
  {
    const auto database = OpenStore(folder.store());
    AuditEntry changed;
    EXPECT_TRUE(ReadEntries(*database, 4, "", [&](const AuditEntry& entry) {
                  if (entry.sequence == 4) changed = entry;
                  return absl::OkStatus();
                }).ok());
    changed.body = "{}";
    const Sha256Digest leaf = LeafOf(changed);
    auto update = database->Prepare("UPDATE audit_entry SET body = '{}', leaf = ?1 WHERE sequence = 4");
    ASSERT_TRUE(update->BindBlob(1, std::string(leaf.begin(), leaf.end())).Run().ok());
  }
  const AuditReport report = Verify(folder.store());
  ASSERT_EQ(report.findings.size(), 3u) << Texts(report);
  EXPECT_EQ(report.findings[0].text.find("entries 1 to 5: not what was signed by \"server\", \"site-a\""), 0u) << Texts(report);
  EXPECT_EQ(report.findings[1].text.find("entries 1 to 10: not what was signed by"), 0u) << Texts(report);
  EXPECT_EQ(report.findings[2].text.find("entry 5 (\"round\", \"site-2\") was not written after entry 4 as it is now"), 0u)
      << Texts(report);
  EXPECT_EQ(report.findings[2].first, 4);
  EXPECT_EQ(report.findings[2].last, 5);
}

// Nothing but the signatures can tell.
TEST(AuditVerify, AHistoryWrittenAnewIsNotWhatWasSigned) {
  const char* changes[] = {
      "UPDATE audit_entry SET body = '{}' WHERE sequence = 7",
      "UPDATE audit_entry SET sequence = -1 WHERE sequence = 7; UPDATE audit_entry SET sequence = 7 WHERE sequence = 8; "
      "UPDATE audit_entry SET sequence = 8 WHERE sequence = -1",                                                        // exchanged
      "DELETE FROM audit_entry WHERE sequence = 7; UPDATE audit_entry SET sequence = sequence - 1 WHERE sequence > 7",  // removed
      "UPDATE audit_entry SET sequence = -sequence WHERE sequence > 6; "
      "UPDATE audit_entry SET sequence = 1 - sequence WHERE sequence < 0; "
      "INSERT INTO audit_entry VALUES (7, 1, 'upload', 'site-1', '{}', x'', x'')",  // inserted
  };
  for (const char* change : changes) {
    SCOPED_TRACE(change);
    const AuditReport report = AfterWithHashes(change, 7);
    ASSERT_EQ(report.findings.size(), 1u) << Texts(report);
    EXPECT_EQ(report.findings[0].text.find("entries 6 to 10: not what was signed by \"server\", \"site-a\", \"site-b\"; "), 0u)
        << Texts(report);
    EXPECT_EQ(report.findings[0].first, 6);
    EXPECT_EQ(report.findings[0].last, 10);
    EXPECT_EQ(report.signed_entries, 5u);
  }
}

TEST(AuditVerify, RemovedEntries) {
  const AuditReport one = After("DELETE FROM audit_entry WHERE sequence = 4");
  EXPECT_EQ(Texts(one), "entry 4 is missing; removed\n");
  EXPECT_EQ(one.signed_entries, 10u) << "its hash stands in the entry after it, and the heads fit";
  EXPECT_EQ(one.entries, 11u);
  EXPECT_EQ(Texts(After("DELETE FROM audit_entry WHERE sequence = 1")), "entry 1 is missing; removed\n");
  EXPECT_EQ(Texts(After("DELETE FROM audit_entry WHERE sequence IN (5, 10)")),
            "entry 5 is missing; removed\nentry 10 is missing; removed\n");
  const AuditReport three = After("DELETE FROM audit_entry WHERE sequence BETWEEN 7 AND 9");
  EXPECT_EQ(Texts(three),
            "entries 7 to 9 are missing; removed\n"
            "the head of 10 entries, signed by \"server\", \"site-a\", \"site-b\", cannot be compared, as entries are missing\n");
  EXPECT_EQ(three.signed_entries, 5u);
}

TEST(AuditVerify, ACutEnd) {
  EXPECT_EQ(Texts(After("DELETE FROM audit_entry WHERE sequence > 8")),
            "entries 9 to 10 are missing at the end; \"server\", \"site-a\", \"site-b\" signed 10 entries\n");
  EXPECT_EQ(Texts(After("DELETE FROM audit_entry WHERE sequence > 9")),
            "entry 10 is missing at the end; \"server\", \"site-a\", \"site-b\" signed 10 entries\n");
  EXPECT_EQ(Texts(After("DELETE FROM audit_entry")),
            "entries 1 to 5 are missing at the end; \"server\", \"site-a\" signed 5 entries\n"
            "entries 1 to 10 are missing at the end; \"server\", \"site-a\", \"site-b\" signed 10 entries\n");
}

// What nobody has signed can be cut off; it is what "not yet signed" means.
TEST(AuditVerify, TheUnsignedEndIsNotProven) {
  const AuditReport cut = After("DELETE FROM audit_entry WHERE sequence > 10");
  EXPECT_EQ(Texts(cut), "");
  EXPECT_EQ(cut.entries, 10u);
  const AuditReport rewritten = AfterWithHashes("UPDATE audit_entry SET body = '{}' WHERE sequence = 11", 11);
  EXPECT_EQ(Texts(rewritten), "");
  EXPECT_EQ(rewritten.entries, 12u);
  EXPECT_EQ(rewritten.signed_entries, 10u);
}

TEST(AuditVerify, ExchangedNumbers) {
  const AuditReport report = After(
      "UPDATE audit_entry SET sequence = -1 WHERE sequence = 3; UPDATE audit_entry SET sequence = 3 WHERE sequence = 4; "
      "UPDATE audit_entry SET sequence = 4 WHERE sequence = -1");
  const std::string texts = Texts(report);
  EXPECT_NE(texts.find("entry 3 (\"upload\", \"site-1\") does not match its hash"), std::string::npos) << texts;
  EXPECT_NE(texts.find("entry 4 (\"round\", \"site-0\") does not match its hash"), std::string::npos) << texts;
  EXPECT_NE(texts.find("entry 3 (\"upload\", \"site-1\") was not written after entry 2"), std::string::npos) << texts;
  EXPECT_NE(texts.find("entries 1 to 5: not what was signed"), std::string::npos) << texts;
}

TEST(AuditVerify, InsertedEntries) {
  const char row[] = ", 1, 'upload', 'site-1', '{}', zeroblob(32), zeroblob(32))";
  EXPECT_EQ(Texts(After("INSERT INTO audit_entry VALUES (0" + std::string(row))),
            "entry 0 (\"upload\", \"site-1\") has a number that is taken or cannot be; it was inserted\n");
  EXPECT_EQ(Texts(After("INSERT INTO audit_entry VALUES (9223372036854775807" + std::string(row))),
            "entry 9223372036854775807 (\"upload\", \"site-1\") has a number that is taken or cannot be; it was inserted\n");
  // A table of the same name that takes a number twice.
  const AuditReport twice = After(
      "CREATE TABLE other AS SELECT * FROM audit_entry; DROP TABLE audit_entry; ALTER TABLE other RENAME TO audit_entry; "
      "INSERT INTO audit_entry VALUES (6" +
      std::string(row));
  EXPECT_EQ(Texts(twice), "entry 6 (\"upload\", \"site-1\") has a number that is taken or cannot be; it was inserted\n");
  EXPECT_EQ(twice.signed_entries, 10u);
  const std::string end = Texts(After("INSERT INTO audit_entry VALUES (13" + std::string(row)));
  EXPECT_NE(end.find("entry 13 (\"upload\", \"site-1\") was not written after entry 12"), std::string::npos) << end;
}

TEST(AuditVerify, ChangedHeads) {
  const std::string invalid =
      "the head of 10 entries: the signature of \"site-a\" is not valid; it or what it covers was changed, "
      "or this signer is not in the roster\n";
  const std::string where = " WHERE size = 10 AND signer = 'site-a'";
  const AuditReport root = After("UPDATE audit_head SET root = zeroblob(32)" + where);
  EXPECT_EQ(Texts(root), invalid);
  EXPECT_EQ(root.signed_by, (std::map<std::string, uint64_t>{{"server", 10}, {"site-a", 5}, {"site-b", 10}}));
  EXPECT_EQ(Texts(After("UPDATE audit_head SET root = x'00'" + where)), invalid);
  EXPECT_EQ(Texts(After("UPDATE audit_head SET signature = x'00'" + where)), invalid);
  const std::string size = Texts(After("UPDATE audit_head SET size = 9" + where));
  EXPECT_EQ(size.find("the head of 9 entries: the signature of \"site-a\" is not valid"), 0u) << size;
  const std::string signer = Texts(After("UPDATE audit_head SET signer = 'site-c'" + where));
  EXPECT_EQ(signer.find("the head of 10 entries: the signature of \"site-c\" is not valid"), 0u) << signer;
  const std::string negative = Texts(After("UPDATE audit_head SET size = -10" + where));
  EXPECT_NE(negative.find("the signature of \"site-a\" is not valid"), std::string::npos) << negative;
}

// The signer did sign it, but it is not of this log: two histories were shown.
TEST(AuditVerify, AValidHeadOfAnotherHistory) {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  {
    const auto database = OpenStore(folder.store());
    AuditLog log = testing::OpenLog(*database);
    const TreeHead other = {7, Sha256("another history")};
    ASSERT_TRUE(log.StoreHead({other, "site-b", testing::ToySignature("site-b", HeadMessage("run-7", other))}).ok());
  }
  const AuditReport report = Verify(folder.store());
  ASSERT_EQ(report.findings.size(), 1u) << Texts(report);
  EXPECT_EQ(report.findings[0].text.find("entries 6 to 7: not what was signed by \"site-b\""), 0u) << Texts(report);
  EXPECT_EQ(report.signed_entries, 10u);
}

TEST(AuditVerify, AnotherRun) {
  const std::string swapped = Texts(After("UPDATE audit_run SET run = 'run-8'"));
  EXPECT_EQ(swapped, "the log is that of run \"run-8\", not of \"run-7\"\n");
  const AuditReport renamed = After("UPDATE audit_run SET run = 'run-8'", "run-8");
  EXPECT_EQ(renamed.findings.size(), 5u) << "no signature is one for that run";
  EXPECT_EQ(renamed.signed_entries, 0u);
}

TEST(AuditVerify, FactsOfOtherTables) {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  RawSql(folder.store(),
         "CREATE TABLE upload (round INTEGER PRIMARY KEY, hash TEXT); INSERT INTO upload "
         "SELECT json_extract(body, '$.round'), json_extract(body, '$.hash') FROM audit_entry WHERE kind = 'upload'");
  const FactCheck check = {"upload", [&](const AuditEntry& entry) -> StatusOr<std::optional<std::string>> {
                             const auto body = nlohmann::json::parse(entry.body);
                             const std::string stored = RawSql(
                                 folder.store(), "SELECT hash FROM upload WHERE round = " + std::to_string(int64_t{body["round"]}));
                             if (stored == body["hash"].get<std::string>()) return std::nullopt;
                             return stored.empty() ? "the upload is gone" : "the table upload has the hash " + stored;
                           }};
  EXPECT_EQ(Texts(Verify(folder.store(), "run-7", {{check}, {}, {}})), "");
  RawSql(folder.store(), "UPDATE upload SET hash = 'other' WHERE round = 6; DELETE FROM upload WHERE round = 8");
  EXPECT_EQ(Texts(Verify(folder.store(), "run-7", {{check}, {}, {}})),
            "entry 6 (\"upload\", \"site-0\"): the table upload has the hash other\n"
            "entry 8 (\"upload\", \"site-2\"): the upload is gone\n");
  const FactCheck broken = {"round",
                            [](const AuditEntry&) -> StatusOr<std::optional<std::string>> { return OutputError("no table"); }};
  const auto database = OpenStore(folder.store());
  EXPECT_EQ(VerifyAuditLog(*database, "run-7", testing::CheckToySignature, {{broken}, {}, {}}).status().message(), "no table");
}

TEST(AuditVerify, WhileTheWriterIsAtWork) {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  const auto database = OpenStore(folder.store());
  AuditLog log = testing::OpenLog(*database);
  auto transaction = Transaction::Begin(*database);
  testing::MustAppend(log, 13);
  EXPECT_EQ(Verify(folder.store()).entries, 12u) << "another process sees what is committed";
  const auto own = VerifyAuditLog(*database, "run-7", testing::CheckToySignature);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->entries, 13u);
  ASSERT_TRUE(transaction->Commit().ok());
  EXPECT_EQ(Verify(folder.store()).entries, 13u);
}

TEST(AuditVerify, WithoutTheTablesItSaysSo) {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  RawSql(folder.store(), "DROP TABLE audit_head");
  const auto database = OpenStore(folder.store());
  const Status status = VerifyAuditLog(*database, "run-7", testing::CheckToySignature).status();
  EXPECT_EQ(KindOf(status), ErrorKind::kOutput);
  EXPECT_NE(std::string(status.message()).find("no such table: audit_head"), std::string::npos) << status;
}

}  // namespace
}  // namespace fedalt
