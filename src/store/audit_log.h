// The audit log: what happened in a run, append-only, in the tables audit_* of a database. One run per database.
//
// Each entry is hashed together with the hash of the entry before it, and the hashes are the leaves of a Merkle tree as in RFC
// 6962. Server and sites sign its heads (size and root). Hashes alone prove nothing, since whoever can change the database can
// compute them again: what counts is a head whose signature is valid under a key that the reader knows from elsewhere. Checking is
// in store/audit_verify.h; how to, for auditors, in docs/audit.md.
//
// An AuditLog and its Database belong to one thread at a time; another process may append as well. Errors: kOutput (database),
// kInternal (an entry that cannot be one), kIntegrity (what is stored contradicts itself).
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/signed_head.h"
#include "base/status.h"
#include "store/database.h"

namespace fedalt {

/// The SQL of the tables, for the migrations of the database that holds them.
extern const char kAuditSchema[];

/// Kinds of the entries that a signed head covers as the last: that of its own announcement, and that which closes a round (its
/// record has the head).
inline constexpr char kSignedKind[] = "log.signed", kClosedKind[] = "round.closed";

/// No log grows to this; a larger number was written by somebody else.
inline constexpr int64_t kMaxAuditSequence = int64_t{1} << 53;

struct AuditEntry {
  int64_t sequence = 0;        ///< 1, 2, 3, ...; leaf number sequence - 1 of the tree
  int64_t time_ms = 0;         ///< Unix time in milliseconds, by the clock of the process that wrote it
  std::string kind;            ///< what happened: "upload", "refusal", ...
  std::string subject;         ///< whom it is about, such as a site's name; may be empty
  std::string body;            ///< JSON object with sorted keys and no white space
  Sha256Digest previous = {};  ///< leaf of the entry before; zeros in the first
  Sha256Digest leaf = {};      ///< LeafOf(*this)
};

/// Leaf hash of an entry: MerkleLeaf of
///   "fedalt audit entry v1\n" sequence "\n" time_ms "\n" hex(previous) "\n" then of kind, subject and body: length ":" bytes "\n"
/// with numbers in decimal and lengths in bytes, so that no two entries have the same encoding.
Sha256Digest LeafOf(const AuditEntry& entry);

class AuditLog {
 public:
  /// The log in this database, which must outlive it. An empty one becomes that of `run`; that of another run is refused (kOutput).
  static StatusOr<AuditLog> Open(Database& database, std::string_view run);

  /// Adds an entry and returns it, after it is on the disk. Within a transaction of the caller it becomes durable by that one's
  /// commit, together with the fact that it records. `kind`: 1 to 64 of a-z, 0-9 and "_.-"; `subject`: UTF-8, at most 256 bytes;
  /// `body`: an object, at most 1 MiB, of finite numbers.
  StatusOr<AuditEntry> Append(int64_t time_ms, std::string_view kind, std::string_view subject, const nlohmann::json& body);

  /// Head of all entries so far. Reads those that came since the last call.
  StatusOr<TreeHead> Head();
  /// Adds an entry "log.signed" that announces a head of this signer, and stores that head, which covers the entry, so that a head
  /// which is gone leaves a trace. Does nothing where the last entry is such a one, or closes a round, whose record is signed. In
  /// one commit. Errors: those of Append.
  Status Seal(int64_t time_ms, const std::string& signer, const std::function<std::string(std::string_view message)>& sign);

  /// Keeps a signature of a head; whether it is valid is for the caller to find out before. Durable as Append is. The same once
  /// more is no error. Errors: kIntegrity if the signer has signed something else for the same size.
  Status StoreHead(const SignedHead& head);

  const std::string& run() const { return run_; }

 private:
  AuditLog(Database& database, std::string run) : database_(&database), run_(std::move(run)) {}
  StatusOr<AuditEntry> AppendInTransaction(AuditEntry entry);

  Database* database_;
  std::string run_;
  MerkleHead head_;         // of the entries read so far
  Sha256Digest last_ = {};  // their last leaf: a caller's transaction that was undone takes entries away again
};

/// The run whose log is in the database. Errors: kOutput if there is none.
StatusOr<std::string> RunOfAuditLog(Database& database);

/// Calls `use` with the entries from `first` on, in order. `kind`: only these, unless empty. What stands in place of a hash without
/// being one is given as 32 bytes of 0xff. Errors: those of `use`, kOutput.
Status ReadEntries(Database& database, int64_t first, std::string_view kind, const std::function<Status(const AuditEntry&)>& use);
/// All stored heads, ordered by size, then signer. Errors: kOutput.
StatusOr<std::vector<SignedHead>> ReadHeads(Database& database);

}  // namespace fedalt
