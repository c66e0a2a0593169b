#include "store/audit_log.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>

#include "store/signed_log.h"

namespace fedalt {
namespace {

using nlohmann::json;
using testing::MustAppend;
using testing::OpenLog;
using testing::OpenStore;
using testing::StoreFolder;

std::vector<AuditEntry> EntriesOf(Database& database, std::string_view kind = "") {
  std::vector<AuditEntry> entries;
  const Status status = ReadEntries(database, 1, kind, [&](const AuditEntry& entry) {
    entries.push_back(entry);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return entries;
}

TreeHead HeadOf(AuditLog& log) {
  const auto head = log.Head();
  EXPECT_TRUE(head.ok()) << head.status();
  return head.value_or(TreeHead());
}

// The hashes were computed with Python's hashlib from the description in the header.
TEST(AuditLog, EncodesAsDescribed) {
  const StoreFolder folder;
  const auto database = OpenStore(folder.store());
  AuditLog log = OpenLog(*database);
  const auto first = log.Append(1'700'000'000'123, "upload", "site-ä", json::parse(R"({ "b": "x", "a": [1, null] })"));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->body, R"({"a":[1,null],"b":"x"})");
  EXPECT_EQ(HexOf(first->leaf), "36ad5dd24cd16bac9a390583bd1c2a5b4593b2238f70a1b61e7728c8f1f1bf7f");
  const auto second = log.Append(-5, "close", "", json::object());
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->sequence, 2);
  EXPECT_EQ(HexOf(second->leaf), "fac99f052ef981dee90c7ea61b4ca9c2362d7576c82eb7a621e32927e6b06789");
  EXPECT_EQ(HexOf(HeadOf(log).root), "b11ea33f2f354ff779466e00fe5304ab2b579786f09b09e7bfd420b049d7b351");
  EXPECT_EQ(HeadMessage(log.run(), HeadOf(log)),
            "fedalt audit head v1\n5:run-7\n2\nb11ea33f2f354ff779466e00fe5304ab2b579786f09b09e7bfd420b049d7b351\n");
}

TEST(AuditLog, EntriesAreThereAfterReopening) {
  const StoreFolder folder;
  std::vector<AuditEntry> written;
  TreeHead head;
  for (int64_t i = 1; i <= 9; ++i) {  // a new process for every entry
    const auto database = OpenStore(folder.store());
    AuditLog log = OpenLog(*database);
    written.push_back(MustAppend(log, i));
    head = HeadOf(log);
  }
  const auto database = OpenStore(folder.store());
  AuditLog log = OpenLog(*database);
  EXPECT_EQ(HeadOf(log), head);
  const auto read = EntriesOf(*database);
  ASSERT_EQ(read.size(), 9u);
  std::vector<Sha256Digest> leaves;
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].sequence, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(read[i].time_ms, written[i].time_ms);
    EXPECT_EQ(read[i].kind, written[i].kind);
    EXPECT_EQ(read[i].subject, written[i].subject);
    EXPECT_EQ(read[i].body, written[i].body);
    EXPECT_EQ(read[i].leaf, LeafOf(read[i]));
    EXPECT_EQ(read[i].previous, i == 0 ? Sha256Digest{} : read[i - 1].leaf);
    leaves.push_back(read[i].leaf);
  }
  EXPECT_EQ(head, (TreeHead{9, MerkleRoot(leaves)}));
  const auto uploads = EntriesOf(*database, "upload");
  ASSERT_EQ(uploads.size(), 4u);
  EXPECT_EQ(uploads[1].sequence, 4);
}

TEST(AuditLog, RefusesWhatCannotBeAnEntry) {
  const StoreFolder folder;
  const auto database = OpenStore(folder.store());
  AuditLog log = OpenLog(*database);
  const json ok = json::object();
  const auto kind_of = [&](std::string_view kind, std::string_view subject, const json& body) {
    return KindOf(log.Append(0, kind, subject, body).status());
  };
  EXPECT_EQ(kind_of("", "", ok), ErrorKind::kInternal);
  EXPECT_EQ(kind_of("Upload", "", ok), ErrorKind::kInternal);
  EXPECT_EQ(kind_of(std::string(65, 'a'), "", ok), ErrorKind::kInternal);
  EXPECT_EQ(kind_of("a", std::string(257, 'a'), ok), ErrorKind::kInternal);
  EXPECT_EQ(kind_of("a", "", json::array()), ErrorKind::kInternal);
  EXPECT_EQ(kind_of("a", "", {{"x", std::numeric_limits<double>::quiet_NaN()}}), ErrorKind::kInternal);
  EXPECT_EQ(kind_of("a", "", {{"x", "\xff"}}), ErrorKind::kInternal);
  EXPECT_EQ(kind_of("a", "", {{"x", json::binary({1, 2})}}), ErrorKind::kInternal);
  EXPECT_EQ(kind_of("a", "", {{"x", std::string(1 << 20, 'x')}}), ErrorKind::kInternal);
  EXPECT_EQ(HeadOf(log).size, 0u);
  EXPECT_TRUE(log.Append(0, "a", "", {{"x", 0.1}, {"y", UINT64_MAX}, {"z", -1e300}}).ok());
}

TEST(AuditLog, IsOneCommitWithTheFactThatItRecords) {
  const StoreFolder folder;
  const auto database = OpenStore(folder.store());
  ASSERT_TRUE(database->Execute("CREATE TABLE fact (id INTEGER PRIMARY KEY)").ok());
  AuditLog log = OpenLog(*database);
  MustAppend(log, 1);
  const TreeHead before = HeadOf(log);
  const auto record = [&](bool commit) {
    auto transaction = Transaction::Begin(*database);
    ASSERT_TRUE(transaction.ok());
    ASSERT_TRUE(database->Execute("INSERT INTO fact (id) VALUES (7)").ok());
    MustAppend(log, 2);
    MustAppend(log, commit ? 3 : 4);
    EXPECT_EQ(HeadOf(log).size, 3u);
    EXPECT_EQ(testing::RawSql(folder.store(), "SELECT count(*) FROM audit_entry"), "1") << "not before the commit";
    if (commit) {
      EXPECT_TRUE(transaction->Commit().ok());
    }
  };
  record(false);
  EXPECT_EQ(HeadOf(log), before);
  EXPECT_EQ(testing::RawSql(folder.store(), "SELECT count(*) FROM fact"), "0");
  record(true);
  EXPECT_EQ(testing::RawSql(folder.store(), "SELECT count(*) FROM fact"), "1");
  const auto entries = EntriesOf(*database);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(HeadOf(log), (TreeHead{3, MerkleRoot(std::vector{entries[0].leaf, entries[1].leaf, entries[2].leaf})}));
}

// The head was read within a transaction that was undone, and as many entries came after it.
TEST(AuditLog, HeadFollowsWhatWasUndoneAndWrittenAnew) {
  const StoreFolder folder;
  const auto database = OpenStore(folder.store());
  AuditLog log = OpenLog(*database);
  {
    auto transaction = Transaction::Begin(*database);
    MustAppend(log, 1);
    EXPECT_EQ(HeadOf(log).size, 1u);
  }
  const AuditEntry other = MustAppend(log, 2);
  EXPECT_EQ(HeadOf(log), (TreeHead{1, other.leaf}));
}

TEST(AuditLog, TwoConnectionsWriteOneChain) {
  const StoreFolder folder;
  const auto first = OpenStore(folder.store()), second = OpenStore(folder.store());
  AuditLog one = OpenLog(*first), other = OpenLog(*second);
  for (int64_t i = 1; i <= 8; ++i) EXPECT_EQ(MustAppend(i % 3 == 0 ? one : other, i).sequence, i);
  EXPECT_EQ(HeadOf(one), HeadOf(other));
  EXPECT_EQ(HeadOf(one).size, 8u);
}

TEST(AuditLog, ProcessesThatAppendAtTheSameTimeWriteOneChain) {
  const StoreFolder folder;
  OpenLog(*OpenStore(folder.store()));
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    auto database = Database::Open(folder.store(), StoreMigrations());
    if (!database.ok()) ::_exit(1);
    auto log = AuditLog::Open(**database, "run-7");
    for (int k = 0; log.ok() && k < 50; ++k)
      if (!log->Append(1, "upload", "site-a", {{"writer", i}}).ok()) ::_exit(2);
    ::_exit(log.ok() ? 0 : 3);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  const auto report = VerifyAuditLog(*OpenStore(folder.store()), "run-7", testing::CheckToySignature);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->entries, 200u);
  EXPECT_TRUE(report->findings.empty());
}

TEST(AuditLog, OurOwnCodeCannotChangeIt) {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  const auto database = OpenStore(folder.store());
  for (const char* sql : {"UPDATE audit_entry SET body = '{}' WHERE sequence = 3", "DELETE FROM audit_entry WHERE sequence = 3",
                          "UPDATE audit_head SET size = 1 WHERE size = 5", "DELETE FROM audit_head"}) {
    const Status status = database->Execute(sql);
    EXPECT_NE(std::string(status.message()).find("the audit log is append-only"), std::string::npos) << sql << status;
  }
}

TEST(AuditLog, IsThatOfOneRun) {
  const StoreFolder folder;
  const auto database = OpenStore(folder.store());
  EXPECT_EQ(KindOf(RunOfAuditLog(*database).status()), ErrorKind::kOutput) << "there is none yet";
  OpenLog(*database);
  EXPECT_EQ(*RunOfAuditLog(*database), "run-7");
  const auto other = AuditLog::Open(*database, "run-8");
  EXPECT_EQ(KindOf(other.status()), ErrorKind::kOutput);
  EXPECT_NE(std::string(other.status().message()).find("of run \"run-7\", not that of \"run-8\""), std::string::npos);
}

TEST(AuditLog, ASignerSignsOneHeadOfASize) {
  const StoreFolder folder;
  testing::WriteSignedLog(folder.store());
  const auto database = OpenStore(folder.store());
  AuditLog log = OpenLog(*database);
  const auto heads = ReadHeads(*database);
  ASSERT_TRUE(heads.ok());
  ASSERT_EQ(heads->size(), 5u);
  EXPECT_EQ((*heads)[3].signer, "site-a");
  EXPECT_EQ((*heads)[3].head.size, 10u);
  EXPECT_EQ((*heads)[3].signature, testing::ToySignature("site-a", HeadMessage("run-7", (*heads)[3].head)));
  EXPECT_TRUE(log.StoreHead((*heads)[3]).ok()) << "the same once more";
  SignedHead other = (*heads)[3];
  other.head.root[0] ^= 1;
  const Status status = log.StoreHead(other);
  EXPECT_EQ(KindOf(status), ErrorKind::kIntegrity);
  EXPECT_NE(std::string(status.message()).find("site-a has signed another head of 10 entries"), std::string::npos) << status;
  EXPECT_EQ(ReadHeads(*database)->size(), 5u);
}

TEST(AuditLog, ASealAnnouncesItsHead) {
  const StoreFolder folder;
  const auto database = OpenStore(folder.store());
  AuditLog log = OpenLog(*database);
  const auto sign = [](std::string_view message) { return testing::ToySignature("osaka", message); };
  MustAppend(log, 1);
  ASSERT_TRUE(log.Seal(7, "osaka", sign).ok());
  ASSERT_TRUE(log.Seal(8, "osaka", sign).ok()) << "nothing has come since";
  const auto heads = ReadHeads(*database);
  ASSERT_TRUE(heads.ok() && heads->size() == 1u);
  EXPECT_EQ(heads->front().head, HeadOf(log));
  EXPECT_EQ(heads->front().head.size, 2u) << "the announcement is covered";
  EXPECT_TRUE(testing::CheckToySignature("osaka", HeadMessage("run-7", heads->front().head), heads->front().signature));
  MustAppend(log, 3);
  ASSERT_TRUE(log.Seal(9, "osaka", sign).ok());
  EXPECT_EQ(ReadHeads(*database)->size(), 2u);
}

// A child appends until it is killed. What it had reported is there, the log is whole, and goes on.
TEST(AuditLog, EveryAcknowledgedEntrySurvivesAKill) {
  const StoreFolder folder;
  int64_t acknowledged = 0;
  for (const int64_t wanted : {1, 7, 40}) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto database = Database::Open(folder.store(), StoreMigrations());
      if (!database.ok()) ::_exit(1);
      auto log = AuditLog::Open(**database, "run-7");
      if (!log.ok()) ::_exit(2);
      while (true) {
        const auto entry = log->Append(1, "upload", "site-a", {{"pid", ::getpid()}});
        if (!entry.ok()) ::_exit(3);
        if (::write(ends[1], &entry->sequence, sizeof entry->sequence) != sizeof entry->sequence) ::_exit(4);
      }
    }
    ::close(ends[1]);
    int64_t sequence = 0;
    const int64_t before = acknowledged;
    while (acknowledged < before + wanted && ::read(ends[0], &sequence, sizeof sequence) == sizeof sequence)
      acknowledged = sequence;
    ::kill(child, SIGKILL);
    while (::read(ends[0], &sequence, sizeof sequence) == sizeof sequence) acknowledged = sequence;
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    const auto database = OpenStore(folder.store());
    const auto report = VerifyAuditLog(*database, "run-7", testing::CheckToySignature);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->findings.empty()) << report->findings.front().text;
    const auto entries = static_cast<int64_t>(report->entries);
    EXPECT_GE(entries, acknowledged);
    EXPECT_LE(entries, acknowledged + 1) << "at most one that was not yet acknowledged";
    EXPECT_GE(acknowledged, before + wanted);
    acknowledged = entries;
  }
}

}  // namespace
}  // namespace fedalt
