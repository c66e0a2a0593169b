// A look at a federation's server from outside: what its directory holds, for people and programs. Changes nothing, and works while
// the server runs as well as when it does not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "fed/server_journal.h"
#include "fed/waiting.h"
#include "store/database.h"

namespace fedalt {

struct SiteView {
  std::string name;
  bool enrolled = false;
  int64_t train_examples = 0;
  bool revoked = false;                       ///< its keys, by the roster of the server's last start
  bool in_cohort = false;                     ///< was drawn for the open attempt
  bool contributed = false, awaited = false;  ///< in the open attempt; awaited also for enrolling
  std::optional<std::string> left_out;        ///< why its contribution does not count in the open attempt
  int64_t last_round = 0;                     ///< of its last contribution that counts; 0: none
  double last_weight = 0.0;                   ///< of that one
  std::optional<std::string> left;            ///< the cause, if it takes part no longer
  int64_t adopted_round = 0;                  ///< the last publication that it countersigned; 0: none
  std::optional<int64_t> heard_ms;            ///< when the server last heard of it
  std::optional<int64_t> not_after_s;         ///< the end of its certificate, as it was seen last
};

enum class RunPhase { kEnrolling, kCollecting, kBetweenRounds, kPaused, kEnded };

struct RunState {
  std::string run;
  RunPhase phase = RunPhase::kEnrolling;
  int64_t since_ms = 0;                ///< Unix time, as all times here
  std::string cause;                   ///< of the pause or the end
  int64_t round = 0, attempt = 0;      ///< the open attempt; 0: none is open
  std::optional<int64_t> deadline_ms;  ///< of enrolling or of the open attempt, if the server has told it
  std::vector<SiteView> sites;
  bool server_at_work = false;  ///< some process holds the directory
  int64_t starts = 0, last_start_ms = 0;
  int64_t published_round = 0, published_ms = 0;  ///< the last one; 0: none
  int64_t log_entries = 0;
  uint64_t signed_entries = 0;  ///< of the log, by the server; signatures are not checked here
  int64_t requests_waiting = 0;
  WaitsFor waits_for = WaitsFor::kNextStep;
  std::string waiting_text;                    ///< the same with names, as the server tells its sites
  std::string program, roster_sha256;          ///< of the last start
  std::map<std::string, int64_t> not_after_s;  ///< end of each certificate that the server has seen, by whose it is
};

struct VersionView {
  PublishedObject object;
  int64_t parent = 0;  ///< the round published before; 0: none
  int64_t time_ms = 0;
  std::string run;
  std::string content;                             ///< what the audit log says about it: JSON
  std::string record;                              ///< digest of the round's record, in hex
  std::vector<std::string> adopted;                ///< sites that countersigned it
  std::map<std::string, std::string> refused;      ///< sites that did not adopt it, and why
  std::map<int64_t, int64_t> parent_contributors;  ///< of the parent: site -> the round of its contribution
};

struct AttemptView {
  int64_t round = 0, attempt = 0, opened_ms = 0, contributions = 0;
  bool published = false;
  std::optional<std::string> abandoned;  ///< the reason
};

struct ContributionView {
  SiteContribution contribution;
  enum class Use { kOpen, kCounts, kReplaced, kAbandoned } use = Use::kOpen;
};

struct RequestView {
  int64_t id = 0, time_ms = 0;
  std::string kind, site, cause;
  std::optional<std::string> outcome;  ///< empty: not yet
};

struct MetricView {
  int64_t round = 0, site = 0;
  std::string name;
  double value = 0.0;
};

/// One state of the directory: what others write later is not seen. Errors of all calls: kOutput (the database cannot be read).
class RunView {
 public:
  /// Errors: also kUsage (there is no such directory, or it is not a server's).
  static StatusOr<std::unique_ptr<RunView>> Open(const std::filesystem::path& directory);

  const std::vector<std::string>& sites() const { return sites_; }
  /// "site-7"; the number where the run has no such site.
  std::string NameOf(int64_t site) const;

  StatusOr<RunState> State();
  /// Rounds that published something, ascending.
  StatusOr<std::vector<int64_t>> Published();
  /// Precondition: the round is one of Published().
  StatusOr<VersionView> Version(int64_t round);
  StatusOr<std::vector<AttemptView>> Attempts();
  StatusOr<std::vector<ContributionView>> Contributions();
  StatusOr<std::vector<RequestView>> Requests();
  StatusOr<std::vector<MetricView>> Metrics();
  /// What everybody, or `site`, reads of a version, put together from its pieces, each checked against its hash; the hash of all is
  /// compared with the audit log's. Errors: kIntegrity (the log names another content), kOutput (a piece is missing or damaged).
  StatusOr<at::Tensor> Values(const VersionView& version, const ChunkList& chunks, const std::string& site);

 private:
  RunView(std::filesystem::path directory, std::unique_ptr<Database> database, Transaction state)
      : directory_(std::move(directory)), database_(std::move(database)), state_(std::move(state)) {}
  Status Read(const std::string& sql, const std::function<Status(const Statement&)>& use);
  using UseSite = std::function<void(int64_t place, SiteView& site, const Statement& row)>;
  /// The first column is the site's place; rows of sites that there are not are passed over.
  Status ReadOfSites(RunState& state, const std::string& sql, const UseSite& use);
  Status ReadOpenAttempt(RunState& state, ServerPosition& position, Surroundings& around);
  Status ReadStart(RunState& state, Surroundings& around);
  Status ReadSites(RunState& state, ServerPosition& position);
  Status ReadLog(RunState& state);
  /// The places of the sites that a list of names in JSON has; "all": everybody.
  std::vector<int64_t> PlacesIn(std::string_view names) const;
  void TellWaiting(RunState& state, const ServerPosition& position, Surroundings around) const;

  std::filesystem::path directory_;
  std::unique_ptr<Database> database_;
  Transaction state_;
  std::string run_;
  std::vector<std::string> sites_;  // names, by place
};

}  // namespace fedalt
