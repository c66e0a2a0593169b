#include "store/database.h"

#include <absl/strings/str_replace.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/file.h"

namespace fedalt {
namespace {

constexpr int64_t kApplicationId = 0x46644c74;  // "FdLt", in the file's header: another program's database is never migrated

/// SQLite knows a full disk only from write(), and does not keep the system's error of a commit: `system_error` is errno.
bool IsDiskFull(int code, int system_error) {
  if ((code & 0xff) == SQLITE_FULL) return true;
  return (code & 0xff) == SQLITE_IOERR && (system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG);
}

/// What to do, for the end of the sentence.
std::string_view AdviceFor(int code) {
  switch (code & 0xff) {
    case SQLITE_NOTADB:
      return "name another file, or restore it from a backup";
    case SQLITE_CORRUPT:
      return "keep a copy of the file, and restore it from a backup";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "another process is writing to it: wait for that one or end it";
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
      return "check that file and directory exist and who may write there";
    case SQLITE_IOERR:
      return "check the disk";
    default:
      return "restore it from a backup if this happens again";
  }
}

/// As part of an SQLite URI.
std::string UriPath(const std::filesystem::path& path) {
  return absl::StrReplaceAll(std::filesystem::absolute(path).string(), {{"%", "%25"}, {"?", "%3f"}, {"#", "%23"}});
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Statement& Statement::Bound(int code) {
  FEDALT_CHECK(code == SQLITE_OK, "a value does not fit its statement");
  return *this;
}

Statement& Statement::BindInt(int place, int64_t value) {
  return Bound(sqlite3_bind_int64(statement_.get(), place, value));
}
Statement& Statement::BindDouble(int place, double value) {
  return Bound(sqlite3_bind_double(statement_.get(), place, value));
}
Statement& Statement::BindText(int place, std::string_view utf8) {
  // An empty view may point nowhere, which SQLite would take for NULL.
  return Bound(
      sqlite3_bind_text64(statement_.get(), place, utf8.empty() ? "" : utf8.data(), utf8.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}
Statement& Statement::BindBlob(int place, std::string_view bytes) {
  return Bound(sqlite3_bind_blob64(statement_.get(), place, bytes.empty() ? "" : bytes.data(), bytes.size(), SQLITE_TRANSIENT));
}
Statement& Statement::BindNull(int place) {
  return Bound(sqlite3_bind_null(statement_.get(), place));
}

StatusOr<bool> Statement::Step() {
  errno = 0;
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  const bool reads = sqlite3_stmt_readonly(statement_.get()) != 0;
  const Status status =
      code == SQLITE_DONE ? absl::OkStatus() : database_->ErrorOf(code, reads ? "cannot be read" : "cannot be written");
  Reset();
  if (!status.ok()) return status;
  return false;
}

Status Statement::Run() {
  while (true) {
    ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) return absl::OkStatus();
  }
}

void Statement::Reset() {
  sqlite3_reset(statement_.get());  // repeats the error of Step, which was reported there
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}
int64_t Statement::Int(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
double Statement::Double(int column) const {
  return sqlite3_column_double(statement_.get(), column);
}
std::string_view Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  return text == nullptr ? std::string_view() : std::string_view(text, sqlite3_column_bytes(statement_.get(), column));
}
std::string_view Statement::Blob(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  return bytes == nullptr ? std::string_view() : std::string_view(bytes, sqlite3_column_bytes(statement_.get(), column));
}

void Database::Close::operator()(sqlite3* connection) const {
  sqlite3_close_v2(connection);
}

Status Database::ErrorOf(int code, std::string_view action) const {
  const int system_error = errno;
  const std::string words = absl::StrReplaceAll(std::string(connection_ ? sqlite3_errmsg(connection_.get()) : sqlite3_errstr(code)),
                                                {{"\n", " "}, {"\r", " "}});
  if (IsDiskFull(code, system_error)) {
    return OutputError(absl::StrCat(path_.string(), ": the disk is full (SQLite: ", words,
                                    "); nothing of this step was stored; make room and try again"));
  }
  std::string_view found = action;
  if ((code & 0xff) == SQLITE_NOTADB) found = "is not a database";
  if ((code & 0xff) == SQLITE_CORRUPT) found = "is damaged";
  return OutputError(
      absl::StrCat(path_.string(), ": ", std::string(found), " (SQLite: ", words, "); ", std::string(AdviceFor(code))));
}

Status Database::Connect(const std::string& name, int flags, const DatabaseOptions& options) {
  sqlite3* connection = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &connection, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  connection_.reset(connection);
  if (code != SQLITE_OK) return ErrorOf(code, "cannot be opened");
  sqlite3_busy_timeout(connection, options.busy_timeout_ms);
  // What somebody wrote into the file's schema runs no functions with effects.
  return Execute("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON;");
}

StatusOr<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& path, std::span<const std::string> migrations,
                                                   const DatabaseOptions& options) {
  std::unique_ptr<Database> database(new Database(path));
  RETURN_IF_ERROR(database->Connect(path.string(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, options));
  RETURN_IF_ERROR(database->CheckFile(static_cast<int64_t>(migrations.size())));
  ASSIGN_OR_RETURN(const std::string mode, database->Word("PRAGMA journal_mode = WAL"));
  if (mode != "wal") {
    return OutputError(absl::StrCat(path.string(), ": its journal mode stays \"", mode,
                                    "\" where \"wal\" is needed; put the directory on a local disk"));
  }
  RETURN_IF_ERROR(database->Execute("PRAGMA synchronous = FULL"));
  RETURN_IF_ERROR(database->Migrate(migrations));
  return database;
}

StatusOr<std::unique_ptr<Database>> Database::OpenReadOnly(const std::filesystem::path& path,
                                                           std::span<const std::string> migrations,
                                                           const DatabaseOptions& options) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    return OutputError(absl::StrCat(path.string(), ": there is no such file; expected a database of fedalt"));
  const std::filesystem::path directory = path.has_parent_path() ? path.parent_path() : ".";
  const std::filesystem::path journal = path.string() + "-wal";
  const auto journal_size = std::filesystem::file_size(journal, error);
  // SQLite wants to write beside the file even for reading it. Where it cannot and no writes wait in the journal, the file will not
  // change, and can be read without.
  const bool fixed = ::access(directory.c_str(), W_OK) != 0 && (error || journal_size == 0);
  std::unique_ptr<Database> database(new Database(path));
  RETURN_IF_ERROR(database->Connect(absl::StrCat("file:", UriPath(path), fixed ? "?immutable=1" : ""),
                                    SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, options));
  RETURN_IF_ERROR(database->CheckFile(static_cast<int64_t>(migrations.size())));
  ASSIGN_OR_RETURN(const int64_t version, database->Number("PRAGMA user_version"));
  if (version == 0)
    return OutputError(absl::StrCat(path.string(), ": is an empty database; expected one that fedalt has written; name another"));
  return database;
}

Status Database::CheckFile(int64_t newest_version) {
  ASSIGN_OR_RETURN(const int64_t owner, Number("PRAGMA application_id"));
  ASSIGN_OR_RETURN(const int64_t version, Number("PRAGMA user_version"));
  ASSIGN_OR_RETURN(const int64_t tables, Number("SELECT count(*) FROM sqlite_schema"));
  if (owner != kApplicationId && (owner != 0 || version != 0 || tables != 0)) {
    return OutputError(absl::StrCat(path_.string(), ": is another program's database (application id ", owner,
                                    "); name another file, or remove this one if it is not needed"));
  }
  if (version > newest_version) {
    return OutputError(absl::StrCat(path_.string(), ": a newer program has written it (schema version ", version,
                                    ", this one knows ", newest_version, "); install that version of fedalt"));
  }
  ASSIGN_OR_RETURN(const std::string check, Word("PRAGMA quick_check(1)"));
  if (check == "ok") return absl::OkStatus();
  return OutputError(absl::StrCat(path_.string(), ": is damaged (SQLite: ", absl::StrReplaceAll(check, {{"\n", " "}}), "); ",
                                  std::string(AdviceFor(SQLITE_CORRUPT))));
}

Status Database::Migrate(std::span<const std::string> migrations) {
  const auto newest = static_cast<int64_t>(migrations.size());
  ASSIGN_OR_RETURN(int64_t version, Number("PRAGMA user_version"));
  if (version == newest) return absl::OkStatus();
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*this));
  ASSIGN_OR_RETURN(version, Number("PRAGMA user_version"));  // another process may have been first
  for (; version < newest; ++version) {
    const Status status = Execute(migrations[static_cast<size_t>(version)]);
    if (!status.ok()) return Annotate(status, absl::StrCat("change of the schema to version ", version + 1));
  }
  RETURN_IF_ERROR(Execute(absl::StrCat("PRAGMA application_id = ", kApplicationId, "; PRAGMA user_version = ", version)));
  RETURN_IF_ERROR(transaction.Commit());
  return SyncDirectory(path_.has_parent_path() ? path_.parent_path() : ".");
}

StatusOr<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(connection_.get(), sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) return ErrorOf(code, "does not hold what was expected");
  return Statement(*this, statement);
}

Status Database::Execute(const std::string& sql) {
  errno = 0;
  const int code = sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : ErrorOf(code, "cannot be used");
}

bool Database::InTransaction() const {
  return sqlite3_get_autocommit(connection_.get()) == 0;
}

int64_t Database::Changes() const {
  return sqlite3_changes64(connection_.get());
}

StatusOr<int64_t> Database::Number(const std::string& sql) {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(const bool row, statement.Step());
  return row ? statement.Int(0) : int64_t{0};
}

StatusOr<std::string> Database::Word(const std::string& sql) {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(const bool row, statement.Step());
  return row ? std::string(statement.Text(0)) : std::string();
}

Status ForEachRow(Statement& rows, const std::function<Status(const Statement&)>& use) {
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return absl::OkStatus();
    RETURN_IF_ERROR(use(rows));
  }
}

StatusOr<Transaction> Transaction::Begin(Database& database) {
  FEDALT_CHECK(!database.InTransaction(), "a transaction within another");
  RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

StatusOr<Transaction> Transaction::BeginRead(Database& database) {
  FEDALT_CHECK(!database.InTransaction(), "a transaction within another");
  RETURN_IF_ERROR(database.Execute("BEGIN"));
  return Transaction(database);
}

Status Transaction::Commit() {
  // After some errors (a full disk) SQLite has undone everything by itself; then there is nothing that COMMIT could keep.
  if (!database_->InTransaction()) {
    return OutputError(absl::StrCat(database_->path().string(),
                                    ": an earlier error has undone this transaction; nothing of it was stored; try again"));
  }
  Status status = database_->Execute("COMMIT");
  Undo();
  return status;
}

void Transaction::Undo() {
  if (database_ == nullptr || !database_->InTransaction()) return;
  // Its failure would leave a transaction open in which later work would be lost.
  FEDALT_CHECK(database_->Execute("ROLLBACK").ok() || !database_->InTransaction(), "a transaction cannot be undone");
}

}  // namespace fedalt
