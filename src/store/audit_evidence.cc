#include "store/audit_evidence.h"

#include "store/log_reader.h"
#include "store/record_facts.h"
#include "store/schema.h"
#include "store/server_facts.h"

namespace fedalt {
namespace {

StatusOr<bool> HasTable(Database& database, const std::string& name) {
  ASSIGN_OR_RETURN(Statement tables, database.Prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1"));
  return tables.BindText(1, name).Step();
}

}  // namespace

StatusOr<AuditEvidence> EvidenceIn(Database& database, const std::string& run, const SignatureCheck& check) {
  AuditEvidence evidence;
  ASSIGN_OR_RETURN(const bool server, HasTable(database, "round_record"));
  ASSIGN_OR_RETURN(const bool site, HasTable(database, "server_record"));
  if (site) RETURN_IF_ERROR(AddSiteRecords(database, run, check, evidence));
  if (!server) return evidence;
  LogReader log;
  RETURN_IF_ERROR(ReadEntries(database, 1, "", [&](const AuditEntry& entry) {
    log.Take(entry);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(AddServerFacts(database, log, evidence));
  RETURN_IF_ERROR(AddServerRecords(database, run, log, evidence));
  return evidence;
}

std::vector<std::string> NotFoundByAudit() {
  return {"entries after the last signed head, and rows of tables that only they name, changed together with their hashes",
          "the removal of the newest entries together with every head, record and countersignature that covers them: compare with "
          "a site "
          "(--signed-at-least)",
          "requests of operators that no server has answered yet",
          "when sites were heard last and when certificates end, as fedalt status tells it: a file beside the database",
          "adapters and publications themselves, which are files: fedalt pull checks those of a version against the log",
          "what never was recorded, and another history that the server and all sites agreed on"};
}

}  // namespace fedalt
