#include "store/server_facts.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/strict_json.h"
#include "store/pieces.h"

namespace fedalt {
namespace {

using nlohmann::json;
using Difference = StatusOr<std::optional<std::string>>;

const std::optional<std::string> kSame;

/// A member that its table keeps as JSON.
std::string TextOf(const json& body, const char* name) {
  return body.value(name, json()).dump(-1, ' ', false, json::error_handler_t::replace);
}

class Facts {
 public:
  Facts(Database& database, LogReader log) : database_(&database), log_(std::move(log)) {}

  /// What somebody has put into a table, or what a departure should have taken out of it.
  Status AddRowsWithoutEntry(std::vector<AuditFinding>& findings) const;
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

  Database* database_;
  LogReader log_;
};

Difference Facts::Run(const AuditEntry& entry) const {
  json table = {{"sites", json::array()}};
  RETURN_IF_ERROR(Read("SELECT text FROM agreement", [&](const Statement& row) {
    if (table.contains("agreement_sha256")) table["rows"] = "more than one";
    table["agreement_sha256"] = HexOf(Sha256(row.Text(0)));
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(Read("SELECT place, name FROM site ORDER BY place", [&](const Statement& row) {
    const bool in_place = row.Int(0) == static_cast<int64_t>(table["sites"].size());
    table["sites"].push_back(in_place ? std::string(row.Text(1)) : absl::StrCat(std::string(row.Text(1)), " at ", row.Int(0)));
    return absl::OkStatus();
  }));
  if (!table.contains("agreement_sha256")) return std::optional(MissingRow("agreement"));
  if (table.contains("rows")) return std::optional<std::string>("the table agreement has more than one row");
  const json body = BodyOf(entry);
  if (auto difference = Compare({{"agreement_sha256", body.value("agreement_sha256", json())}}, table, "agreement"))
    return difference;
  return Compare({{"sites", body.value("sites", json())}}, table, "site");
}

Status Facts::AddRowsWithoutEntry(std::vector<AuditFinding>& findings) const {
  const auto note = [&](bool known, const std::string& table, const std::string& what) {
    if (!known) findings.push_back({0, 0, absl::StrCat("the table ", table, " has a row (", what, ") that the log does not")});
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(Read("SELECT site FROM enrolment", [&](const Statement& row) {
    const std::string site = log_.NameOf(row.Int(0));
    const auto entry = log_.enrolled.find(site);
    return note(entry != log_.enrolled.end() && !log_.Left(site, entry->second), "enrolment", site);
  }));
  RETURN_IF_ERROR(Read("SELECT round, attempt, site FROM contribution", [&](const Statement& row) {
    const std::string site = log_.NameOf(row.Int(2));
    const auto entry = log_.uploads.find({row.Int(0), row.Int(1), site});
    return note(entry != log_.uploads.end() && !log_.Left(site, entry->second), "contribution",
                absl::StrCat("round ", row.Int(0), ", attempt ", row.Int(1), ", ", site));
  }));
  RETURN_IF_ERROR(Read("SELECT round, attempt, site FROM left_out", [&](const Statement& row) {
    return note(log_.left_out.contains({row.Int(0), row.Int(1), log_.NameOf(row.Int(2))}), "left_out",
                absl::StrCat("round ", row.Int(0), ", attempt ", row.Int(1), ", ", log_.NameOf(row.Int(2))));
  }));
  RETURN_IF_ERROR(Read("SELECT round, attempt FROM attempt", [&](const Statement& row) {
    return note(log_.opened_ms.contains({row.Int(0), row.Int(1)}), "attempt",
                absl::StrCat("round ", row.Int(0), ", attempt ", row.Int(1)));
  }));
  RETURN_IF_ERROR(Read("SELECT text FROM agreement", [&](const Statement&) { return note(log_.begun, "agreement", "the run's"); }));
  for (const char* table : {"published", "published_to", "contributor"})
    RETURN_IF_ERROR(Read(absl::StrCat("SELECT DISTINCT round FROM ", table), [&](const Statement& row) {
      return note(log_.contributors.contains(row.Int(0)), table, absl::StrCat("round ", row.Int(0)));
    }));
  RETURN_IF_ERROR(
      Read("SELECT cause FROM ending", [&](const Statement& row) { return note(log_.ended, "ending", std::string(row.Text(0))); }));
  RETURN_IF_ERROR(Read("SELECT cause FROM pause",
                       [&](const Statement& row) { return note(log_.paused > log_.resumed, "pause", std::string(row.Text(0))); }));
  RETURN_IF_ERROR(Read("SELECT id FROM departure", [&](const Statement& row) {
    return note(row.Int(0) <= static_cast<int64_t>(log_.departures.size()), "departure", absl::StrCat("number ", row.Int(0)));
  }));
  RETURN_IF_ERROR(Read("SELECT number FROM start", [&](const Statement& row) {
    return note(log_.starts.contains(row.Int(0)), "start", absl::StrCat("number ", row.Int(0)));
  }));
  RETURN_IF_ERROR(Read("SELECT id FROM request WHERE outcome IS NOT NULL", [&](const Statement& row) {
    return note(log_.requests.contains(row.Int(0)), "request", absl::StrCat("number ", row.Int(0)));
  }));
  RETURN_IF_ERROR(Read("SELECT round, site, name FROM metric", [&](const Statement& row) {
    const LogReader::Metric metric{row.Int(0), log_.NameOf(row.Int(1)), std::string(row.Text(2))};
    return note(log_.metrics.contains(metric), "metric",
                absl::StrCat("round ", row.Int(0), ", ", std::get<1>(metric), ", ", std::get<2>(metric)));
  }));
  return absl::OkStatus();
}

Difference Facts::Enrolment(const AuditEntry& entry) const {
  if (log_.Left(entry.subject, entry.sequence)) return kSame;
  std::optional<std::string> difference = MissingRow("enrolment");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT train_examples, name FROM enrolment WHERE site = ", log_.PlaceOf(entry.subject)),
                       [&](const Statement& row) {
                         const json table = {{"train_examples", row.Int(0)}, {"name", std::string(row.Text(1))}};
                         difference = Compare(BodyOf(entry), table, "enrolment");
                         return absl::OkStatus();
                       }));
  return difference;
}

Difference Facts::Opened(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  const LogReader::Attempt attempt(NumberIn(body, "round"), NumberIn(body, "attempt"));
  std::optional<std::string> difference = MissingRow("attempt");
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT opened_ms, abandoned, cohort FROM attempt WHERE round = ", attempt.first,
                        " AND attempt = ", attempt.second),
           [&](const Statement& row) {
             const auto opened = log_.opened_ms.find(attempt);
             const json expected = {{"opened_ms", opened == log_.opened_ms.end() ? -1 : opened->second},
                                    {"cohort", TextOf(body, "cohort")}};
             difference = Compare(expected, {{"opened_ms", row.Int(0)}, {"cohort", std::string(row.Text(2))}}, "attempt");
             if (!difference && !row.IsNull(1) && !log_.abandoned.contains(attempt))
               difference = "the table attempt says that it was abandoned, the log does not";
             return absl::OkStatus();
           }));
  return difference;
}

Difference Facts::Abandoned(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  std::optional<std::string> difference = MissingRow("attempt");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT abandoned FROM attempt WHERE round = ", NumberIn(body, "round"),
                                    " AND attempt = ", NumberIn(body, "attempt")),
                       [&](const Statement& row) {
                         const json reason = row.IsNull(0) ? json() : json(std::string(row.Text(0)));
                         difference = Compare(body, {{"reason", reason}}, "attempt");
                         return absl::OkStatus();
                       }));
  return difference;
}

Difference Facts::Uploaded(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  const int64_t round = NumberIn(body, "round"), attempt = NumberIn(body, "attempt");
  if (log_.Left(entry.subject, entry.sequence)) return kSame;
  std::optional<std::string> difference = MissingRow("contribution");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT weight, size, pieces, counted FROM contribution WHERE round = ", round,
                                    " AND attempt = ", attempt, " AND site = ", log_.PlaceOf(entry.subject)),
                       [&](const Statement& row) {
                         json table = {{"weight", row.Double(0)}, {"words", row.Int(1)}, {"content_sha256", nullptr}};
                         if (const auto chunks = ChunksFrom(row.Int(1), row.Blob(2)); chunks.ok())
                           table["content_sha256"] = ContentHash(*chunks);
                         difference = Compare(body, table, "contribution");
                         const bool counts = log_.Counts(round, attempt, entry.subject);
                         if (!difference && row.Int(3) != (counts ? 1 : 0))
                           difference = absl::StrCat("the table contribution says that it ", counts ? "does not count" : "counts",
                                                     ", the log that it ", counts ? "does" : "does not");
                         return absl::OkStatus();
                       }));
  return difference;
}

Difference Facts::LeftOut(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  std::optional<std::string> difference = MissingRow("left_out");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT reason FROM left_out WHERE round = ", NumberIn(body, "round"),
                                    " AND attempt = ", NumberIn(body, "attempt"), " AND site = ", log_.PlaceOf(entry.subject)),
                       [&](const Statement& row) {
                         difference = Compare(body, {{"reason", std::string(row.Text(0))}}, "left_out");
                         return absl::OkStatus();
                       }));
  return difference;
}

Difference Facts::Closed(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  const int64_t round = NumberIn(body, "round");
  json table;
  const auto content = [](const Statement& row, int size) -> json {
    const auto chunks = ChunksFrom(row.Int(size), row.Blob(size + 1));
    return chunks.ok() ? json(ContentHash(*chunks)) : json();
  };
  const bool of_sites = body.contains("content_sha256_of_site");
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT total_weight, (SELECT coalesce(max(round), 0) FROM published WHERE round < ", round,
                                    "), size, pieces FROM published WHERE round = ", round),
                       [&](const Statement& row) {
                         table = {{"total_weight", row.Double(0)},
                                  {"parent", row.Int(1)},
                                  {"content_sha256", content(row, 2)},
                                  {"words", row.Int(2)},
                                  {"empty", row.Int(2) == 0 && row.Blob(3).empty()}};
                         return absl::OkStatus();
                       }));
  if (table.is_null()) return std::optional(MissingRow("published"));
  if (auto difference = Compare(body, table, "published")) return difference;
  if (of_sites && table["empty"] != true)
    return std::optional<std::string>("the table published has values where each site reads its own");
  table = {{"content_sha256_of_site", json::object()}, {"words_of_site", json::object()}};
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT site, size, pieces FROM published_to WHERE round = ", round), [&](const Statement& row) {
        table["content_sha256_of_site"][log_.NameOf(row.Int(0))] = content(row, 1);
        table["words_of_site"][log_.NameOf(row.Int(0))] = row.Int(1);
        return absl::OkStatus();
      }));
  const json to = {{"content_sha256_of_site", body.value("content_sha256_of_site", json::object())},
                   {"words_of_site", body.value("words_of_site", json::object())}};
  if (auto difference = Compare(to, table, "published_to")) return difference;
  table = {{"contributors", json::object()}, {"moved", json::object()}};
  const json logged = body.value("contributors", json::object());
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT site, of_round, weight, moved FROM contributor WHERE round = ", round), [&](const Statement& row) {
        const std::string site = log_.NameOf(row.Int(0));
        json of = {{"round", row.Int(1)}};
        if (!row.IsNull(2)) of["weight"] = row.Double(2);
        if (!row.IsNull(3)) table["moved"][site] = row.Double(3);
        table["contributors"][site] = of;
        return absl::OkStatus();
      }));
  // The table has no place for how far those moved the sum who are no longer in it.
  json entry_of = {{"contributors", logged}, {"moved", json::object()}};
  const json moved = body.value("moved", json::object());
  for (const auto& [site, distance] : moved.items())
    if (logged.contains(site)) entry_of["moved"][site] = distance;
  return Compare(entry_of, table, "contributor");
}

Difference Facts::Ended(const AuditEntry& entry) const {
  std::optional<std::string> difference = MissingRow("ending");
  RETURN_IF_ERROR(Read("SELECT cause FROM ending", [&](const Statement& row) {
    difference = Compare(BodyOf(entry), {{"cause", std::string(row.Text(0))}}, "ending");
    return absl::OkStatus();
  }));
  return difference;
}

Difference Facts::Departed(const AuditEntry& entry) const {
  const auto place = std::find(log_.departures.begin(), log_.departures.end(), entry.sequence) - log_.departures.begin();
  std::optional<std::string> difference = MissingRow("departure");
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT site, cause, time_ms FROM departure WHERE id = ", place + 1), [&](const Statement& row) {
        json body = BodyOf(entry);
        body["site"] = entry.subject;
        body["time_ms"] = entry.time_ms;
        const json table = {{"site", log_.NameOf(row.Int(0))}, {"cause", std::string(row.Text(1))}, {"time_ms", row.Int(2)}};
        difference = Compare(body, table, "departure");
        return absl::OkStatus();
      }));
  return difference;
}

Difference Facts::Metrics(const AuditEntry& entry) const {
  const json body = BodyOf(entry), values = body.value("values", json::object());
  const int64_t round = NumberIn(body, "round");
  json table = json::object();
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT name, value FROM metric WHERE round = ", round, " AND site = ", log_.PlaceOf(entry.subject)),
           [&](const Statement& row) {
             table[std::string(row.Text(0))] = row.Double(1);
             return absl::OkStatus();
           }));
  for (const auto& [name, value] : values.items()) {
    const auto last = log_.metrics.find({round, entry.subject, name});
    if (last == log_.metrics.end() || last->second != entry.sequence) continue;  // said again later
    if (!table.contains(name)) return std::optional(absl::StrCat(MissingRow("metric"), ": ", QuoteForMessage(name)));
    if (auto difference = Compare({{name, value}}, table, "metric")) return difference;
  }
  return kSame;
}

Difference Facts::Paused(const AuditEntry& entry) const {
  if (entry.sequence != log_.paused || log_.resumed > log_.paused) return kSame;
  std::optional<std::string> difference = MissingRow("pause");
  RETURN_IF_ERROR(Read("SELECT cause, time_ms, for_sites FROM pause", [&](const Statement& row) {
    json body = BodyOf(entry);
    body["time_ms"] = entry.time_ms;
    const json table = {{"cause", std::string(row.Text(0))}, {"time_ms", row.Int(1)}, {"for_sites", row.Int(2)}};
    difference = Compare(body, table, "pause");
    return absl::OkStatus();
  }));
  return difference;
}

Difference Facts::Started(const AuditEntry& entry) const {
  json body = BodyOf(entry);
  body["time_ms"] = entry.time_ms;
  body["revoked"] = TextOf(body, "revoked");
  std::optional<std::string> difference = MissingRow("start");
  RETURN_IF_ERROR(Read(
      absl::StrCat("SELECT instance, time_ms, program, roster_sha256, revoked FROM start WHERE number = ", NumberIn(body, "start")),
      [&](const Statement& row) {
        const json table = {{"instance", std::string(row.Text(0))},
                            {"time_ms", row.Int(1)},
                            {"program", std::string(row.Text(2))},
                            {"roster_sha256", std::string(row.Text(3))},
                            {"revoked", std::string(row.Text(4))}};
        difference = Compare(body, table, "start");
        return absl::OkStatus();
      }));
  return difference;
}

Difference Facts::Requested(const AuditEntry& entry) const {
  const json body = BodyOf(entry);
  std::optional<std::string> difference = MissingRow("request");
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT outcome, kind, site, cause, time_ms FROM request WHERE id = ", NumberIn(body, "request")),
           [&](const Statement& row) {
             const json table = {{"outcome", row.IsNull(0) ? json() : json(std::string(row.Text(0)))},
                                 {"kind", std::string(row.Text(1))},
                                 {"site", std::string(row.Text(2))},
                                 {"cause", std::string(row.Text(3))},
                                 {"asked_ms", row.Int(4)}};
             difference = Compare(body, table, "request");
             return absl::OkStatus();
           }));
  return difference;
}

}  // namespace

Status AddServerFacts(Database& database, const LogReader& log, AuditEvidence& evidence) {
  const auto facts = std::make_shared<Facts>(database, log);
  RETURN_IF_ERROR(facts->AddRowsWithoutEntry(evidence.findings));
  using Check = Difference (Facts::*)(const AuditEntry&) const;
  constexpr std::pair<const char*, Check> kChecks[] = {{"run", &Facts::Run},
                                                       {"enrolment", &Facts::Enrolment},
                                                       {"round.open", &Facts::Opened},
                                                       {"round.abandoned", &Facts::Abandoned},
                                                       {"upload", &Facts::Uploaded},
                                                       {"left_out", &Facts::LeftOut},
                                                       {kClosedKind, &Facts::Closed},
                                                       {"run.ended", &Facts::Ended},
                                                       {"departure", &Facts::Departed},
                                                       {"metrics", &Facts::Metrics},
                                                       {"run.paused", &Facts::Paused},
                                                       {"server.start", &Facts::Started},
                                                       {"operator", &Facts::Requested}};
  for (const auto& [kind, check] : kChecks)
    evidence.checks.push_back({kind, [facts, check = check](const AuditEntry& entry) { return ((*facts).*check)(entry); }});
  return absl::OkStatus();
}

}  // namespace fedalt
