#include "store/database.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <vector>

#include "store/raw_database.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::RawSql;
using testing::StoreFolder;

const std::vector<std::string> kTables = {"CREATE TABLE fact (id INTEGER PRIMARY KEY, word TEXT, bytes BLOB, share REAL) STRICT"};

std::unique_ptr<Database> MustOpen(const fs::path& path, const std::vector<std::string>& migrations = kTables) {
  auto database = Database::Open(path, migrations);
  EXPECT_TRUE(database.ok()) << database.status();
  return database.ok() ? std::move(*database) : nullptr;
}

int64_t Count(Database& database, const std::string& table = "fact") {
  auto select = database.Prepare("SELECT count(*) FROM " + table);
  EXPECT_TRUE(select.ok()) << select.status();
  const auto row = select->Step();
  EXPECT_TRUE(row.ok() && *row);
  return select->Int(0);
}

// The sentence that refuses, after its rules were checked: kind, the path first, one line.
std::string Refusal(const Status& status, const fs::path& path) {
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(KindOf(status), ErrorKind::kOutput);
  const std::string message(status.message());
  EXPECT_EQ(message.find(path.string() + ": "), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_NE(message.find("; "), std::string::npos) << "says nothing to do: " << message;
  return message;
}
std::string OpenRefusal(const fs::path& path) {
  const std::string message = Refusal(Database::Open(path, kTables).status(), path);
  EXPECT_EQ(Refusal(Database::OpenReadOnly(path, kTables).status(), path), message);
  return message;
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Database, ValuesComeBackAsTheyWere) {
  const StoreFolder folder;
  const auto database = MustOpen(folder.store());
  const std::string bytes("\0\xff\0", 3), word("a\0ü", 4);
  auto insert = database->Prepare("INSERT INTO fact VALUES (?1, ?2, ?3, ?4)");
  ASSERT_TRUE(insert.ok());
  ASSERT_TRUE(insert->BindInt(1, INT64_MIN).BindText(2, word).BindBlob(3, bytes).BindDouble(4, 0.1).Run().ok());
  ASSERT_TRUE(insert->BindInt(1, 7).BindText(2, {}).BindBlob(3, {}).BindNull(4).Run().ok());
  EXPECT_EQ(database->Changes(), 1);
  auto select = database->Prepare("SELECT id, word, bytes, share FROM fact ORDER BY id");
  ASSERT_TRUE(select.ok());
  ASSERT_TRUE(*select->Step());
  EXPECT_EQ(select->Int(0), INT64_MIN);
  EXPECT_EQ(select->Text(1), word);
  EXPECT_EQ(select->Blob(2), bytes);
  EXPECT_EQ(select->Double(3), 0.1);
  ASSERT_TRUE(*select->Step());
  EXPECT_EQ(select->Int(0), 7);
  EXPECT_FALSE(select->IsNull(1));
  EXPECT_FALSE(select->IsNull(2));
  EXPECT_EQ(select->Text(1), "");
  EXPECT_EQ(select->Blob(2), "");
  EXPECT_TRUE(select->IsNull(3));
  EXPECT_FALSE(*select->Step());
  EXPECT_TRUE(*select->Step()) << "ready to run again";
}

TEST(Database, IsDurableAndStrict) {
  const StoreFolder folder;
  const auto database = MustOpen(folder.store());
  for (const auto& [pragma, value] : {std::pair{"journal_mode", "wal"}, {"synchronous", "2"}, {"foreign_keys", "1"}}) {
    auto statement = database->Prepare(std::string("PRAGMA ") + pragma);
    ASSERT_TRUE(*statement->Step());
    EXPECT_EQ(statement->Text(0), value) << pragma;
  }
}

TEST(Database, MigratesStepByStepAndKeepsWhatIsThere) {
  const StoreFolder folder;
  {
    const auto database = MustOpen(folder.store());
    ASSERT_TRUE(database->Execute("INSERT INTO fact (id) VALUES (1), (2)").ok());
  }
  std::vector<std::string> migrations = kTables;
  migrations.push_back("ALTER TABLE fact ADD COLUMN more INTEGER; UPDATE fact SET more = id * 10");
  migrations.push_back("CREATE TABLE other (sum INTEGER); INSERT INTO other SELECT sum(more) FROM fact");
  MustOpen(folder.store(), migrations);
  EXPECT_EQ(RawSql(folder.store(), "SELECT sum FROM other"), "30");
  EXPECT_EQ(RawSql(folder.store(), "PRAGMA user_version"), "3");
  MustOpen(folder.store(), migrations);  // nothing is applied twice
  EXPECT_EQ(RawSql(folder.store(), "SELECT count(*) FROM other"), "1");
}

TEST(Database, AFailedMigrationChangesNothing) {
  const StoreFolder folder;
  MustOpen(folder.store());
  std::vector<std::string> migrations = kTables;
  migrations.push_back("CREATE TABLE other (id INTEGER)");
  migrations.push_back("INSERT INTO nowhere VALUES (1)");
  const auto failed = Database::Open(folder.store(), migrations);
  ASSERT_FALSE(failed.ok());
  EXPECT_TRUE(Has(std::string(failed.status().message()), "change of the schema to version 3")) << failed.status();
  EXPECT_EQ(RawSql(folder.store(), "PRAGMA user_version"), "1");
  EXPECT_EQ(RawSql(folder.store(), "SELECT count(*) FROM sqlite_schema WHERE name = 'other'"), "0");
}

TEST(Database, RefusesWhatANewerProgramWrote) {
  const StoreFolder folder;
  MustOpen(folder.store(), {kTables[0], "CREATE TABLE other (id INTEGER)"});
  const std::string before = folder.Read();
  EXPECT_TRUE(Has(OpenRefusal(folder.store()), "a newer program has written it (schema version 2, this one knows 1)"));
  EXPECT_EQ(folder.Read(), before);
}

TEST(Database, RefusesAnotherProgramsDatabase) {
  const StoreFolder folder;
  RawSql(folder.store(), "CREATE TABLE theirs (id INTEGER)");
  const std::string before = folder.Read();
  EXPECT_TRUE(Has(OpenRefusal(folder.store()), "is another program's database"));
  EXPECT_EQ(folder.Read(), before);
}

TEST(Database, RefusesWhatIsNoDatabase) {
  const StoreFolder folder;
  folder.Write(std::string(5000, 'x'));
  EXPECT_TRUE(Has(OpenRefusal(folder.store()), "is not a database"));
  EXPECT_EQ(folder.Read(), std::string(5000, 'x'));
}

TEST(Database, RefusesADamagedFile) {
  const StoreFolder folder;
  {
    const auto database = MustOpen(folder.store());
    ASSERT_TRUE(database
                    ->Execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
                              "INSERT INTO fact (id, word) SELECT i, 'a word of some length, so that there are many pages' FROM n")
                    .ok());
  }
  const std::string whole = folder.Read();
  ASSERT_GT(whole.size(), 20u * 4096);
  folder.Write(whole.substr(0, whole.size() / 2 / 4096 * 4096));
  EXPECT_TRUE(Has(OpenRefusal(folder.store()), "is damaged")) << "cut off";
  std::string overwritten = whole;
  overwritten.replace(10 * 4096, 4096, 4096, '\x5a');
  folder.Write(overwritten);
  EXPECT_TRUE(Has(OpenRefusal(folder.store()), "is damaged")) << "a page was overwritten";
  folder.Write(whole);
  EXPECT_EQ(Count(*MustOpen(folder.store())), 2000);
}

TEST(Database, RefusesWhatCannotBeOpened) {
  const StoreFolder folder;
  const fs::path absent = folder.path() / "absent/store.db";
  EXPECT_TRUE(Has(Refusal(Database::Open(absent, kTables).status(), absent), "cannot be opened"));
  EXPECT_TRUE(Has(Refusal(Database::OpenReadOnly(absent, kTables).status(), absent), "there is no such file"));
  folder.Write("");
  EXPECT_TRUE(Has(Refusal(Database::OpenReadOnly(folder.store(), kTables).status(), folder.store()), "is an empty database"));
  EXPECT_EQ(Count(*MustOpen(folder.store())), 0) << "an empty file becomes a database where writing is meant";
}

TEST(Transaction, IsUndoneUnlessCommitted) {
  const StoreFolder folder;
  const auto database = MustOpen(folder.store());
  const auto two_facts = [&](const std::string& second) -> Status {
    ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database));
    EXPECT_TRUE(database->InTransaction());
    RETURN_IF_ERROR(database->Execute("INSERT INTO fact (id) VALUES (1)"));
    RETURN_IF_ERROR(database->Execute(second));
    return transaction.Commit();
  };
  EXPECT_FALSE(two_facts("INSERT INTO fact (id) VALUES (1)").ok()) << "the id is taken";
  EXPECT_FALSE(database->InTransaction());
  EXPECT_EQ(Count(*database), 0);
  EXPECT_TRUE(two_facts("INSERT INTO fact (id) VALUES (2)").ok());
  EXPECT_FALSE(database->InTransaction());
  EXPECT_EQ(RawSql(folder.store(), "SELECT count(*) FROM fact"), "2");
}

TEST(Transaction, TwoWritersTakeTurnsAndAReaderSeesOneState) {
  const StoreFolder folder;
  const auto first = MustOpen(folder.store());
  auto second = Database::Open(folder.store(), kTables, {.busy_timeout_ms = 0});
  ASSERT_TRUE(second.ok()) << second.status();
  auto reading = Transaction::BeginRead(**second);
  ASSERT_TRUE(reading.ok());
  EXPECT_EQ(Count(**second), 0);
  {
    auto writing = Transaction::Begin(*first);
    ASSERT_TRUE(first->Execute("INSERT INTO fact (id) VALUES (1)").ok());
    ASSERT_TRUE(writing->Commit().ok());
  }
  EXPECT_EQ(Count(**second), 0) << "still the state of its beginning";
  ASSERT_TRUE(reading->Commit().ok());
  EXPECT_EQ(Count(**second), 1);
  auto writing = Transaction::Begin(*first);
  ASSERT_TRUE(writing.ok());
  EXPECT_TRUE(Has(Refusal(Transaction::Begin(**second).status(), folder.store()), "another process is writing to it"));
}

TEST(Database, AFullDatabaseSaysSoStoresNothingAndRecovers) {
  const StoreFolder folder;
  const auto database = MustOpen(folder.store());
  ASSERT_TRUE(database->Execute("PRAGMA max_page_count = 20").ok());
  auto insert = database->Prepare("INSERT INTO fact (id, bytes) VALUES (?1, ?2)");
  const std::string large(30'000, 'x');
  const auto two_facts = [&]() -> Status {
    ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database));
    for (int64_t id : {1, 2, 3}) RETURN_IF_ERROR(insert->BindInt(1, id).BindBlob(2, large).Run());
    return transaction.Commit();
  };
  EXPECT_TRUE(Has(Refusal(two_facts(), folder.store()), "the disk is full"));
  EXPECT_FALSE(database->InTransaction());
  EXPECT_EQ(Count(*database), 0);
  ASSERT_TRUE(database->Execute("PRAGMA max_page_count = 1000").ok());
  const Status again = two_facts();
  EXPECT_TRUE(again.ok()) << again;
  EXPECT_EQ(Count(*database), 3);
}

// No file of the child can grow beyond 300 kB. Every acknowledged fact is there afterwards, and no other.
TEST(Database, AFullDiskLosesNothingThatWasAcknowledged) {
  const StoreFolder folder;
  MustOpen(folder.store());
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {300'000, 300'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto database = Database::Open(folder.store(), kTables);
    if (!database.ok()) ::_exit(1);
    auto insert = (*database)->Prepare("INSERT INTO fact (bytes) VALUES (zeroblob(10000))");
    for (int id = 1; id < 1000; ++id) {
      const Status status = insert->Run();
      if (!status.ok()) ::_exit(Has(std::string(status.message()), ": the disk is full (") ? 0 : 2);
      if (::write(pipe_ends[1], "x", 1) != 1) ::_exit(3);
    }
    ::_exit(4);
  }
  ::close(pipe_ends[1]);
  int64_t acknowledged = 0;
  for (char c; ::read(pipe_ends[0], &c, 1) == 1;) ++acknowledged;
  ::close(pipe_ends[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_GT(acknowledged, 5);
  EXPECT_EQ(Count(*MustOpen(folder.store())), acknowledged);
}

// As an auditor may have it: nothing can be written beside the file. Root may write everywhere, so a child gives its rights up.
TEST(Database, CanBeReadWhereNothingCanBeWritten) {
  const StoreFolder folder;
  {
    const auto database = MustOpen(folder.store());
    ASSERT_TRUE(database->Execute("INSERT INTO fact (id) VALUES (1), (2)").ok());
  }
  ASSERT_FALSE(fs::exists(folder.path() / "store.db-wal"));
  fs::permissions(folder.store(), fs::perms(0444));
  fs::permissions(folder.path(), fs::perms(0555));
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(1);
    auto database = Database::OpenReadOnly(folder.store(), kTables);
    if (!database.ok()) ::_exit(2);
    const bool counted = Count(**database) == 2, written = (*database)->Execute("DELETE FROM fact").ok();
    ::_exit(counted && !written ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  fs::permissions(folder.path(), fs::perms(0755));
  EXPECT_EQ(status, 0);
}

TEST(Database, ReadOnlyChangesNothing) {
  const StoreFolder folder;
  const auto writer = MustOpen(folder.store());
  ASSERT_TRUE(writer->Execute("INSERT INTO fact (id) VALUES (1)").ok());
  auto reader = Database::OpenReadOnly(folder.store(), kTables);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(Count(**reader), 1) << "also what still waits in the journal";
  EXPECT_FALSE((*reader)->Execute("DELETE FROM fact").ok());
  EXPECT_EQ(Count(*writer), 1);
}

}  // namespace
}  // namespace fedalt
