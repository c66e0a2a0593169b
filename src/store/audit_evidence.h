// What the tables of a server's or a site's database hold beside its audit log, for VerifyAuditLog, which so finds and names a row
// that was changed, removed or added: of a server every fact of its run, the records of its rounds and their countersignatures; of
// a site the records that it was shown and what it sent.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "store/audit_verify.h"
#include "store/database.h"

namespace fedalt {

/// Reads the log once now: begin a reading transaction before, and keep it until the log is verified. Nothing for a database that
/// has an audit log alone. The database must outlive it. `run`, `check`: as for VerifyAuditLog. Errors: kOutput.
StatusOr<AuditEvidence> EvidenceIn(Database& database, const std::string& run, const SignatureCheck& check);

/// What no verification finds, one sentence each, for people.
std::vector<std::string> NotFoundByAudit();

}  // namespace fedalt
