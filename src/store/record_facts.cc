#include "store/record_facts.h"

#include <map>
#include <memory>
#include <utility>

#include "base/strict_json.h"
#include "fed/round_record.h"

namespace fedalt {
namespace {

using nlohmann::json;
using Difference = StatusOr<std::optional<std::string>>;

struct Stored {
  SignedRecord record;
  std::optional<RoundRecord> parsed;  // empty: it cannot be read
};
using Records = std::map<int64_t, Stored>;

std::string NameOf(int64_t round) {
  return absl::StrCat("the record of round ", round);
}

StatusOr<Records> ReadRecords(Database& database, const std::string& table) {
  Records records;
  ASSIGN_OR_RETURN(Statement rows, database.Prepare("SELECT round, record, signature FROM " + table));
  RETURN_IF_ERROR(ForEachRow(rows, [&](const Statement& row) {
    Stored& stored = records[row.Int(0)];
    stored.record = {std::string(row.Blob(1)), std::string(row.Blob(2))};
    if (auto parsed = ParseRecord(stored.record.bytes); parsed.ok()) stored.parsed = *std::move(parsed);
    return absl::OkStatus();
  }));
  return records;
}

/// Whether each record is of its round and follows the one before. `is_first`: whether one may begin without.
void CheckChain(const Records& records, const std::string& run, const std::function<bool(const RoundRecord&)>& is_first,
                AuditEvidence& evidence) {
  const auto add = [&](std::string text) { evidence.findings.push_back({0, 0, std::move(text)}); };
  for (const auto& [round, stored] : records) {
    if (!stored.parsed) {
      add(absl::StrCat(NameOf(round), " cannot be read; it was changed"));
      continue;
    }
    const RoundRecord& record = *stored.parsed;
    if (record.round != round || record.run != run)
      add(absl::StrCat(NameOf(round), " is that of round ", record.round, " of ", QuoteForMessage(record.run),
                       "; it was exchanged"));
    if (is_first(record)) continue;
    const auto before = records.find(record.previous_round);
    if (before == records.end()) {
      add(absl::StrCat(NameOf(round), " follows that of round ", record.previous_round, ", which is missing; it was removed"));
    } else if (RecordDigest(before->second.record.bytes) != record.previous) {
      add(absl::StrCat(NameOf(round), " follows another than ", NameOf(record.previous_round), " as it is now; one was changed"));
    }
  }
}

/// What the entry that closes a round and its record must both say.
std::optional<std::string> CompareClosing(const AuditEntry& entry, const RoundRecord& record, const LogReader& log) {
  const json body = BodyOf(entry);
  json of_record = {{"total_weight", record.total_weight}, {"parent", record.previous_round}, {"contributors", json::object()}};
  if (static_cast<int64_t>(record.log.size) != entry.sequence)
    return absl::StrCat(NameOf(record.round), " is of a log of ", record.log.size, " entries");
  for (const RecordedContent& of : record.contents) {
    if (of.site.empty()) of_record["content_sha256"] = of.content;
    if (!of.site.empty()) of_record["content_sha256_of_site"][of.site] = of.content;
  }
  json logged = body;
  json& contributors = logged["contributors"];
  for (auto& [site, of] : contributors.items())
    if (of.is_object()) of.erase("weight");  // there it is the aged one
  for (const RecordedContribution& of : record.contributors) {
    of_record["contributors"][of.site] = {{"round", of.round}};
    const auto last = log.attempts.find(of.round);
    const auto sent = log.sent.find({of.round, last == log.attempts.end() ? 0 : last->second, of.site});
    const json counted = {{"weight", of.weight}, {"content_sha256", of.content}};
    if (sent == log.sent.end())
      return absl::StrCat(NameOf(record.round), " counts an upload of ", Shown(of.site), " that the log has not");
    for (const auto& [name, value] : counted.items())
      if (sent->second.value(name, json()) != value)
        return absl::StrCat(NameOf(record.round), " has ", name, " ", Shown(value), " of ", Shown(of.site), ", the log another");
  }
  for (const auto& [name, value] : of_record.items())
    if (logged.value(name, json()) != value)
      return absl::StrCat(NameOf(record.round), " has ", name, " ", Shown(value), " where the log has ",
                          Shown(logged.value(name, json())));
  return std::nullopt;
}

struct AdoptionRow {
  std::string signature, refused;
};
using Adoptions = std::map<std::pair<int64_t, std::string>, AdoptionRow>;

Difference CompareAdoption(const AuditEntry& entry, const LogReader& log, const Adoptions& adoptions) {
  const json body = BodyOf(entry);
  const std::pair key(NumberIn(body, "round"), entry.subject);
  const std::optional<std::string> same;
  if (const auto last = log.adoptions.find(key); last == log.adoptions.end() || last->second != entry.sequence) return same;
  const auto found = adoptions.find(key);
  if (found == adoptions.end()) return std::optional(MissingRow("adoption"));
  const auto& [signature, refused] = found->second;
  const bool adopted = entry.kind == "countersignature";
  if (adopted != refused.empty() || adopted == signature.empty())
    return std::optional(absl::StrCat("the table adoption has ", Shown(refused), " where the log has ", Shown(entry.kind)));
  if (!adopted) return Compare(body, {{"reason", refused}}, "adoption");
  return Compare(body, {{"signature_sha256", HexOf(Sha256(signature))}}, "adoption");
}

StatusOr<Adoptions> ReadAdoptions(Database& database, const LogReader& log) {
  Adoptions adoptions;
  ASSIGN_OR_RETURN(Statement rows, database.Prepare("SELECT round, site, signature, refused FROM adoption"));
  RETURN_IF_ERROR(ForEachRow(rows, [&](const Statement& row) {
    adoptions[{row.Int(0), log.NameOf(row.Int(1))}] = {std::string(row.Blob(2)), std::string(row.Text(3))};
    return absl::OkStatus();
  }));
  return adoptions;
}

}  // namespace

Status AddServerRecords(Database& database, const std::string& run, const LogReader& log, AuditEvidence& evidence) {
  ASSIGN_OR_RETURN(Records read, ReadRecords(database, "round_record"));
  ASSIGN_OR_RETURN(Adoptions adopted, ReadAdoptions(database, log));
  CheckChain(
      read, run, [](const RoundRecord& record) { return record.previous_round == 0; }, evidence);
  for (const auto& [round, stored] : read) {
    if (!log.contributors.contains(round))
      evidence.findings.push_back(
          {0, 0, absl::StrCat("the table round_record has a row (round ", round, ") that the log does not")});
    if (stored.parsed)
      evidence.heads.push_back({stored.parsed->log, "server", stored.record.bytes, stored.record.signature, NameOf(round)});
  }
  for (const auto& [key, adoption] : adopted) {
    const auto& [round, site] = key;
    if (!log.adoptions.contains(key))
      evidence.findings.push_back(
          {0, 0, absl::StrCat("the table adoption has a row (round ", round, ", ", site, ") that the log does not")});
    const auto record = read.find(round);
    if (record == read.end() || !record->second.parsed || adoption.signature.empty()) continue;
    evidence.heads.push_back({record->second.parsed->log, site, AdoptionMessage(RecordDigest(record->second.record.bytes)),
                              adoption.signature, absl::StrCat("the countersignature of round ", round)});
  }
  const auto records = std::make_shared<const Records>(std::move(read));
  const auto adoptions = std::make_shared<const Adoptions>(std::move(adopted));
  const auto shared = std::make_shared<const LogReader>(log);
  evidence.checks.push_back({kClosedKind, [records, shared](const AuditEntry& entry) -> Difference {
                               const auto found = records->find(NumberIn(BodyOf(entry), "round"));
                               if (found == records->end()) return std::optional(MissingRow("round_record"));
                               if (!found->second.parsed) return std::optional<std::string>();  // said already
                               return CompareClosing(entry, *found->second.parsed, *shared);
                             }});
  for (const char* kind : {"countersignature", "publication.refused"})
    evidence.checks.push_back(
        {kind, [shared, adoptions](const AuditEntry& entry) { return CompareAdoption(entry, *shared, *adoptions); }});
  return absl::OkStatus();
}

Status AddSiteRecords(Database& database, const std::string& run, const SignatureCheck& check, AuditEvidence& evidence) {
  std::map<int64_t, std::string> shown;                 // round -> digest in the log
  std::map<int64_t, std::pair<int64_t, json>> uploads;  // round -> the last entry, its body
  std::set<int64_t> first;
  RETURN_IF_ERROR(ReadEntries(database, 1, "", [&](const AuditEntry& entry) {
    const json body = BodyOf(entry);
    const int64_t round = NumberIn(body, "round");
    if (entry.kind == "server.record") shown[round] = TextIn(body, "record_sha256");
    if (entry.kind == "upload") uploads[round] = {entry.sequence, body};
    if (entry.kind == "record.first") first.insert(round);
    return absl::OkStatus();
  }));
  const auto add = [&](int64_t entry, std::string text) { evidence.findings.push_back({entry, entry, std::move(text)}); };
  ASSIGN_OR_RETURN(const Records records, ReadRecords(database, "server_record"));
  CheckChain(
      records, run, [&](const RoundRecord& record) { return record.previous_round == 0 || first.contains(record.round); },
      evidence);
  for (const auto& [round, stored] : records) {
    const auto logged = shown.find(round);
    if (logged == shown.end()) add(0, absl::StrCat("the table server_record has a row (round ", round, ") that the log does not"));
    if (logged != shown.end() && logged->second != HexOf(RecordDigest(stored.record.bytes)))
      add(0, absl::StrCat(NameOf(round), " does not have the digest that the log has; one of them was changed"));
    if (!check("server", stored.record.bytes, stored.record.signature))
      add(0, absl::StrCat(NameOf(round), ": the signature of the server is not valid; record or signature was changed"));
  }
  for (const auto& [round, digest] : shown)
    if (!records.contains(round)) add(0, absl::StrCat(NameOf(round), " is missing; it was removed"));
  std::map<int64_t, json> sent;
  ASSIGN_OR_RETURN(Statement rows, database.Prepare("SELECT round, weight, content FROM sent"));
  RETURN_IF_ERROR(ForEachRow(rows, [&](const Statement& row) {
    sent[row.Int(0)] = {{"weight", row.Double(1)}, {"content_sha256", std::string(row.Text(2))}};
    return absl::OkStatus();
  }));
  for (const auto& [round, table] : sent)
    if (!uploads.contains(round)) add(0, absl::StrCat("the table sent has a row (round ", round, ") that the log does not"));
  for (const auto& [round, upload] : uploads) {
    const auto found = sent.find(round);
    const auto difference = found == sent.end() ? std::optional(MissingRow("sent")) : Compare(upload.second, found->second, "sent");
    if (difference) add(upload.first, absl::StrCat("entry ", upload.first, " (\"upload\"): ", *difference));
  }
  return absl::OkStatus();
}

}  // namespace fedalt
