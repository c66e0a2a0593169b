#include "store/log_reader.h"

#include <algorithm>
#include <utility>

#include "base/strict_json.h"

namespace fedalt {

using nlohmann::json;

json BodyOf(const AuditEntry& entry) {
  StatusOr<json> body = ParseJson(entry.body, {.kind = ErrorKind::kIntegrity});
  return body.ok() && body->is_object() ? *std::move(body) : json::object();
}

int64_t NumberIn(const json& body, const char* name) {
  const auto found = body.find(name);
  return found != body.end() && found->is_number_integer() ? found->get<int64_t>() : -1;
}

std::string TextIn(const json& body, const char* name) {
  const auto found = body.find(name);
  return found != body.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string Shown(const json& value) {
  return QuoteForMessage(value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true, json::error_handler_t::replace));
}

std::optional<std::string> Compare(const json& body, const json& table, const std::string& name) {
  for (const auto& [key, value] : body.items()) {
    if (!table.contains(key) || table[key] == value) continue;
    return absl::StrCat("the table ", name, " has ", key, " ", Shown(table[key]), " where the log has ", Shown(value));
  }
  return std::nullopt;
}

std::string MissingRow(const std::string& table) {
  return absl::StrCat("its row in the table ", table, " is missing");
}

void LogReader::TakeRound(const AuditEntry& entry, const json& body) {
  const int64_t round = NumberIn(body, "round"), attempt = NumberIn(body, "attempt");
  if (entry.kind == "upload") {
    uploads[{round, attempt, entry.subject}] = entry.sequence;
    sent[{round, attempt, entry.subject}] = body;
  }
  if (entry.kind == "left_out") left_out.insert({round, attempt, entry.subject});
  if (entry.kind == "round.open") {
    attempts[round] = std::max(attempts[round], attempt);
    open_ = {round, attempt};
    opened_ms[open_] = NumberIn(body, "opened_ms");
  }
  if (entry.kind == "round.abandoned") abandoned.insert({round, attempt});
  if (entry.kind == "round.abandoned" || entry.kind == kClosedKind) open_ = {};
  if (entry.kind == kClosedKind) {
    auto& of = contributors[round];
    if (body.contains("contributors") && body["contributors"].is_object())
      for (const auto& [site, value] : body["contributors"].items()) of[site] = value;
  }
  if (entry.kind == "countersignature" || entry.kind == "publication.refused") adoptions[{round, entry.subject}] = entry.sequence;
  if (entry.kind == "metrics" && body.contains("values") && body["values"].is_object())
    for (const auto& [name, value] : body["values"].items()) metrics[{round, entry.subject, name}] = entry.sequence;
}

void LogReader::Take(const AuditEntry& entry) {
  const json body = BodyOf(entry);
  TakeRound(entry, body);
  if (entry.kind == "run" && body.contains("sites") && body["sites"].is_array())
    for (const json& site : body["sites"]) sites.push_back(site.is_string() ? site.get<std::string>() : "");
  if (entry.kind == "enrolment") enrolled[entry.subject] = entry.sequence;
  if (entry.kind == "departure") {
    departed[entry.subject] = entry.sequence;
    departures.push_back(entry.sequence);
  }
  if (entry.kind == "server.start") starts.insert(NumberIn(body, "start"));
  if (entry.kind == "operator") requests.insert(NumberIn(body, "request"));
  if (entry.kind == "run.paused") paused = entry.sequence;
  if (entry.kind == "run.resumed") {
    resumed = entry.sequence;
    if (open_ != Attempt()) opened_ms[open_] = NumberIn(body, "opened_ms");
  }
  begun = begun || entry.kind == "run";
  ended = ended || entry.kind == "run.ended";
}

bool LogReader::Left(const std::string& site, int64_t since) const {
  const auto found = departed.find(site);
  return found != departed.end() && found->second > since;
}

bool LogReader::Counts(int64_t round, int64_t attempt, const std::string& site) const {
  const auto closed = contributors.find(round);
  const auto last = attempts.find(round);
  if (closed == contributors.end() || last == attempts.end() || last->second != attempt) return false;
  const auto found = closed->second.find(site);
  return found != closed->second.end() && found->second.is_object() && NumberIn(found->second, "round") == round;
}

std::string LogReader::NameOf(int64_t site) const {
  const bool known = site >= 0 && site < static_cast<int64_t>(sites.size());
  return known ? sites[static_cast<size_t>(site)] : absl::StrCat("number ", site);
}

int64_t LogReader::PlaceOf(const std::string& site) const {
  const auto found = std::find(sites.begin(), sites.end(), site);
  return found == sites.end() ? -1 : found - sites.begin();
}

}  // namespace fedalt
