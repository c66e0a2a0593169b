#include "store/server_facts.h"

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "base/strict_json.h"
#include "store/audit_log.h"
#include "store/pieces.h"

namespace fedalt {
namespace {

using nlohmann::json;
using Difference = StatusOr<std::optional<std::string>>;
using Upload = std::tuple<int64_t, int64_t, std::string>;      // round, attempt, site
using Metric = std::tuple<int64_t, std::string, std::string>;  // round, site, name

const std::optional<std::string> kSame;

json BodyOf(const AuditEntry& entry) {
  json body = json::parse(entry.body, nullptr, false);
  return body.is_object() ? body : json::object();
}

int64_t Number(const json& body, const char* name) {
  const auto found = body.find(name);
  return found != body.end() && found->is_number_integer() ? found->get<int64_t>() : -1;
}

std::string Shown(const json& value) {
  return QuoteForMessage(value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true, json::error_handler_t::replace));
}

/// The first member of the entry's body that the table has otherwise.
std::optional<std::string> Compare(const json& body, const json& table, const std::string& name) {
  for (const auto& [key, value] : body.items()) {
    if (!table.contains(key) || table[key] == value) continue;
    return absl::StrCat("the table ", name, " has ", key, " ", Shown(table[key]), " where the log has ", Shown(value));
  }
  return std::nullopt;
}

std::string Missing(const std::string& name) {
  return absl::StrCat("its row in the table ", name, " is missing");
}

/// What the log says, as far as later entries bear on earlier ones: each fact is compared with the last entry that is about it.
struct Log {
  std::vector<std::string> sites;                     // names, by place
  std::map<std::string, int64_t> enrolled, departed;  // site -> its last entry of that kind
  std::vector<int64_t> departures;                    // all of them
  std::map<Upload, int64_t> uploads;                  // -> the last entry about it
  std::set<Upload> left_out;
  std::map<int64_t, int64_t> attempts;                          // round -> its last attempt
  std::map<int64_t, std::map<std::string, json>> contributors;  // round that was closed -> site -> its entry
  std::map<Metric, int64_t> metrics;                            // -> the last entry with it
  std::set<int64_t> starts, requests;
  int64_t paused = 0, resumed = 0;  // the last entries
  bool ended = false;

  void Take(const AuditEntry& entry);
  bool Left(const std::string& site, int64_t since) const {
    const auto found = departed.find(site);
    return found != departed.end() && found->second > since;
  }
};

void Log::Take(const AuditEntry& entry) {
  const json body = BodyOf(entry);
  const int64_t round = Number(body, "round"), attempt = Number(body, "attempt");
  if (entry.kind == "run" && body.contains("sites") && body["sites"].is_array())
    for (const json& site : body["sites"]) sites.push_back(site.is_string() ? site.get<std::string>() : "");
  if (entry.kind == "enrolment") enrolled[entry.subject] = entry.sequence;
  if (entry.kind == "departure") {
    departed[entry.subject] = entry.sequence;
    departures.push_back(entry.sequence);
  }
  if (entry.kind == "upload") uploads[{round, attempt, entry.subject}] = entry.sequence;
  if (entry.kind == "left_out") left_out.insert({round, attempt, entry.subject});
  if (entry.kind == "round.open") attempts[round] = std::max(attempts[round], attempt);
  if (entry.kind == "round.closed") {
    auto& of = contributors[round];
    if (body.contains("contributors") && body["contributors"].is_object())
      for (const auto& [site, value] : body["contributors"].items()) of[site] = value;
  }
  if (entry.kind == "metrics" && body.contains("values") && body["values"].is_object())
    for (const auto& [name, value] : body["values"].items()) metrics[{round, entry.subject, name}] = entry.sequence;
  if (entry.kind == "server.start") starts.insert(Number(body, "start"));
  if (entry.kind == "operator") requests.insert(Number(body, "request"));
  if (entry.kind == "run.paused") paused = entry.sequence;
  if (entry.kind == "run.resumed") resumed = entry.sequence;
  if (entry.kind == "run.ended") ended = true;
}

class Facts {
 public:
  explicit Facts(Database& database) : database_(&database) {}
  Status Begin() {
    return ReadEntries(*database_, 1, "", [this](const AuditEntry& entry) {
      log_.Take(entry);
      return absl::OkStatus();
    });
  }

  Difference Run(const AuditEntry& entry) const;
  Difference Enrolment(const AuditEntry& entry) const;
  Difference Opened(const AuditEntry& entry) const;
  Difference Abandoned(const AuditEntry& entry) const;
  Difference Uploaded(const AuditEntry& entry) const;
  Difference LeftOut(const AuditEntry& entry) const;
  Difference Closed(const AuditEntry& entry) const;
  Difference Ended(const AuditEntry& entry) const;
  Difference Departed(const AuditEntry& entry) const;
  Difference Metrics(const AuditEntry& entry) const;
  Difference Paused(const AuditEntry& entry) const;
  Difference Started(const AuditEntry& entry) const;
  Difference Requested(const AuditEntry& entry) const;

 private:
  using Use = std::function<Status(const Statement&)>;
  Status Read(const std::string& sql, const Use& use) const {
    ASSIGN_OR_RETURN(Statement rows, database_->Prepare(sql));
    return ForEachRow(rows, use);
  }
  std::string NameOf(int64_t site) const {
    const bool known = site >= 0 && site < static_cast<int64_t>(log_.sites.size());
    return known ? log_.sites[static_cast<size_t>(site)] : absl::StrCat("number ", site);
  }
  int64_t PlaceOf(const std::string& site) const {
    const auto found = std::find(log_.sites.begin(), log_.sites.end(), site);
    return found == log_.sites.end() ? -1 : found - log_.sites.begin();
  }
  bool Counts(int64_t round, int64_t attempt, const std::string& site) const;
  Difference RowsWithoutEntry() const;

  Database* database_;
  Log log_;
};

/// Whether the log says that this upload entered the sum of its round.
bool Facts::Counts(int64_t round, int64_t attempt, const std::string& site) const {
  const auto closed = log_.contributors.find(round);
  const auto last = log_.attempts.find(round);
  if (closed == log_.contributors.end() || last == log_.attempts.end() || last->second != attempt) return false;
  const auto found = closed->second.find(site);
  if (found == closed->second.end()) return false;
  return found->second == round || (found->second.is_object() && Number(found->second, "round") == round);
}

Difference Facts::Run(const AuditEntry& entry) const {
  json table = {{"sites", json::array()}};
  RETURN_IF_ERROR(Read("SELECT text FROM agreement", [&](const Statement& row) {
    if (table.contains("agreement_sha256")) table["rows"] = "more than one";
    table["agreement_sha256"] = HexOf(Sha256(row.Text(0)));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(Read("SELECT name FROM site ORDER BY place", [&](const Statement& row) {
    table["sites"].push_back(std::string(row.Text(0)));
    return absl::OkStatus();
  }));
  if (!table.contains("agreement_sha256")) return std::optional(Missing("agreement"));
  if (table.contains("rows")) return std::optional<std::string>("the table agreement has more than one row");
  const json body = BodyOf(entry);
  if (auto difference = Compare({{"agreement_sha256", body.value("agreement_sha256", json())}}, table, "agreement"))
    return difference;
  if (auto difference = Compare({{"sites", body.value("sites", json())}}, table, "site")) return difference;
  return RowsWithoutEntry();
}

/// What somebody has put into a table, or what a departure should have taken out of it.
Difference Facts::RowsWithoutEntry() const {
  std::optional<std::string> found;
  const auto note = [&](bool known, const std::string& table, const std::string& what) {
    if (!known && !found) found = absl::StrCat("the table ", table, " has a row (", what, ") that the log does not");
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(Read("SELECT site FROM enrolment", [&](const Statement& row) {
    const std::string site = NameOf(row.Int(0));
    const auto entry = log_.enrolled.find(site);
    return note(entry != log_.enrolled.end() && !log_.Left(site, entry->second), "enrolment", site);
  }));
  RETURN_IF_ERROR(Read("SELECT round, attempt, site FROM contribution", [&](const Statement& row) {
    const std::string site = NameOf(row.Int(2));
    const auto entry = log_.uploads.find({row.Int(0), row.Int(1), site});
    return note(entry != log_.uploads.end() && !log_.Left(site, entry->second), "contribution",
                absl::StrCat("round ", row.Int(0), ", attempt ", row.Int(1), ", ", site));
  }));
  RETURN_IF_ERROR(Read("SELECT round, attempt, site FROM left_out", [&](const Statement& row) {
    return note(log_.left_out.contains({row.Int(0), row.Int(1), NameOf(row.Int(2))}), "left_out",
                absl::StrCat("round ", row.Int(0), ", attempt ", row.Int(1), ", ", NameOf(row.Int(2))));
  }));
  RETURN_IF_ERROR(Read("SELECT round, max(attempt) FROM attempt GROUP BY round", [&](const Statement& row) {
    const auto last = log_.attempts.find(row.Int(0));
    return note(last != log_.attempts.end() && last->second >= row.Int(1), "attempt",
                absl::StrCat("round ", row.Int(0), ", attempt ", row.Int(1)));
  }));
  for (const char* table : {"published", "published_to", "contributor", "round_head"})
    RETURN_IF_ERROR(Read(absl::StrCat("SELECT DISTINCT round FROM ", table), [&](const Statement& row) {
      return note(log_.contributors.contains(row.Int(0)), table, absl::StrCat("round ", row.Int(0)));
    }));
  RETURN_IF_ERROR(
      Read("SELECT cause FROM ending", [&](const Statement& row) { return note(log_.ended, "ending", std::string(row.Text(0))); }));
  RETURN_IF_ERROR(Read("SELECT cause FROM pause",
                       [&](const Statement& row) { return note(log_.paused > log_.resumed, "pause", std::string(row.Text(0))); }));
  RETURN_IF_ERROR(Read("SELECT count(*) FROM departure", [&](const Statement& row) {
    return note(row.Int(0) <= static_cast<int64_t>(log_.departures.size()), "departure", "the last");
  }));
  RETURN_IF_ERROR(Read("SELECT number FROM start", [&](const Statement& row) {
    return note(log_.starts.contains(row.Int(0)), "start", absl::StrCat("number ", row.Int(0)));
  }));
  RETURN_IF_ERROR(Read("SELECT id FROM request WHERE outcome IS NOT NULL", [&](const Statement& row) {
    return note(log_.requests.contains(row.Int(0)), "request", absl::StrCat("number ", row.Int(0)));
  }));
  RETURN_IF_ERROR(Read("SELECT round, site, name FROM metric", [&](const Statement& row) {
    const Metric metric{row.Int(0), NameOf(row.Int(1)), std::string(row.Text(2))};
    return note(log_.metrics.contains(metric), "metric",
                absl::StrCat("round ", row.Int(0), ", ", std::get<1>(metric), ", ", std::get<2>(metric)));
  }));
  return found;
}

Difference Facts::Enrolment(const AuditEntry& entry) const {
  if (log_.Left(entry.subject, entry.sequence)) return kSame;
  std::optional<std::string> difference = Missing("enrolment");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT train_examples, name FROM enrolment WHERE site = ", PlaceOf(entry.subject)),
                       [&](const Statement& row) {
                         const json table = {{"train_examples", row.Int(0)}, {"name", std::string(row.Text(1))}};
                         difference = Compare(BodyOf(entry), table, "enrolment");
                         return absl::OkStatus();
                       }));
  return difference;
}

Difference Facts::Opened(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  std::optional<std::string> difference = Missing("attempt");
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT 1 FROM attempt WHERE round = ", Number(body, "round"), " AND attempt = ", Number(body, "attempt")),
           [&](const Statement&) {
             difference.reset();
             return absl::OkStatus();
           }));
  return difference;
}

Difference Facts::Abandoned(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  std::optional<std::string> difference = Missing("attempt");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT abandoned FROM attempt WHERE round = ", Number(body, "round"),
                                    " AND attempt = ", Number(body, "attempt")),
                       [&](const Statement& row) {
                         const json reason = row.IsNull(0) ? json() : json(std::string(row.Text(0)));
                         difference = Compare(body, {{"reason", reason}}, "attempt");
                         return absl::OkStatus();
                       }));
  return difference;
}

Difference Facts::Uploaded(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  const int64_t round = Number(body, "round"), attempt = Number(body, "attempt");
  if (log_.Left(entry.subject, entry.sequence)) return kSame;
  std::optional<std::string> difference = Missing("contribution");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT weight, size, pieces, counted FROM contribution WHERE round = ", round,
                                    " AND attempt = ", attempt, " AND site = ", PlaceOf(entry.subject)),
                       [&](const Statement& row) {
                         json table = {{"weight", row.Double(0)}, {"words", row.Int(1)}, {"content_sha256", nullptr}};
                         if (const auto chunks = ChunksFrom(row.Int(1), row.Blob(2)); chunks.ok())
                           table["content_sha256"] = ContentHash(*chunks);
                         difference = Compare(body, table, "contribution");
                         const bool counts = Counts(round, attempt, entry.subject);
                         if (!difference && (row.Int(3) != 0) != counts)
                           difference = absl::StrCat("the table contribution says that it ", counts ? "does not count" : "counts",
                                                     ", the log that it ", counts ? "does" : "does not");
                         return absl::OkStatus();
                       }));
  return difference;
}

Difference Facts::LeftOut(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  std::optional<std::string> difference = Missing("left_out");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT reason FROM left_out WHERE round = ", Number(body, "round"),
                                    " AND attempt = ", Number(body, "attempt"), " AND site = ", PlaceOf(entry.subject)),
                       [&](const Statement& row) {
                         difference = Compare(body, {{"reason", std::string(row.Text(0))}}, "left_out");
                         return absl::OkStatus();
                       }));
  return difference;
}

Difference Facts::Closed(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  const int64_t round = Number(body, "round");
  json table;
  const auto content = [](const Statement& row, int size) -> json {
    const auto chunks = ChunksFrom(row.Int(size), row.Blob(size + 1));
    return chunks.ok() ? json(ContentHash(*chunks)) : json();
  };
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT total_weight, (SELECT coalesce(max(round), 0) FROM published WHERE round < ", round,
                                    "), size, pieces FROM published WHERE round = ", round),
                       [&](const Statement& row) {
                         table = {{"total_weight", row.Double(0)}, {"parent", row.Int(1)}, {"content_sha256", content(row, 2)}};
                         return absl::OkStatus();
                       }));
  if (table.is_null()) return std::optional(Missing("published"));
  if (auto difference = Compare(body, table, "published")) return difference;
  table = {{"content_sha256_of_site", json::object()}};
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT site, size, pieces FROM published_to WHERE round = ", round), [&](const Statement& row) {
        table["content_sha256_of_site"][NameOf(row.Int(0))] = content(row, 1);
        return absl::OkStatus();
      }));
  const json to = body.value("content_sha256_of_site", json::object());
  if (auto difference = Compare({{"content_sha256_of_site", to}}, table, "published_to")) return difference;
  table = {{"contributors", json::object()}, {"moved", json::object()}};
  const json logged = body.value("contributors", json::object());
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT site, of_round, weight, moved FROM contributor WHERE round = ", round), [&](const Statement& row) {
        const std::string site = NameOf(row.Int(0));
        json of = {{"round", row.Int(1)}};
        if (!row.IsNull(2)) of["weight"] = row.Double(2);
        if (!row.IsNull(3)) table["moved"][site] = row.Double(3);
        // Older entries hold the round alone.
        const bool alone = logged.is_object() && logged.contains(site) && logged[site].is_number() && row.IsNull(2);
        table["contributors"][site] = alone ? of["round"] : of;
        return absl::OkStatus();
      }));
  // The table has no place for how far those moved the sum who are no longer in it.
  json entry_of = {{"contributors", logged}, {"moved", json::object()}};
  const json moved = body.value("moved", json::object());
  for (const auto& [site, distance] : moved.items())
    if (logged.contains(site)) entry_of["moved"][site] = distance;
  if (auto difference = Compare(entry_of, table, "contributor")) return difference;
  std::optional<std::string> difference;
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT size FROM round_head WHERE round = ", round), [&](const Statement& row) {
    if (row.Int(0) != entry.sequence)
      difference = absl::StrCat("the table round_head has ", row.Int(0), " where the log has ", entry.sequence);
    return absl::OkStatus();
  }));
  return difference;
}

Difference Facts::Ended(const AuditEntry& entry) const {
  std::optional<std::string> difference = Missing("ending");
  RETURN_IF_ERROR(Read("SELECT cause FROM ending", [&](const Statement& row) {
    difference = Compare(BodyOf(entry), {{"cause", std::string(row.Text(0))}}, "ending");
    return absl::OkStatus();
  }));
  return difference;
}

Difference Facts::Departed(const AuditEntry& entry) const {
  const auto place = std::find(log_.departures.begin(), log_.departures.end(), entry.sequence) - log_.departures.begin();
  std::optional<std::string> difference = Missing("departure");
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT site, cause FROM departure ORDER BY id LIMIT 1 OFFSET ", place), [&](const Statement& row) {
        json body = BodyOf(entry);
        body["site"] = entry.subject;
        difference = Compare(body, {{"site", NameOf(row.Int(0))}, {"cause", std::string(row.Text(1))}}, "departure");
        return absl::OkStatus();
      }));
  return difference;
}

Difference Facts::Metrics(const AuditEntry& entry) const {
  const json body = BodyOf(entry), values = body.value("values", json::object());
  const int64_t round = Number(body, "round");
  json table = json::object();
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT name, value FROM metric WHERE round = ", round, " AND site = ", PlaceOf(entry.subject)),
                       [&](const Statement& row) {
                         table[std::string(row.Text(0))] = row.Double(1);
                         return absl::OkStatus();
                       }));
  for (const auto& [name, value] : values.items()) {
    const auto last = log_.metrics.find({round, entry.subject, name});
    if (last == log_.metrics.end() || last->second != entry.sequence) continue;  // said again later
    if (!table.contains(name)) return std::optional(absl::StrCat(Missing("metric"), ": ", QuoteForMessage(name)));
    if (auto difference = Compare({{name, value}}, table, "metric")) return difference;
  }
  return kSame;
}

Difference Facts::Paused(const AuditEntry& entry) const {
  if (entry.sequence != log_.paused || log_.resumed > log_.paused) return kSame;
  std::optional<std::string> difference = Missing("pause");
  RETURN_IF_ERROR(Read("SELECT cause FROM pause", [&](const Statement& row) {
    difference = Compare(BodyOf(entry), {{"cause", std::string(row.Text(0))}}, "pause");
    return absl::OkStatus();
  }));
  return difference;
}

Difference Facts::Started(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  std::optional<std::string> difference = Missing("start");
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT instance FROM start WHERE number = ", Number(body, "start")), [&](const Statement& row) {
        difference = Compare(body, {{"instance", std::string(row.Text(0))}}, "start");
        return absl::OkStatus();
      }));
  return difference;
}

Difference Facts::Requested(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  std::optional<std::string> difference = Missing("request");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT outcome FROM request WHERE id = ", Number(body, "request")), [&](const Statement& row) {
    difference = Compare(body, {{"outcome", row.IsNull(0) ? json() : json(std::string(row.Text(0)))}}, "request");
    return absl::OkStatus();
  }));
  return difference;
}

}  // namespace

StatusOr<std::vector<FactCheck>> ServerFacts(Database& database) {
  std::vector<FactCheck> checks;
  bool server = false;
  ASSIGN_OR_RETURN(Statement tables, database.Prepare("SELECT 1 FROM sqlite_schema WHERE name = 'left_out'"));
  RETURN_IF_ERROR(ForEachRow(tables, [&](const Statement&) {
    server = true;
    return absl::OkStatus();
  }));
  if (!server) return checks;
  const auto facts = std::make_shared<Facts>(database);
  RETURN_IF_ERROR(facts->Begin());
  using Check = Difference (Facts::*)(const AuditEntry&) const;
  constexpr std::pair<const char*, Check> kChecks[] = {{"run", &Facts::Run},
                                                       {"enrolment", &Facts::Enrolment},
                                                       {"round.open", &Facts::Opened},
                                                       {"round.abandoned", &Facts::Abandoned},
                                                       {"upload", &Facts::Uploaded},
                                                       {"left_out", &Facts::LeftOut},
                                                       {"round.closed", &Facts::Closed},
                                                       {"run.ended", &Facts::Ended},
                                                       {"departure", &Facts::Departed},
                                                       {"metrics", &Facts::Metrics},
                                                       {"run.paused", &Facts::Paused},
                                                       {"server.start", &Facts::Started},
                                                       {"operator", &Facts::Requested}};
  for (const auto& [kind, check] : kChecks)
    checks.push_back({kind, [facts, check = check](const AuditEntry& entry) { return ((*facts).*check)(entry); }});
  return checks;
}

}  // namespace fedalt
