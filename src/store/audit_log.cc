#include "store/audit_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/strict_json.h"

namespace fedalt {

// Triggers keep our own code from changing what is written; against somebody with the file at hand they do nothing.
const char kAuditSchema[] = R"sql(
CREATE TABLE audit_run (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  run TEXT NOT NULL
) STRICT;
CREATE TABLE audit_entry (
  sequence INTEGER PRIMARY KEY,
  time_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  body TEXT NOT NULL,
  previous BLOB NOT NULL,
  leaf BLOB NOT NULL
) STRICT;
CREATE TABLE audit_head (
  size INTEGER NOT NULL,
  signer TEXT NOT NULL,
  root BLOB NOT NULL,
  signature BLOB NOT NULL,
  PRIMARY KEY (size, signer)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER audit_entry_stays BEFORE UPDATE ON audit_entry BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_entry_remains BEFORE DELETE ON audit_entry BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_head_stays BEFORE UPDATE ON audit_head BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_head_remains BEFORE DELETE ON audit_head BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
)sql";

namespace {

constexpr size_t kMaxKind = 64, kMaxSubject = 256, kMaxBody = size_t{1} << 20;

std::string_view BytesOf(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

Sha256Digest DigestOf(std::string_view bytes) {
  Sha256Digest digest;
  digest.fill(0xff);  // of a value that is no hash
  if (bytes.size() == digest.size()) std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

Status CheckEntry(std::string_view kind, std::string_view subject) {
  const bool word = std::all_of(kind.begin(), kind.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
  });
  if (!word || kind.empty() || kind.size() > kMaxKind || subject.size() > kMaxSubject)
    return MakeError(ErrorKind::kInternal, "an audit entry of a kind or subject that cannot be one");
  return absl::OkStatus();
}

/// Sorted and without white space. Refuses what JSON does not carry to its reader: NaN, broken UTF-8, bytes.
StatusOr<std::string> CanonicalJson(const nlohmann::json& body) {
  using nlohmann::json;
  const std::string text = body.dump(-1, ' ', false, json::error_handler_t::replace);
  if (!body.is_object() || json::parse(text, nullptr, false) != body)
    return MakeError(ErrorKind::kInternal, "the body of an audit entry is not an object that JSON can carry");
  if (text.size() > kMaxBody)
    return MakeError(ErrorKind::kInternal,
                     absl::StrCat("the body of an audit entry has ", text.size(), " bytes, at most ", kMaxBody));
  return text;
}

Status NoEntry(const Database& database, int64_t sequence) {
  return IntegrityError(
      absl::StrCat(database.path().string(), ": entry ", sequence, " of the audit log is missing; it was removed"));
}

}  // namespace

Sha256Digest LeafOf(const AuditEntry& entry) {
  std::string data =
      absl::StrCat("fedalt audit entry v1\n", entry.sequence, "\n", entry.time_ms, "\n", HexOf(entry.previous), "\n");
  for (const std::string* field : {&entry.kind, &entry.subject, &entry.body})
    absl::StrAppend(&data, field->size(), ":", *field, "\n");
  return MerkleLeaf(data);
}

StatusOr<std::string> RunOfAuditLog(Database& database) {
  ASSIGN_OR_RETURN(Statement select, database.Prepare("SELECT run FROM audit_run WHERE id = 1"));
  ASSIGN_OR_RETURN(const bool found, select.Step());
  if (!found)
    return OutputError(
        absl::StrCat(database.path().string(), ": holds no audit log of a run; name the directory of a server or site"));
  return std::string(select.Text(0));
}

StatusOr<AuditLog> AuditLog::Open(Database& database, std::string_view run) {
  ASSIGN_OR_RETURN(Statement insert, database.Prepare("INSERT OR IGNORE INTO audit_run (id, run) VALUES (1, ?1)"));
  RETURN_IF_ERROR(insert.BindText(1, run).Run());
  ASSIGN_OR_RETURN(std::string stored, RunOfAuditLog(database));
  if (stored != run) {
    return OutputError(absl::StrCat(database.path().string(), ": holds the audit log of run ", QuoteForMessage(stored),
                                    ", not that of ", QuoteForMessage(run), "; use a directory of its own for each run"));
  }
  return AuditLog(database, std::move(stored));
}

StatusOr<AuditEntry> AuditLog::Append(int64_t time_ms, std::string_view kind, std::string_view subject,
                                      const nlohmann::json& body) {
  RETURN_IF_ERROR(CheckEntry(kind, subject));
  ASSIGN_OR_RETURN(std::string text, CanonicalJson(body));
  AuditEntry entry;
  entry.time_ms = time_ms;
  entry.kind = kind;
  entry.subject = subject;
  entry.body = std::move(text);
  if (database_->InTransaction()) return AppendInTransaction(std::move(entry));
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  ASSIGN_OR_RETURN(entry, AppendInTransaction(std::move(entry)));
  RETURN_IF_ERROR(transaction.Commit());
  return entry;
}

StatusOr<AuditEntry> AuditLog::AppendInTransaction(AuditEntry entry) {
  ASSIGN_OR_RETURN(Statement last, database_->Prepare("SELECT sequence, leaf FROM audit_entry ORDER BY sequence DESC LIMIT 1"));
  ASSIGN_OR_RETURN(const bool any, last.Step());
  if (any) {
    entry.sequence = last.Int(0);
    entry.previous = DigestOf(last.Blob(1));
  }
  if (entry.sequence < 0 || entry.sequence >= kMaxAuditSequence) {
    return IntegrityError(absl::StrCat(database_->path().string(), ": the last entry of the audit log has number ", entry.sequence,
                                       ", which cannot be; it was changed; see fedalt audit verify"));
  }
  ++entry.sequence;
  entry.leaf = LeafOf(entry);
  ASSIGN_OR_RETURN(Statement insert,
                   database_->Prepare("INSERT INTO audit_entry (sequence, time_ms, kind, subject, body, previous, "
                                      "leaf) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"));
  insert.BindInt(1, entry.sequence).BindInt(2, entry.time_ms).BindText(3, entry.kind).BindText(4, entry.subject);
  insert.BindText(5, entry.body).BindBlob(6, BytesOf(entry.previous)).BindBlob(7, BytesOf(entry.leaf));
  RETURN_IF_ERROR(insert.Run());
  return entry;
}

StatusOr<TreeHead> AuditLog::Head() {
  if (head_.size() > 0) {
    ASSIGN_OR_RETURN(Statement select, database_->Prepare("SELECT leaf FROM audit_entry WHERE sequence = ?1"));
    ASSIGN_OR_RETURN(const bool found, select.BindInt(1, static_cast<int64_t>(head_.size())).Step());
    if (!found || select.Blob(0) != BytesOf(last_)) head_ = MerkleHead();  // undone since; begin again
  }
  RETURN_IF_ERROR(ReadEntries(*database_, static_cast<int64_t>(head_.size()) + 1, "", [this](const AuditEntry& entry) {
    const auto expected = static_cast<int64_t>(head_.size()) + 1;
    if (entry.sequence != expected) return NoEntry(*database_, expected);
    head_.Add(entry.leaf);
    last_ = entry.leaf;
    return absl::OkStatus();
  }));
  return TreeHead{head_.size(), head_.Root()};
}

Status AuditLog::Seal(int64_t time_ms, const std::string& signer, const std::function<std::string(std::string_view)>& sign) {
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  ASSIGN_OR_RETURN(Statement last, database_->Prepare("SELECT kind FROM audit_entry ORDER BY sequence DESC LIMIT 1"));
  ASSIGN_OR_RETURN(const bool any, last.Step());
  if (any && (last.Text(0) == kSignedKind || last.Text(0) == kClosedKind)) return absl::OkStatus();
  last.Reset();
  RETURN_IF_ERROR(Append(time_ms, kSignedKind, signer, nlohmann::json::object()).status());
  ASSIGN_OR_RETURN(const TreeHead head, Head());
  RETURN_IF_ERROR(StoreHead({head, signer, sign(HeadMessage(run_, head))}));
  return transaction.Commit();
}

Status AuditLog::StoreHead(const SignedHead& head) {
  ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT OR IGNORE INTO audit_head (size, signer, root, signature) "
                                                        "VALUES (?1, ?2, ?3, ?4)"));
  const auto size = static_cast<int64_t>(head.head.size);
  insert.BindInt(1, size).BindText(2, head.signer).BindBlob(3, BytesOf(head.head.root)).BindBlob(4, head.signature);
  RETURN_IF_ERROR(insert.Run());
  if (database_->Changes() > 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(Statement select, database_->Prepare("SELECT root = ?3 AND signature = ?4 FROM audit_head WHERE size = ?1 AND "
                                                        "signer = ?2"));
  select.BindInt(1, size).BindText(2, head.signer).BindBlob(3, BytesOf(head.head.root)).BindBlob(4, head.signature);
  ASSIGN_OR_RETURN(const bool found, select.Step());
  if (found && select.Int(0) == 1) return absl::OkStatus();
  return IntegrityError(absl::StrCat(database_->path().string(), ": ", head.signer, " has signed another head of ", head.head.size,
                                     " entries before; keep both, somebody shows two histories"));
}

Status ReadEntries(Database& database, int64_t first, std::string_view kind, const std::function<Status(const AuditEntry&)>& use) {
  ASSIGN_OR_RETURN(Statement select,
                   database.Prepare("SELECT sequence, time_ms, kind, subject, body, previous, leaf FROM audit_entry "
                                    "WHERE sequence >= ?1 AND (?2 = '' OR kind = ?2) ORDER BY sequence"));
  select.BindInt(1, first).BindText(2, kind);
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) return absl::OkStatus();
    AuditEntry entry;
    entry.sequence = select.Int(0);
    entry.time_ms = select.Int(1);
    entry.kind = select.Text(2);
    entry.subject = select.Text(3);
    entry.body = select.Text(4);
    entry.previous = DigestOf(select.Blob(5));
    entry.leaf = DigestOf(select.Blob(6));
    RETURN_IF_ERROR(use(entry));
  }
}

StatusOr<std::vector<SignedHead>> ReadHeads(Database& database) {
  ASSIGN_OR_RETURN(Statement select,
                   database.Prepare("SELECT size, signer, root, signature FROM audit_head ORDER BY size, signer"));
  std::vector<SignedHead> heads;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) return heads;
    SignedHead head;
    head.head.size = static_cast<uint64_t>(select.Int(0));
    head.signer = select.Text(1);
    head.head.root = DigestOf(select.Blob(2));
    head.signature = select.Blob(3);
    heads.push_back(std::move(head));
  }
}

}  // namespace fedalt
