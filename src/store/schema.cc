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

}  // namespace

std::span<const std::string> StoreMigrations() {
  static const std::vector<std::string> migrations = {kAuditSchema, kServerSchema};
  return migrations;
}

}  // namespace fedalt
