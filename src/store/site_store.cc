#include "store/site_store.h"

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/strict_json.h"
#include "store/schema.h"

namespace fedalt {

Status SiteStore::Begin(const std::string& run) {
  RETURN_IF_ERROR(CheckSchema(file_));
  ASSIGN_OR_RETURN(database_, Database::Open(file_, SiteMigrations()));
  if (const auto known = RunOfAuditLog(*database_); known.ok() && *known != run)
    return FederationError(absl::StrCat("this site's directory belongs to run ", QuoteForMessage(*known),
                                        ", but the server works on ", QuoteForMessage(run),
                                        "; choose another directory, or ask the server's operator for the old run"));
  ASSIGN_OR_RETURN(AuditLog log, AuditLog::Open(*database_, run));
  log_.emplace(std::move(log));
  return ReadEntries(*database_, 1, "", [&](const AuditEntry& entry) {
    last_kind_ = entry.kind;
    last_body_ = entry.body;
    return absl::OkStatus();
  });
}

Status SiteStore::Note(const std::string& kind, const nlohmann::json& body) {
  FEDALT_CHECK(log_.has_value(), "Begin comes first");
  const std::string text = body.dump();
  if (kind == last_kind_ && text == last_body_) return absl::OkStatus();
  RETURN_IF_ERROR(log_->Append(options_.now_ms(), kind, options_.site, body).status());
  last_kind_ = kind;
  last_body_ = text;
  return absl::OkStatus();
}

Status SiteStore::Seal() {
  FEDALT_CHECK(log_.has_value(), "Begin comes first");
  RETURN_IF_ERROR(log_->Seal(options_.now_ms(), options_.site, options_.sign));
  last_kind_ = kSignedKind;
  last_body_ = "{}";
  return absl::OkStatus();
}

/// A fact and its entry in the log, in one commit.
Status SiteStore::Record(Statement& fact, const std::string& kind, const nlohmann::json& body) {
  const std::string text = body.dump();
  if (kind == last_kind_ && text == last_body_) return absl::OkStatus();
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  RETURN_IF_ERROR(fact.Run());
  RETURN_IF_ERROR(log_->Append(options_.now_ms(), kind, options_.site, body).status());
  RETURN_IF_ERROR(transaction.Commit());
  last_kind_ = kind;
  last_body_ = text;
  return absl::OkStatus();
}

StatusOr<int64_t> SiteStore::LastRound() {
  ASSIGN_OR_RETURN(Statement row, database_->Prepare("SELECT coalesce(max(round), 0) FROM server_record"));
  RETURN_IF_ERROR(row.Step().status());
  return row.Int(0);
}

StatusOr<std::optional<SignedRecord>> SiteStore::RecordOf(int64_t round) {
  ASSIGN_OR_RETURN(Statement row, database_->Prepare("SELECT record, signature FROM server_record WHERE round = ?1"));
  ASSIGN_OR_RETURN(const bool found, row.BindInt(1, round).Step());
  if (!found) return std::optional<SignedRecord>();
  return std::optional(SignedRecord{std::string(row.Blob(0)), std::string(row.Blob(1))});
}

Status SiteStore::SaveRecord(int64_t round, const SignedRecord& record) {
  ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO server_record VALUES (?1, ?2, ?3)"));
  insert.BindInt(1, round).BindBlob(2, record.bytes).BindBlob(3, record.signature);
  return Record(insert, "server.record", {{"round", round}, {"record_sha256", HexOf(RecordDigest(record.bytes))}});
}

Status SiteStore::SaveSent(const RecordedContribution& sent, const nlohmann::json& body) {
  ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT OR REPLACE INTO sent VALUES (?1, ?2, ?3)"));
  insert.BindInt(1, sent.round).BindDouble(2, sent.weight).BindText(3, sent.content);
  return Record(insert, "upload", body);
}

StatusOr<std::optional<RecordedContribution>> SiteStore::SentIn(int64_t round) {
  ASSIGN_OR_RETURN(Statement row, database_->Prepare("SELECT weight, content FROM sent WHERE round = ?1"));
  ASSIGN_OR_RETURN(const bool found, row.BindInt(1, round).Step());
  if (!found) return std::optional<RecordedContribution>();
  return std::optional(RecordedContribution{options_.site, round, row.Double(0), std::string(row.Text(1))});
}

}  // namespace fedalt
