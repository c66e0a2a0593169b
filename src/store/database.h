// A connection to a SQLite database: statements, transactions, schema versions.
//
// A commit is on the disk before it is acknowledged (WAL, synchronous=FULL), and several processes may have the file open: writers
// take turns, waiting up to DatabaseOptions::busy_timeout_ms for each other. A Database, its statements and its transactions are
// used by one thread at a time, and the Database outlives them; another thread opens a connection of its own.
//
// Errors are of kind kOutput: the path, what was found, and what to do, in one sentence; SQLite's own words stand in parentheses. A
// full disk is named as such: then nothing of the transaction is stored, and it may be tried again when there is room.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace fedalt {

class Database;

/// One SQL statement with values to fill in (?1, ?2, ...), to be run any number of times.
class Statement {
 public:
  /// Value of place 1, 2, ...; bytes are copied. A place that is not there is a defect of ours. What is not bound is NULL.
  Statement& BindInt(int place, int64_t value);
  Statement& BindDouble(int place, double value);
  Statement& BindText(int place, std::string_view utf8);
  Statement& BindBlob(int place, std::string_view bytes);
  Statement& BindNull(int place);

  /// Goes on to the next row of the result: true if there is one. After false or an error the statement is ready to run again.
  StatusOr<bool> Step();
  /// All of it, for statements without a result that matters; then ready to run again with other values.
  Status Run();
  /// Ready to run again from the start; the values stay.
  void Reset();

  /// Columns 0, 1, ... of the present row. A value of another type is converted as SQLite does (text of a number is that number,
  /// NULL is 0 or empty). Views are valid until the next Step, Run or Reset, or another call for the same column.
  bool IsNull(int column) const;
  int64_t Int(int column) const;
  double Double(int column) const;
  std::string_view Text(int column) const;
  std::string_view Blob(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(Database& database, sqlite3_stmt* statement) : database_(&database), statement_(statement) {}
  Statement& Bound(int code);

  Database* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

struct DatabaseOptions {
  int busy_timeout_ms = 10'000;  ///< how long a writer waits for another one
};

class Database {
 public:
  /// Opens or creates the file and brings its schema up to date. `migrations[v]` is the SQL that leads from version v to v + 1
  /// (kept in PRAGMA user_version): entries are added at the end and never changed. All of them or none are applied. The file is
  /// read once as a whole to find damage. Refused: what is no database, another program's database, a damaged one, one that a newer
  /// program has written.
  static StatusOr<std::unique_ptr<Database>> Open(const std::filesystem::path& path, std::span<const std::string> migrations,
                                                  const DatabaseOptions& options = {});
  /// The same for reading only: nothing is created or migrated, so tables of later versions may be absent. Also works where nothing
  /// can be written, as long as no process has the database open there.
  static StatusOr<std::unique_ptr<Database>> OpenReadOnly(const std::filesystem::path& path,
                                                          std::span<const std::string> migrations,
                                                          const DatabaseOptions& options = {});
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  StatusOr<Statement> Prepare(std::string_view sql);
  /// One or more statements without values or results.
  Status Execute(const std::string& sql);
  bool InTransaction() const;
  /// Rows that the last INSERT, UPDATE or DELETE changed.
  int64_t Changes() const;
  const std::filesystem::path& path() const { return path_; }

 private:
  friend class Statement;
  struct Close {
    void operator()(sqlite3* connection) const;
  };
  explicit Database(std::filesystem::path path) : path_(std::move(path)) {}
  /// The error for a result code of SQLite, at once after it; `action` as in "cannot be read".
  Status ErrorOf(int code, std::string_view action) const;
  Status Connect(const std::string& name, int flags, const DatabaseOptions& options);
  Status CheckFile(int64_t newest_version);
  Status Migrate(std::span<const std::string> migrations);
  StatusOr<int64_t> Number(const std::string& sql);
  StatusOr<std::string> Word(const std::string& sql);

  std::filesystem::path path_;
  std::unique_ptr<sqlite3, Close> connection_;
};

/// Calls `use` with each row of the result. Errors: those of `use`, kOutput.
Status ForEachRow(Statement& rows, const std::function<Status(const Statement&)>& use);

/// All or nothing: what was done since Begin is undone unless Commit returned OK. One at a time on a Database. After an error of a
/// statement, give the transaction up: SQLite may have undone it already, and what came after would count by itself.
class Transaction {
 public:
  /// For writing; takes the place of the one writer at once (BEGIN IMMEDIATE), so that what it reads stays true until Commit.
  static StatusOr<Transaction> Begin(Database& database);
  /// For reading: one state of the database, whatever others write meanwhile.
  static StatusOr<Transaction> BeginRead(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction() { Undo(); }

  /// On OK everything is on the disk. After an error nothing of it is stored.
  Status Commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  void Undo();

  Database* database_;
};

}  // namespace fedalt
