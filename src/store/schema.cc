#include "store/schema.h"

#include <vector>

#include "store/audit_log.h"

namespace fedalt {
namespace {

/// A server's facts. `pieces`: the SHA-256 of each, one after the other; `size`: values of the tensor. Times are those of the
/// entries in the log. `attempt.cohort` (names of the sites that were drawn, or "all") and `start.revoked` are JSON, as in the
/// log. `adoption`: what a site made of a publication, its countersignature or why not.
constexpr char kServerSchema[] =
    "CREATE TABLE agreement (text TEXT NOT NULL);"
    "CREATE TABLE site (place INTEGER PRIMARY KEY, name TEXT NOT NULL);"
    "CREATE TABLE enrolment (site INTEGER PRIMARY KEY, train_examples INTEGER NOT NULL, name TEXT NOT NULL);"
    "CREATE TABLE attempt (round INTEGER, attempt INTEGER, opened_ms INTEGER NOT NULL, abandoned TEXT, cohort TEXT NOT NULL,"
    " PRIMARY KEY (round, attempt));"
    "CREATE TABLE contribution (round INTEGER, attempt INTEGER, site INTEGER, weight REAL NOT NULL, size INTEGER NOT NULL,"
    " pieces BLOB NOT NULL, counted INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (round, attempt, site));"
    "CREATE TABLE published (round INTEGER PRIMARY KEY, total_weight REAL NOT NULL, size INTEGER NOT NULL, pieces BLOB NOT NULL);"
    "CREATE TABLE published_to (round INTEGER, site INTEGER, size INTEGER NOT NULL, pieces BLOB NOT NULL, PRIMARY KEY (round, "
    "site));"
    "CREATE TABLE contributor (round INTEGER, site INTEGER, of_round INTEGER NOT NULL, weight REAL, moved REAL,"
    " PRIMARY KEY (round, site));"
    "CREATE TABLE round_record (round INTEGER PRIMARY KEY, record BLOB NOT NULL, signature BLOB NOT NULL);"
    "CREATE TABLE adoption (round INTEGER, site INTEGER, signature BLOB NOT NULL, refused TEXT NOT NULL, PRIMARY KEY (round, "
    "site));"
    "CREATE TABLE departure (id INTEGER PRIMARY KEY, site INTEGER NOT NULL, time_ms INTEGER NOT NULL, cause TEXT NOT NULL);"
    "CREATE TABLE pause (id INTEGER PRIMARY KEY CHECK (id = 1), time_ms INTEGER NOT NULL, cause TEXT NOT NULL,"
    " for_sites INTEGER NOT NULL);"
    "CREATE TABLE left_out (round INTEGER, attempt INTEGER, site INTEGER, reason TEXT NOT NULL, PRIMARY KEY (round, attempt, "
    "site));"
    "CREATE TABLE start (number INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, instance TEXT NOT NULL, program TEXT NOT NULL,"
    " roster_sha256 TEXT NOT NULL, revoked TEXT NOT NULL);"
    "CREATE TABLE request (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, site TEXT NOT NULL, cause TEXT NOT NULL,"
    " time_ms INTEGER NOT NULL, outcome TEXT);"
    "CREATE TABLE metric (round INTEGER, site INTEGER, name TEXT, value REAL NOT NULL, PRIMARY KEY (round, site, name));"
    "CREATE TABLE ending (cause TEXT NOT NULL);";

/// The records of rounds that a site has seen, and what it sent last in each round.
constexpr char kSiteSchema[] =
    "CREATE TABLE server_record (round INTEGER PRIMARY KEY, record BLOB NOT NULL, signature BLOB NOT NULL);"
    "CREATE TABLE sent (round INTEGER PRIMARY KEY, weight REAL NOT NULL, content TEXT NOT NULL);";

/// Older versions are refused (CheckSchema): their rounds have no records, and no older program federates with this one.
std::vector<std::string> Migrations(const char* schema) {
  std::vector<std::string> migrations(kFirstSchemaVersion);
  migrations.back() = absl::StrCat(kAuditSchema, schema);
  return migrations;
}

}  // namespace

std::span<const std::string> StoreMigrations() {
  static const std::vector<std::string> migrations = Migrations(kServerSchema);
  return migrations;
}

std::span<const std::string> SiteMigrations() {
  static const std::vector<std::string> migrations = Migrations(kSiteSchema);
  return migrations;
}

StatusOr<int64_t> SchemaVersion(Database& database) {
  ASSIGN_OR_RETURN(Statement version, database.Prepare("PRAGMA user_version"));
  RETURN_IF_ERROR(version.Step().status());
  return version.Int(0);
}

Status CheckSchema(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error) || std::filesystem::file_size(file, error) == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto database, Database::OpenReadOnly(file, StoreMigrations()));
  return CheckSchema(*database);
}

Status CheckSchema(Database& database) {
  ASSIGN_OR_RETURN(const int64_t version, SchemaVersion(database));
  if (version >= kFirstSchemaVersion) return absl::OkStatus();
  return OutputError(absl::StrCat(database.path().string(), ": was written by an older fedalt (schema version ", version,
                                  ", this one reads ", kFirstSchemaVersion,
                                  " and later); end its run with that version, or begin a new run in a new directory"));
}

}  // namespace fedalt
