// What a server's audit log says, as far as later entries bear on earlier ones: each row of a table is compared with the last entry
// that is about it (store/server_facts.h).
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "store/audit_log.h"

namespace fedalt {

/// The entry's body; an empty object where it is none, or one that no fedalt writes (nested without end).
nlohmann::json BodyOf(const AuditEntry& entry);
/// -1 where there is no such number.
int64_t NumberIn(const nlohmann::json& body, const char* name);
/// Empty where there is no such text.
std::string TextIn(const nlohmann::json& body, const char* name);
/// Shortened and printable.
std::string Shown(const nlohmann::json& value);
/// The first member of the entry's body that the table has otherwise.
std::optional<std::string> Compare(const nlohmann::json& body, const nlohmann::json& table, const std::string& name);
std::string MissingRow(const std::string& table);

struct LogReader {
  using Upload = std::tuple<int64_t, int64_t, std::string>;      // round, attempt, site
  using Metric = std::tuple<int64_t, std::string, std::string>;  // round, site, name
  using Attempt = std::pair<int64_t, int64_t>;                   // round, attempt

  std::vector<std::string> sites;                     // names, by place
  std::map<std::string, int64_t> enrolled, departed;  // site -> its last entry of that kind
  std::vector<int64_t> departures;                    // all of them
  std::map<Upload, int64_t> uploads;                  // -> the last entry about it
  std::map<Upload, nlohmann::json> sent;              // -> its body
  std::map<int64_t, int64_t> attempts;                // round -> its last attempt
  std::map<Attempt, int64_t> opened_ms;               // since when it had its time
  std::set<Upload> left_out;
  std::set<Attempt> abandoned;                                            //
  std::map<int64_t, std::map<std::string, nlohmann::json>> contributors;  // round that was closed -> site -> its entry
  std::map<std::pair<int64_t, std::string>, int64_t> adoptions;           // round, site -> the last entry
  std::map<Metric, int64_t> metrics;                                      // -> the last entry with it
  std::set<int64_t> starts, requests;
  int64_t paused = 0, resumed = 0;  // the last entries
  bool begun = false, ended = false;

  void Take(const AuditEntry& entry);
  /// Whether the site left after this entry.
  bool Left(const std::string& site, int64_t since) const;
  /// Whether the log says that this upload entered the sum of its round.
  bool Counts(int64_t round, int64_t attempt, const std::string& site) const;
  std::string NameOf(int64_t site) const;
  int64_t PlaceOf(const std::string& site) const;

 private:
  void TakeRound(const AuditEntry& entry, const nlohmann::json& body);
  Attempt open_ = {};  // {0, 0}: none
};

}  // namespace fedalt
