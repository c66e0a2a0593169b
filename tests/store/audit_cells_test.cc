// Whatever is recorded of a finished run is changed, cell by cell, and taken away, row by row: the verification finds each.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <random>
#include <set>

#include "store/audit_evidence.h"
#include "store/server_folder.h"
#include "store/site_folder.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::RawSql;
using testing::StoreFolder;

/// All rows of all columns of a query, as SQL literals.
std::vector<std::vector<std::string>> Rows(const fs::path& path, const std::string& sql) {
  sqlite3* connection = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &connection), SQLITE_OK);
  std::vector<std::vector<std::string>> rows;
  const auto keep = [](void* out, int count, char** values, char**) {
    auto& row = static_cast<std::vector<std::vector<std::string>>*>(out)->emplace_back();
    for (int i = 0; i < count; ++i) row.emplace_back(values[i] == nullptr ? "NULL" : values[i]);
    return 0;
  };
  EXPECT_EQ(sqlite3_exec(connection, sql.c_str(), keep, &rows, nullptr), SQLITE_OK) << sql;
  sqlite3_close(connection);
  return rows;
}

/// Whether the statement could be done: constraints refuse some.
bool TrySql(const fs::path& path, const std::string& sql) {
  sqlite3* connection = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &connection), SQLITE_OK);
  const bool done = sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
  const bool changed = sqlite3_changes(connection) == 1;
  sqlite3_close(connection);
  return done && changed;
}

size_t FindingsIn(const fs::path& path, std::span<const std::string> migrations) {
  const auto database = Database::OpenReadOnly(path, migrations);
  EXPECT_TRUE(database.ok()) << database.status();
  auto evidence = EvidenceIn(**database, "run-7", testing::CheckToySignature);
  if (!evidence.ok()) return 1;  // it cannot even be read
  const auto report = VerifyAuditLog(**database, "run-7", testing::CheckToySignature, *std::move(evidence));
  return report.ok() ? report->findings.size() : 1;
}

/// Other values of the cell, of its kind, as SQL.
std::vector<std::string> Others(const std::string& column, const std::string& type, std::mt19937& random) {
  const std::string number = std::to_string(1 + random() % 9);
  if (type == "integer") return {column + " + " + number, column + " - " + number, column + " + 1000"};
  if (type == "real") return {column + " + 0." + number, "-1 - " + column};
  if (type == "text") return {column + " || '" + number + "'", "'" + number + "'"};
  if (type == "blob") return {"zeroblob(length(" + column + ") + 1)", "x'0" + number + "'"};
  return {"'" + number + "'", number};
}

struct Tried {
  std::set<std::string> unnoticed;  ///< "table.column", or "table" for a row that is gone
  int cells = 0, rows = 0;
};

/// Changes every cell and removes every row of a copy of the database, one at a time.
Tried TryAll(const StoreFolder& folder, std::span<const std::string> migrations) {
  Tried tried;
  std::mt19937 random(7);
  const fs::path copy = folder.path() / "copy.db", without_triggers = folder.path() / "plain.db";
  fs::copy_file(folder.store(), without_triggers);
  RawSql(without_triggers, std::string(testing::kDropTriggers) + "PRAGMA journal_mode = DELETE");
  const auto changed = [&](const std::string& sql) {
    fs::copy_file(without_triggers, copy, fs::copy_options::overwrite_existing);
    return TrySql(copy, "PRAGMA synchronous = OFF; " + sql);
  };
  for (const auto& table : Rows(folder.store(), "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")) {
    const std::string& name = table[0];
    const auto columns = Rows(folder.store(), "SELECT name FROM pragma_table_info('" + name + "')");
    std::string keys;
    for (const auto& column : columns)
      keys += (keys.empty() ? "" : " || ' AND ' || ") + ("'" + column[0] + " IS ' || quote(" + column[0] + ")");
    for (const auto& row : Rows(folder.store(), "SELECT " + keys + " FROM " + name)) {
      const std::string where = " WHERE " + row[0];
      if (changed("DELETE FROM " + name + where)) {
        ++tried.rows;
        if (FindingsIn(copy, migrations) == 0) tried.unnoticed.insert(name);
      }
      for (const auto& column : columns) {
        const std::string type = RawSql(folder.store(), "SELECT typeof(" + column[0] + ") FROM " + name + where);
        for (const std::string& other : Others(column[0], type, random)) {
          if (!changed("UPDATE " + name + " SET " + column[0] + " = " + other + where)) continue;
          ++tried.cells;
          if (FindingsIn(copy, migrations) == 0) tried.unnoticed.insert(name + "." + column[0]);
        }
      }
    }
  }
  return tried;
}

TEST(AuditCells, AServersEveryCellIsCovered) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  {
    const auto store = testing::OpenServer(folder.path());
    ASSERT_TRUE(store->SaveLeftOut(3, 1, 0, "its numbers").ok());
    ASSERT_TRUE(store->AbandonAttempt(3, 1, "only one came").ok());
    ASSERT_TRUE(store->OpenAttempt(3, 2, testing::kBegin + 50'000, {0, 1}).ok());
    ASSERT_TRUE(store->SaveStart({"third", "fedalt 1", "digest three", {0, 2}}).ok());
    ASSERT_TRUE(store->SavePause("again", /*for_sites=*/false).ok());
    ASSERT_TRUE(store->SaveEnd("good enough").ok());
  }
  RawSql(folder.store(), "PRAGMA wal_checkpoint(TRUNCATE)");
  ASSERT_EQ(FindingsIn(folder.store(), StoreMigrations()), 0u);
  const Tried tried = TryAll(folder, StoreMigrations());
  EXPECT_GT(tried.cells, 500);
  EXPECT_GT(tried.rows, 50);
  EXPECT_EQ(tried.unnoticed, std::set<std::string>());
}

TEST(AuditCells, ASitesEveryCellIsCovered) {
  const StoreFolder folder;
  testing::RecordRounds(folder);
  RawSql(folder.store(), "PRAGMA wal_checkpoint(TRUNCATE)");
  ASSERT_EQ(FindingsIn(folder.store(), SiteMigrations()), 0u);
  const Tried tried = TryAll(folder, SiteMigrations());
  EXPECT_GT(tried.cells, 100);
  EXPECT_GT(tried.rows, 10);
  EXPECT_EQ(tried.unnoticed, std::set<std::string>());
}

}  // namespace
}  // namespace fedalt
