// What the server's store keeps beside the rounds: departures, pauses, operators' requests, starts, countersignatures and metrics;
// and which pieces of uploads stay on the disk.
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "store/pieces.h"
#include "store/server_store.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr std::pair<OperatorRequest::Kind, const char*> kRequestNames[] = {{OperatorRequest::Kind::kPause, "pause"},
                                                                           {OperatorRequest::Kind::kResume, "resume"},
                                                                           {OperatorRequest::Kind::kStop, "stop"},
                                                                           {OperatorRequest::Kind::kErase, "erase"}};

/// Adds what the first two columns, size and pieces, name.
Status ReadPieces(Statement& rows, std::set<Sha256Digest>& digests) {
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return absl::OkStatus();
    ASSIGN_OR_RETURN(const ChunkList chunks, ChunksFrom(rows.Int(0), rows.Blob(1)));
    digests.insert(chunks.digests.begin(), chunks.digests.end());
  }
}

}  // namespace

Status ServerStore::SaveDeparture(int64_t site, const std::string& cause) {
  const auto fact = [&](int64_t time_ms) -> Status {
    for (const char* sql : {"DELETE FROM enrolment WHERE site = ?1", "DELETE FROM contribution WHERE site = ?1"}) {
      ASSIGN_OR_RETURN(Statement remove, database_->Prepare(sql));
      RETURN_IF_ERROR(remove.BindInt(1, site).Run());
    }
    ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO departure (site, time_ms, cause) VALUES (?1, ?2, ?3)"));
    return insert.BindInt(1, site).BindInt(2, time_ms).BindText(3, cause).Run();
  };
  return Record(fact, "departure", NameOf(site), {{"cause", cause}});
}

void ServerStore::Collect(const std::optional<std::set<Sha256Digest>>& among, const std::set<Sha256Digest>& keep) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::set<Sha256Digest> needed = keep;
  for (const char* sql :
       {"SELECT size, pieces FROM published", "SELECT size, pieces FROM published_to",
        "SELECT size, pieces FROM contribution JOIN attempt USING (round, attempt) WHERE abandoned IS NULL AND "
        "round > (SELECT coalesce(max(round), 0) FROM published)",
        "SELECT size, pieces FROM contribution AS c WHERE counted = 1 AND NOT EXISTS "
        "(SELECT 1 FROM contribution AS newer WHERE newer.site = c.site AND newer.counted = 1 AND newer.round > c.round)"}) {
    auto rows = database_->Prepare(sql);
    if (!rows.ok() || !ReadPieces(*rows, needed).ok()) return;
  }
  std::error_code error;
  if (among) {
    for (const Sha256Digest& digest : *among)
      if (!needed.contains(digest)) fs::remove(ObjectPath(directory_, digest), error);
    return;
  }
  std::set<std::string> names;
  for (const Sha256Digest& digest : needed) names.insert(HexOf(digest));
  constexpr size_t kNameDigits = 2 * sizeof(Sha256Digest);  // what is being written has another name
  for (fs::recursive_directory_iterator at(directory_ / "objects", error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    std::error_code ignored;
    if (name.size() == kNameDigits && !names.contains(name)) fs::remove(at->path(), ignored);
  }
}

Status ServerStore::SavePause(const std::string& cause, bool for_sites) {
  const auto fact = [&](int64_t time_ms) -> Status {
    ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT OR REPLACE INTO pause VALUES (1, ?1, ?2, ?3)"));
    return insert.BindInt(1, time_ms).BindText(2, cause).BindInt(3, for_sites ? 1 : 0).Run();
  };
  return Record(fact, "run.paused", "", {{"cause", cause}, {"for_sites", for_sites ? 1 : 0}});
}

Status ServerStore::SaveResume(int64_t now_ms) {
  const auto fact = [&](int64_t) -> Status {
    ASSIGN_OR_RETURN(Statement remove, database_->Prepare("DELETE FROM pause"));
    RETURN_IF_ERROR(remove.Run());
    ASSIGN_OR_RETURN(Statement renew, database_->Prepare("UPDATE attempt SET opened_ms = ?1 WHERE abandoned IS NULL AND round > "
                                                         "(SELECT coalesce(max(round), 0) FROM published)"));
    return renew.BindInt(1, now_ms).Run();
  };
  return Record(fact, "run.resumed", "", {{"opened_ms", now_ms}});
}

StatusOr<int64_t> ServerStore::SaveStart(const ServerStart& start) {
  int64_t number = 0;
  const nlohmann::json revoked = NamesOf(start.revoked);
  nlohmann::json body = {
      {"instance", start.instance}, {"program", start.program}, {"roster_sha256", start.roster_sha256}, {"revoked", revoked}};
  if (options_.deadline_ms > 0) body["deadline_ms"] = options_.deadline_ms;
  const std::lock_guard<std::mutex> lock(mutex_);
  const int64_t time_ms = options_.now_ms();
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  ASSIGN_OR_RETURN(Statement last, database_->Prepare("SELECT coalesce(max(number), 0) FROM start"));
  RETURN_IF_ERROR(last.Step().status());
  body["start"] = number = last.Int(0) + 1;
  last.Reset();
  ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT INTO start VALUES (?1, ?2, ?3, ?4, ?5, ?6)"));
  insert.BindInt(1, number).BindInt(2, time_ms).BindText(3, start.instance);
  RETURN_IF_ERROR(insert.BindText(4, start.program).BindText(5, start.roster_sha256).BindText(6, revoked.dump()).Run());
  RETURN_IF_ERROR(log_.Append(time_ms, "server.start", "", body).status());
  RETURN_IF_ERROR(transaction.Commit());
  return number;
}

Status ServerStore::SaveMetrics(int64_t site, int64_t round, const std::map<std::string, double>& values) {
  const auto fact = [&](int64_t) -> Status {
    ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT OR REPLACE INTO metric VALUES (?1, ?2, ?3, ?4)"));
    for (const auto& [name, value] : values)
      RETURN_IF_ERROR(insert.BindInt(1, round).BindInt(2, site).BindText(3, name).BindDouble(4, value).Run());
    return absl::OkStatus();
  };
  return Record(fact, "metrics", NameOf(site), {{"round", round}, {"values", values}});
}

StatusOr<std::vector<OperatorRequest>> ServerStore::OperatorRequests() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ASSIGN_OR_RETURN(Statement rows,
                   database_->Prepare("SELECT id, kind, site, cause FROM request WHERE outcome IS NULL ORDER BY id"));
  std::vector<OperatorRequest> requests;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return requests;
    for (const auto& [kind, name] : kRequestNames)
      if (rows.Text(1) == name) requests.push_back({rows.Int(0), kind, std::string(rows.Text(2)), std::string(rows.Text(3))});
  }
}

Status ServerStore::FinishRequest(int64_t id, const std::string& outcome) {
  const auto fact = [&](int64_t) -> Status {
    ASSIGN_OR_RETURN(Statement update, database_->Prepare("UPDATE request SET outcome = ?2 WHERE id = ?1"));
    return update.BindInt(1, id).BindText(2, outcome).Run();
  };
  nlohmann::json body = {{"request", id}, {"outcome", outcome}};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ASSIGN_OR_RETURN(Statement asked, database_->Prepare("SELECT kind, site, cause, time_ms FROM request WHERE id = ?1"));
    RETURN_IF_ERROR(ForEachRow(asked.BindInt(1, id), [&](const Statement& row) {
      body["kind"] = std::string(row.Text(0));
      body["site"] = std::string(row.Text(1));
      body["cause"] = std::string(row.Text(2));
      body["asked_ms"] = row.Int(3);
      return absl::OkStatus();
    }));
  }
  return Record(fact, "operator", "", body);
}

const char* RequestName(OperatorRequest::Kind kind) {
  for (const auto& [known, name] : kRequestNames)
    if (known == kind) return name;
  return "";
}

StatusOr<int64_t> AskOperator(Database& database, const OperatorRequest& request, int64_t now_ms) {
  ASSIGN_OR_RETURN(Statement insert,
                   database.Prepare("INSERT INTO request (kind, site, cause, time_ms) VALUES (?1, ?2, ?3, ?4) RETURNING id"));
  insert.BindText(1, RequestName(request.kind)).BindText(2, request.site).BindText(3, request.cause).BindInt(4, now_ms);
  RETURN_IF_ERROR(insert.Step().status());
  const int64_t id = insert.Int(0);
  RETURN_IF_ERROR(insert.Step().status());
  return id;
}

StatusOr<std::optional<std::string>> OutcomeOf(Database& database, int64_t request) {
  ASSIGN_OR_RETURN(Statement row, database.Prepare("SELECT outcome FROM request WHERE id = ?1"));
  ASSIGN_OR_RETURN(const bool found, row.BindInt(1, request).Step());
  if (!found || row.IsNull(0)) return std::optional<std::string>();
  return std::optional<std::string>(row.Text(0));
}

StatusOr<std::vector<Adoption>> ServerStore::AdoptionsOf(int64_t round) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ASSIGN_OR_RETURN(Statement rows,
                   database_->Prepare("SELECT site, signature FROM adoption WHERE round = ?1 AND refused = '' ORDER BY site"));
  std::vector<Adoption> adoptions;
  RETURN_IF_ERROR(ForEachRow(rows.BindInt(1, round), [&](const Statement& row) {
    adoptions.push_back({NameOf(row.Int(0)), std::string(row.Blob(1))});
    return absl::OkStatus();
  }));
  return adoptions;
}

Status ServerStore::SaveAdoption(int64_t site, int64_t round, const std::string& signature, const std::string& refused) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ASSIGN_OR_RETURN(Statement known, database_->Prepare("SELECT refused FROM adoption WHERE round = ?1 AND site = ?2"));
  ASSIGN_OR_RETURN(const bool found, known.BindInt(1, round).BindInt(2, site).Step());
  if (found && (known.Text(0).empty() || known.Text(0) == refused)) return absl::OkStatus();
  known.Reset();
  nlohmann::json body = {{"round", round}};
  if (refused.empty()) body["signature_sha256"] = HexOf(Sha256(signature));
  if (!refused.empty()) body["reason"] = refused;
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  ASSIGN_OR_RETURN(Statement insert, database_->Prepare("INSERT OR REPLACE INTO adoption VALUES (?1, ?2, ?3, ?4)"));
  RETURN_IF_ERROR(insert.BindInt(1, round).BindInt(2, site).BindBlob(3, signature).BindText(4, refused).Run());
  const char* const kind = refused.empty() ? "countersignature" : "publication.refused";
  RETURN_IF_ERROR(log_.Append(options_.now_ms(), kind, NameOf(site), body).status());
  return transaction.Commit();
}

}  // namespace fedalt
