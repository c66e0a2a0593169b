// Checks an audit log: finds and names what was changed after it was written.
//
// What this proves: every entry up to the size of a signed head is the one that the signer saw, if the signature is valid under a
// key that the caller has from elsewhere than this database. It proves nothing about entries after the last such head, which are
// counted and named, and nothing about what nobody recorded. The chain and the leaf hashes stored beside the entries only help to
// name what was changed: whoever can write to the database can compute them again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "store/audit_log.h"
#include "store/database.h"

namespace fedalt {

/// Whether the signature over the message is valid under the key that belongs to this signer.
using SignatureCheck = std::function<bool(std::string_view signer, std::string_view message, std::string_view signature)>;

struct AuditFinding {
  int64_t first = 0, last = 0;  ///< the entries that it concerns
  std::string text;             ///< one line
};

/// Compares entries of a kind with the fact that another table holds. `difference`: in words, or nothing if the fact still is as
/// the entry's body has it.
struct FactCheck {
  std::string kind;
  std::function<StatusOr<std::optional<std::string>>(const AuditEntry&)> difference;
};

struct AuditReport {
  std::string run;                            ///< as the database has it
  uint64_t entries = 0;                       ///< that are there
  uint64_t signed_entries = 0;                ///< size of the largest head that is signed and fits; what follows is not yet signed
  std::map<std::string, uint64_t> signed_by;  ///< the same for each signer
  std::vector<AuditFinding> findings;         ///< in the order of the entries; empty: nothing was changed
};

/// A head of the log that somebody signed and that lies elsewhere than in the table of heads: in a round's record.
struct ClaimedHead {
  TreeHead head;
  std::string signer;
  std::string message;  ///< what the signature covers
  std::string signature;
  std::string what;  ///< "the record of round 3"
};

/// What other tables of the database hold, to be compared with the log.
struct AuditEvidence {
  std::vector<FactCheck> checks;
  std::vector<ClaimedHead> heads;
  std::vector<AuditFinding> findings;  ///< that need no entry to be compared with
};

/// Recomputes everything: entries, chain, tree, heads, facts. `run`: the one that it must be; the signatures are over its name.
/// Reads the log once, within one state of the database; memory is that of the heads. Errors: kOutput (the database cannot be
/// read).
StatusOr<AuditReport> VerifyAuditLog(Database& database, std::string_view run, const SignatureCheck& check_signature,
                                     AuditEvidence evidence = {});

}  // namespace fedalt
