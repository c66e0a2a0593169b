// The records of rounds in a database, compared with the log and with each other (store/audit_evidence.h).
#pragma once

#include <string>

#include "store/audit_verify.h"
#include "store/database.h"
#include "store/log_reader.h"

namespace fedalt {

/// Of a server: its records, their chain, and what sites made of publications. Errors: kOutput.
Status AddServerRecords(Database& database, const std::string& run, const LogReader& log, AuditEvidence& evidence);
/// Of a site: the records that it was shown, their chain and the server's signatures, and what it sent. Errors: kOutput.
Status AddSiteRecords(Database& database, const std::string& run, const SignatureCheck& check, AuditEvidence& evidence);

}  // namespace fedalt
