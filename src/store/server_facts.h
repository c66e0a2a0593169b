// The facts of a server's run that stand both in a table of its database and in an entry of its audit log: for VerifyAuditLog,
// which so finds and names a table that was changed.
#pragma once

#include <vector>

#include "base/status.h"
#include "store/audit_verify.h"
#include "store/database.h"

namespace fedalt {

/// Checks of every kind of entry that has its fact in a table, and, with the entry "run", of rows that no entry names. Reads the
/// log once now: begin a reading transaction before, and keep it until the log is verified. None for a database that is not a
/// server's or has an older schema. The database must outlive them. Errors: kOutput.
StatusOr<std::vector<FactCheck>> ServerFacts(Database& database);

}  // namespace fedalt
