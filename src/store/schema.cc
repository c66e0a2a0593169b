#include "store/schema.h"

#include <vector>

#include "store/audit_log.h"

namespace fedalt {
namespace {

/// A server's facts. `pieces`: the SHA-256 of each, one after the other; `size`: values of the tensor.
constexpr char kServerSchema[] =
    "CREATE TABLE agreement (text TEXT NOT NULL);"
    "CREATE TABLE enrolment (site INTEGER PRIMARY KEY, train_examples INTEGER NOT NULL);"
    "CREATE TABLE attempt (round INTEGER, attempt INTEGER, opened_ms INTEGER NOT NULL, abandoned TEXT, PRIMARY KEY (round, "
    "attempt));"
    "CREATE TABLE contribution (round INTEGER, attempt INTEGER, site INTEGER, weight REAL NOT NULL, size INTEGER NOT NULL,"
    " pieces BLOB NOT NULL, counted INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (round, attempt, site));"
    "CREATE TABLE published (round INTEGER PRIMARY KEY, total_weight REAL NOT NULL, size INTEGER NOT NULL, pieces BLOB NOT NULL);"
    "CREATE TABLE published_to (round INTEGER, site INTEGER, size INTEGER NOT NULL, pieces BLOB NOT NULL, PRIMARY KEY (round, "
    "site));"
    "CREATE TABLE contributor (round INTEGER, site INTEGER, of_round INTEGER NOT NULL, PRIMARY KEY (round, site));"
    "CREATE TABLE ending (cause TEXT NOT NULL);";

/// Versions of what was published, who left, what operators want, who worked on the run, and what sites tell.
constexpr char kVersionsSchema[] =
    "ALTER TABLE contributor ADD COLUMN weight REAL;"
    "ALTER TABLE contributor ADD COLUMN moved REAL;"
    "ALTER TABLE enrolment ADD COLUMN name TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE site (place INTEGER PRIMARY KEY, name TEXT NOT NULL);"
    "CREATE TABLE departure (id INTEGER PRIMARY KEY, site INTEGER NOT NULL, time_ms INTEGER NOT NULL, cause TEXT NOT NULL);"
    "CREATE TABLE pause (id INTEGER PRIMARY KEY CHECK (id = 1), time_ms INTEGER NOT NULL, cause TEXT NOT NULL);"
    "CREATE TABLE start (number INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, instance TEXT NOT NULL);"
    "CREATE TABLE round_head (round INTEGER PRIMARY KEY, size INTEGER NOT NULL);"
    "CREATE TABLE request (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, site TEXT NOT NULL, cause TEXT NOT NULL,"
    " time_ms INTEGER NOT NULL, outcome TEXT);"
    "CREATE TABLE metric (round INTEGER, site INTEGER, name TEXT, value REAL NOT NULL, PRIMARY KEY (round, site, name));";

/// Contributions that do not count, and pauses that end when sites return.
constexpr char kLeftOutSchema[] =
    "CREATE TABLE left_out (round INTEGER, attempt INTEGER, site INTEGER, reason TEXT NOT NULL, PRIMARY KEY (round, attempt, "
    "site));"
    "ALTER TABLE pause ADD COLUMN for_sites INTEGER NOT NULL DEFAULT 0;";

/// Heads of the server's log that a site has seen.
constexpr char kSiteSchema[] = "CREATE TABLE server_head (size INTEGER PRIMARY KEY, root BLOB NOT NULL, signature BLOB NOT NULL);";

}  // namespace

std::span<const std::string> StoreMigrations() {
  static const std::vector<std::string> migrations = {kAuditSchema, kServerSchema, kVersionsSchema, kLeftOutSchema};
  return migrations;
}

std::span<const std::string> SiteMigrations() {
  static const std::vector<std::string> migrations = {kAuditSchema, kSiteSchema};
  return migrations;
}

}  // namespace fedalt
