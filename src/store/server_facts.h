// The facts of a server's run that stand both in a table of its database and in an entry of its audit log
// (store/audit_evidence.h).
#pragma once

#include "base/status.h"
#include "store/audit_verify.h"
#include "store/database.h"
#include "store/log_reader.h"

namespace fedalt {

/// Adds checks of every kind of entry that has its fact in a table, and the rows that no entry names. Errors: kOutput.
Status AddServerFacts(Database& database, const LogReader& log, AuditEvidence& evidence);

}  // namespace fedalt
