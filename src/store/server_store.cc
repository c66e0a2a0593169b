#include "store/server_store.h"

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file.h"
#include "base/private_file.h"
#include "store/pieces.h"
#include "store/schema.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

StatusOr<SiteContribution> ContributionFrom(const Statement& row) {
  SiteContribution contribution;
  contribution.round = row.Int(0);
  contribution.attempt = row.Int(1);
  contribution.site = row.Int(2);
  contribution.weight = row.Double(3);
  ASSIGN_OR_RETURN(contribution.chunks, ChunksFrom(row.Int(4), row.Blob(5)));
  return contribution;
}

}  // namespace

ServerStore::ServerStore(fs::path directory, ServerStoreOptions options, DirectoryLock lock, std::unique_ptr<Database> database,
                         AuditLog log)
    : directory_(std::move(directory)),
      options_(std::move(options)),
      lock_(std::move(lock)),
      database_(std::move(database)),
      log_(std::move(log)) {}

StatusOr<std::unique_ptr<ServerStore>> ServerStore::Open(const fs::path& directory, ServerStoreOptions options) {
  RETURN_IF_ERROR(CheckSchema(directory / kStoreName));
  RETURN_IF_ERROR(MakeDirectories(directory / "objects"));
  std::error_code error;  // adapters are nobody else's; where the disk knows no owners there is nothing to keep
  fs::permissions(directory / "objects", fs::perms::owner_all, error);
  ASSIGN_OR_RETURN(DirectoryLock lock, DirectoryLock::Take(directory, "directory"));
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(directory / kStoreName, StoreMigrations()));
  ASSIGN_OR_RETURN(AuditLog log, AuditLog::Open(*database, options.run));
  return std::unique_ptr<ServerStore>(
      new ServerStore(directory, std::move(options), std::move(lock), std::move(database), std::move(log)));
}

std::string ServerStore::NameOf(int64_t site) const {
  return site < 0 ? std::string() : options_.sites.at(static_cast<size_t>(site));
}

StatusOr<ServerPosition> ServerStore::Recover() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ServerPosition position;
  const auto for_each = [this](std::string_view sql, const std::function<Status(Statement&)>& use) -> Status {
    ASSIGN_OR_RETURN(Statement statement, database_->Prepare(sql));
    for (;;) {
      ASSIGN_OR_RETURN(const bool row, statement.Step());
      if (!row) return absl::OkStatus();
      RETURN_IF_ERROR(use(statement));
    }
  };
  RETURN_IF_ERROR(for_each("SELECT text FROM agreement", [&](Statement& row) {
    position.agreement = row.Text(0);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(for_each("SELECT site, train_examples, name FROM enrolment", [&](Statement& row) {
    position.enrolled[row.Int(0)] = row.Int(1);
    position.enrolments[row.Int(0)] = row.Text(2);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(for_each("SELECT DISTINCT site FROM departure", [&](Statement& row) {
    position.departed.insert(row.Int(0));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(for_each("SELECT cause, for_sites FROM pause", [&](Statement& row) {
    position.paused = std::string(row.Text(0));
    position.paused_for_sites = row.Int(1) != 0;
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(for_each("SELECT round FROM published ORDER BY round DESC LIMIT 1", [&](Statement& row) {
    position.closed_round = row.Int(0);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(for_each("SELECT cause FROM ending", [&](Statement& row) {
    position.ended = std::string(row.Text(0));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(ReadAttempt(position));
  RETURN_IF_ERROR(ReadLedger(position));
  return position;
}

/// The attempt that is open, or the number of the one that comes, and what the open one received.
Status ServerStore::ReadAttempt(ServerPosition& position) {
  ASSIGN_OR_RETURN(Statement attempts,
                   database_->Prepare("SELECT round, attempt, opened_ms, abandoned FROM attempt WHERE round > ?1 "
                                      "ORDER BY round, attempt DESC LIMIT 1"));
  attempts.BindInt(1, position.closed_round);
  ASSIGN_OR_RETURN(const bool any, attempts.Step());
  if (!any) return absl::OkStatus();
  const bool open = attempts.IsNull(3);
  position.attempt = attempts.Int(1) + (open ? 0 : 1);
  position.opened_ms = open ? attempts.Int(2) : 0;
  if (!open) return absl::OkStatus();
  ASSIGN_OR_RETURN(Statement out, database_->Prepare("SELECT site, reason FROM left_out WHERE round = ?1 AND attempt = ?2"));
  out.BindInt(1, attempts.Int(0)).BindInt(2, attempts.Int(1));
  RETURN_IF_ERROR(ForEachRow(out, [&](const Statement& row) {
    position.left_out[row.Int(0)] = row.Text(1);
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(Statement rows, database_->Prepare("SELECT round, attempt, site, weight, size, pieces FROM contribution "
                                                      "WHERE round = ?1 AND attempt = ?2"));
  rows.BindInt(1, attempts.Int(0)).BindInt(2, attempts.Int(1));
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return absl::OkStatus();
    ASSIGN_OR_RETURN(SiteContribution contribution, ContributionFrom(rows));
    position.received[contribution.site] = std::move(contribution);
  }
}

Status ServerStore::ReadLedger(ServerPosition& position) {
  ASSIGN_OR_RETURN(Statement rows, database_->Prepare("SELECT round, attempt, site, weight, size, pieces FROM contribution "
                                                      "WHERE counted = 1 ORDER BY round"));
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return absl::OkStatus();
    ASSIGN_OR_RETURN(SiteContribution contribution, ContributionFrom(rows));
    position.ledger[contribution.site] = std::move(contribution);
  }
}

Status ServerStore::Record(const std::function<Status(int64_t)>& fact, const char* kind, const std::string& subject,
                           const json& body) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int64_t time_ms = options_.now_ms();
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  RETURN_IF_ERROR(fact(time_ms));
  RETURN_IF_ERROR(log_.Append(time_ms, kind, subject, body).status());
  return transaction.Commit();
}

Status ServerStore::InsertSites() {
  ASSIGN_OR_RETURN(Statement site, database_->Prepare("INSERT OR IGNORE INTO site VALUES (?1, ?2)"));
  for (size_t k = 0; k < options_.sites.size(); ++k)
    RETURN_IF_ERROR(site.BindInt(1, static_cast<int64_t>(k)).BindText(2, options_.sites[k]).Run());
  return absl::OkStatus();
}

Status ServerStore::SaveAgreement(const std::string& agreement) {
  const auto fact = [&](int64_t) -> Status {
    ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO agreement VALUES (?1)"));
    RETURN_IF_ERROR(insert.BindText(1, agreement).Run());
    return InsertSites();
  };
  return Record(fact, "run", "", {{"agreement_sha256", HexOf(Sha256(agreement))}, {"sites", options_.sites}});
}

Status ServerStore::SaveEnrolment(int64_t site, int64_t train_examples, const std::string& name) {
  const auto fact = [&](int64_t) -> Status {
    ASSIGN_OR_RETURN(Statement insert,
                     database_->Prepare("INSERT INTO enrolment (site, train_examples, name) VALUES (?1, ?2, ?3)"));
    return insert.BindInt(1, site).BindInt(2, train_examples).BindText(3, name).Run();
  };
  return Record(fact, "enrolment", NameOf(site), {{"train_examples", train_examples}, {"name", name}});
}

Status ServerStore::OpenAttempt(int64_t round, int64_t attempt, int64_t now_ms, const std::vector<int64_t>& cohort) {
  const json drawn = cohort.size() == options_.sites.size() ? json("all") : json(NamesOf(cohort));
  const auto fact = [&](int64_t) -> Status {
    ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO attempt VALUES (?1, ?2, ?3, NULL, ?4)"));
    return insert.BindInt(1, round).BindInt(2, attempt).BindInt(3, now_ms).BindText(4, drawn.dump()).Run();
  };
  return Record(fact, "round.open", "", {{"round", round}, {"attempt", attempt}, {"opened_ms", now_ms}, {"cohort", drawn}});
}

Status ServerStore::SaveContribution(const SiteContribution& contribution) {
  const auto fact = [&](int64_t) -> Status {
    ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO contribution VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)"));
    insert.BindInt(1, contribution.round).BindInt(2, contribution.attempt).BindInt(3, contribution.site);
    insert.BindDouble(4, contribution.weight).BindInt(5, contribution.chunks.values).BindBlob(6, PiecesOf(contribution.chunks));
    return insert.Run();
  };
  return Record(fact, "upload", NameOf(contribution.site),
                {{"round", contribution.round},
                 {"attempt", contribution.attempt},
                 {"weight", contribution.weight},
                 {"words", contribution.chunks.values},
                 {"content_sha256", ContentHash(contribution.chunks)}});
}

/// Within a transaction. What is known already stays as it is.
Status ServerStore::InsertLeftOut(int64_t round, int64_t attempt, int64_t site, const std::string& why) {
  ASSIGN_OR_RETURN(Statement known, database_->Prepare("SELECT 1 FROM left_out WHERE round = ?1 AND attempt = ?2 AND site = ?3"));
  ASSIGN_OR_RETURN(const bool is_known, known.BindInt(1, round).BindInt(2, attempt).BindInt(3, site).Step());
  if (is_known) return absl::OkStatus();
  ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO left_out VALUES (?1, ?2, ?3, ?4)"));
  RETURN_IF_ERROR(insert.BindInt(1, round).BindInt(2, attempt).BindInt(3, site).BindText(4, why).Run());
  return log_.Append(options_.now_ms(), "left_out", NameOf(site), {{"round", round}, {"attempt", attempt}, {"reason", why}})
      .status();
}

Status ServerStore::SaveLeftOut(int64_t round, int64_t attempt, int64_t site, const std::string& why) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  RETURN_IF_ERROR(InsertLeftOut(round, attempt, site, why));
  return transaction.Commit();
}

Status ServerStore::AbandonAttempt(int64_t round, int64_t attempt, const std::string& reason) {
  const auto fact = [&](int64_t) -> Status {
    ASSIGN_OR_RETURN(Statement update, database_->Prepare("UPDATE attempt SET abandoned = ?3 WHERE round = ?1 AND attempt = ?2"));
    return update.BindInt(1, round).BindInt(2, attempt).BindText(3, reason).Run();
  };
  return Record(fact, "round.abandoned", "", {{"round", round}, {"attempt", attempt}, {"reason", reason}});
}

/// What the last closed round published, as the log names it.
json ServerStore::BodyOf(const PublishedObject& published, int64_t parent) const {
  json contributors = json::object(), to = json::object();
  for (const auto& [site, of_round] : published.contributors) {
    json& entry = contributors[NameOf(site)] = {{"round", of_round}};
    if (const auto weight = published.weights.find(site); weight != published.weights.end()) entry["weight"] = weight->second;
  }
  json moved = json::object();
  for (const auto& [site, distance] : published.moved) moved[NameOf(site)] = distance;
  json words = json::object();
  for (const auto& [site, chunks] : published.per_site) {
    to[NameOf(site)] = ContentHash(chunks);
    words[NameOf(site)] = chunks.values;
  }
  json body = {{"round", published.round},
               {"parent", parent},
               {"total_weight", published.total_weight},
               {"contributors", contributors},
               {"moved", moved}};
  body[to.empty() ? "content_sha256" : "content_sha256_of_site"] = to.empty() ? json(ContentHash(published.chunks)) : to;
  body[to.empty() ? "words" : "words_of_site"] = to.empty() ? json(published.chunks.values) : words;
  return body;
}

Status ServerStore::InsertPublished(const PublishedObject& published) {
  ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO published VALUES (?1, ?2, ?3, ?4)"));
  insert.BindInt(1, published.round).BindDouble(2, published.total_weight).BindInt(3, published.chunks.values);
  RETURN_IF_ERROR(insert.BindBlob(4, PiecesOf(published.chunks)).Run());
  ASSIGN_OR_RETURN(Statement insert_to, database_->Prepare("INSERT INTO published_to VALUES (?1, ?2, ?3, ?4)"));
  for (const auto& [site, chunks] : published.per_site) {
    insert_to.BindInt(1, published.round).BindInt(2, site).BindInt(3, chunks.values).BindBlob(4, PiecesOf(chunks));
    RETURN_IF_ERROR(insert_to.Run());
  }
  ASSIGN_OR_RETURN(
      Statement insert_of,
      database_->Prepare("INSERT INTO contributor (round, site, of_round, weight, moved) VALUES (?1, ?2, ?3, ?4, ?5)"));
  ASSIGN_OR_RETURN(Statement count,
                   database_->Prepare("UPDATE contribution SET counted = 1 WHERE round = ?1 AND site = ?2 AND attempt = "
                                      "(SELECT max(attempt) FROM attempt WHERE round = ?1)"));
  const auto bind = [&](int place, const std::map<int64_t, double>& values, int64_t site) {
    const auto found = values.find(site);
    found == values.end() ? insert_of.BindNull(place) : insert_of.BindDouble(place, found->second);
  };
  for (const auto& [site, of_round] : published.contributors) {
    insert_of.BindInt(1, published.round).BindInt(2, site).BindInt(3, of_round);
    bind(4, published.weights, site);
    bind(5, published.moved, site);
    RETURN_IF_ERROR(insert_of.Run());
    if (of_round == published.round) RETURN_IF_ERROR(count.BindInt(1, of_round).BindInt(2, site).Run());
  }
  return absl::OkStatus();
}

Status ServerStore::CloseRound(const PublishedObject& published, RoundRecord record) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  ASSIGN_OR_RETURN(Statement last, database_->Prepare("SELECT coalesce(max(round), 0) FROM published"));
  RETURN_IF_ERROR(last.Step().status());
  const int64_t parent = last.Int(0);
  last.Reset();
  ASSIGN_OR_RETURN(Statement attempt, database_->Prepare("SELECT coalesce(max(attempt), 1) FROM attempt WHERE round = ?1"));
  RETURN_IF_ERROR(attempt.BindInt(1, published.round).Step().status());
  const int64_t of_attempt = attempt.Int(0);
  attempt.Reset();
  for (const auto& [site, why] : published.left_out) RETURN_IF_ERROR(InsertLeftOut(published.round, of_attempt, site, why));
  RETURN_IF_ERROR(InsertPublished(published));
  RETURN_IF_ERROR(log_.Append(options_.now_ms(), kClosedKind, "", BodyOf(published, parent)).status());
  RETURN_IF_ERROR(InsertRecord(std::move(record), parent));
  return transaction.Commit();
}

/// Completes and signs it: it is about the log as it is.
Status ServerStore::InsertRecord(RoundRecord record, int64_t parent) {
  record.previous_round = parent;
  if (parent > 0) {
    ASSIGN_OR_RETURN(const SignedRecord before, ReadRecord(*database_, parent));
    record.previous = RecordDigest(before.bytes);
  }
  ASSIGN_OR_RETURN(record.log, log_.Head());
  const std::string bytes = EncodeRecord(record);
  ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO round_record VALUES (?1, ?2, ?3)"));
  return insert.BindInt(1, record.round).BindBlob(2, bytes).BindBlob(3, options_.sign(bytes)).Run();
}

Status ServerStore::SaveEnd(const std::string& cause) {
  const auto fact = [&](int64_t) -> Status {
    ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO ending VALUES (?1)"));
    return insert.BindText(1, cause).Run();
  };
  RETURN_IF_ERROR(Record(fact, "run.ended", "", {{"cause", cause}}));
  return Seal();
}

Status ServerStore::NoteRefusal(int64_t site, const std::string& what) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return log_.Append(options_.now_ms(), "refusal", NameOf(site), {{"reason", what}}).status();
}

Status ServerStore::Seal() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return log_.Seal(options_.now_ms(), "server", options_.sign);
}

StatusOr<SignedRecord> ReadRecord(Database& database, int64_t round) {
  ASSIGN_OR_RETURN(Statement row, database.Prepare("SELECT record, signature FROM round_record WHERE round = ?1"));
  ASSIGN_OR_RETURN(const bool found, row.BindInt(1, round).Step());
  if (!found) return absl::NotFoundError(absl::StrCat("round ", round, " has no record"));
  return SignedRecord{std::string(row.Blob(0)), std::string(row.Blob(1))};
}

StatusOr<SignedRecord> ServerStore::RecordOf(int64_t round) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ReadRecord(*database_, round);
}

StatusOr<std::optional<PublishedObject>> ReadPublished(Database& database, int64_t round) {
  ASSIGN_OR_RETURN(Statement rows, database.Prepare("SELECT total_weight, size, pieces FROM published WHERE round = ?1"));
  ASSIGN_OR_RETURN(const bool any, rows.BindInt(1, round).Step());
  if (!any) return std::optional<PublishedObject>();
  PublishedObject published;
  published.round = round;
  published.total_weight = rows.Double(0);
  ASSIGN_OR_RETURN(published.chunks, ChunksFrom(rows.Int(1), rows.Blob(2)));
  ASSIGN_OR_RETURN(Statement to, database.Prepare("SELECT site, size, pieces FROM published_to WHERE round = ?1"));
  to.BindInt(1, round);
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, to.Step());
    if (!row) break;
    ASSIGN_OR_RETURN(published.per_site[to.Int(0)], ChunksFrom(to.Int(1), to.Blob(2)));
  }
  ASSIGN_OR_RETURN(Statement of, database.Prepare("SELECT site, of_round, weight, moved FROM contributor WHERE round = ?1"));
  of.BindInt(1, round);
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, of.Step());
    if (!row) break;
    published.contributors[of.Int(0)] = of.Int(1);
    if (!of.IsNull(2)) published.weights[of.Int(0)] = of.Double(2);
    if (!of.IsNull(3)) published.moved[of.Int(0)] = of.Double(3);
  }
  ASSIGN_OR_RETURN(Statement out, database.Prepare("SELECT site, reason FROM left_out WHERE round = ?1 AND attempt = "
                                                   "(SELECT max(attempt) FROM attempt WHERE round = ?1)"));
  RETURN_IF_ERROR(ForEachRow(out.BindInt(1, round), [&](const Statement& row) {
    published.left_out[row.Int(0)] = row.Text(1);
    return absl::OkStatus();
  }));
  return std::optional<PublishedObject>(std::move(published));
}

StatusOr<std::optional<PublishedObject>> ServerStore::LoadPublished(int64_t round) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ReadPublished(*database_, round);
}

fs::path ObjectPath(const fs::path& directory, const Sha256Digest& digest) {
  const std::string hex = HexOf(digest);
  return directory / "objects" / hex.substr(0, 2) / hex;
}

bool ServerStore::HasChunk(const Sha256Digest& digest) {
  std::error_code error;
  return fs::exists(ObjectPath(directory_, digest), error);
}

Status ServerStore::PutChunk(const Sha256Digest& digest, std::string_view bytes) {
  const std::lock_guard<std::mutex> lock(pieces_[digest.front() % pieces_.size()]);
  if (HasChunk(digest) && GetChunk(digest).ok()) return absl::OkStatus();
  const fs::path path = ObjectPath(directory_, digest);
  RETURN_IF_ERROR(MakeDirectories(path.parent_path()));
  return WritePrivateFileAtomic(path, bytes);
}

StatusOr<std::string> ServerStore::GetChunk(const Sha256Digest& digest) {
  const fs::path path = ObjectPath(directory_, digest);
  StatusOr<std::string> bytes = ReadFile(path, ErrorKind::kIntegrity, static_cast<size_t>(kChunkBytes));
  if (bytes.ok() && Sha256(*bytes) != digest)
    return IntegrityError(absl::StrCat(path.string(), ": is damaged, its SHA-256 is not its name; it is replaced when its content ",
                                       "comes again, or put it back from a backup"));
  return bytes;
}

}  // namespace fedalt
