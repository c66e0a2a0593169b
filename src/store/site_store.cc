#include "store/site_store.h"

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "store/schema.h"

namespace fedalt {

Status SiteStore::Begin(const std::string& run) {
  ASSIGN_OR_RETURN(database_, Database::Open(file_, SiteMigrations()));
  if (const auto known = RunOfAuditLog(*database_); known.ok() && *known != run)
    return FederationError(absl::StrCat("this site's directory belongs to run ", *known, ", but the server works on ", run,
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
  ASSIGN_OR_RETURN(const TreeHead head, log_->Head());
  return log_->StoreHead({head, options_.site, options_.sign(HeadMessage(log_->run(), head))});
}

StatusOr<SignedHead> SiteStore::LastHead() {
  ASSIGN_OR_RETURN(Statement row, database_->Prepare("SELECT size, root, signature FROM server_head ORDER BY size DESC LIMIT 1"));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  SignedHead head;
  head.signer = "server";
  if (!found) return head;
  const std::string_view root = row.Blob(1);
  if (row.Int(0) < 0 || root.size() != head.head.root.size())
    return OutputError(absl::StrCat(database_->path().string(), ": holds a head that is none; it was changed by somebody else"));
  head.head.size = static_cast<uint64_t>(row.Int(0));
  std::copy(root.begin(), root.end(), head.head.root.begin());
  head.signature = row.Blob(2);
  return head;
}

Status SiteStore::SaveHead(const SignedHead& head) {
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT OR IGNORE INTO server_head VALUES (?1, ?2, ?3)"));
  const std::string root(head.head.root.begin(), head.head.root.end());
  RETURN_IF_ERROR(insert.BindInt(1, static_cast<int64_t>(head.head.size)).BindBlob(2, root).BindBlob(3, head.signature).Run());
  const nlohmann::json body = {{"size", head.head.size}, {"root", HexOf(head.head.root)}};
  RETURN_IF_ERROR(log_->Append(options_.now_ms(), "server.head", "server", body).status());
  last_kind_ = "server.head";
  last_body_ = body.dump();
  return transaction.Commit();
}

}  // namespace fedalt
