#include "store/run_view.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/check.h"
#include "base/directory_lock.h"
#include "base/file.h"
#include "store/audit_log.h"
#include "store/pieces.h"
#include "store/schema.h"
#include "store/server_now.h"
#include "store/server_store.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The whole number of that name; 0 where there is none.
int64_t NumberIn(const std::string& body, const char* name) {
  const json object = json::parse(body, nullptr, false);
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

}  // namespace

StatusOr<std::unique_ptr<RunView>> RunView::Open(const fs::path& directory) {
  constexpr char kExpected[] = "expected the directory that server.yaml names";
  std::error_code error;
  if (!fs::is_directory(directory, error))
    return UsageError(absl::StrCat(directory.string(), ": there is no such directory; ", kExpected));
  if (!fs::exists(directory / kStoreName, error))
    return UsageError(absl::StrCat(directory.string(), ": holds no ", kStoreName, ", so it is not a server's; ", kExpected));
  ASSIGN_OR_RETURN(auto database, Database::OpenReadOnly(directory / kStoreName, StoreMigrations()));
  ASSIGN_OR_RETURN(Transaction state, Transaction::BeginRead(*database));
  std::unique_ptr<RunView> view(new RunView(directory, std::move(database), std::move(state)));
  bool server = false;
  RETURN_IF_ERROR(view->Read("SELECT 1 FROM sqlite_schema WHERE name = 'agreement'", [&](const Statement&) {
    server = true;
    return absl::OkStatus();
  }));
  if (!server) return UsageError(absl::StrCat(directory.string(), ": is not a server's directory, perhaps a site's; ", kExpected));
  RETURN_IF_ERROR(CheckSchema(*view->database_));
  RETURN_IF_ERROR(view->Read("SELECT name FROM site ORDER BY place", [&](const Statement& row) {
    view->sites_.emplace_back(row.Text(0));
    return absl::OkStatus();
  }));
  if (view->sites_.empty())
    return UsageError(absl::StrCat(directory.string(), ": no server has begun its run here yet; start it with fedalt server"));
  ASSIGN_OR_RETURN(view->run_, RunOfAuditLog(*view->database_));
  return view;
}

Status RunView::Read(const std::string& sql, const std::function<Status(const Statement&)>& use) {
  ASSIGN_OR_RETURN(Statement rows, database_->Prepare(sql));
  return ForEachRow(rows, use);
}

std::string RunView::NameOf(int64_t site) const {
  return site >= 0 && site < static_cast<int64_t>(sites_.size()) ? sites_[static_cast<size_t>(site)] : std::to_string(site);
}

std::vector<int64_t> RunView::PlacesIn(std::string_view names) const {
  const json list = json::parse(names, nullptr, false);
  std::set<std::string> named;
  if (list.is_array())
    for (const json& name : list)
      if (name.is_string()) named.insert(name.get<std::string>());
  std::vector<int64_t> places;
  for (size_t k = 0; k < sites_.size(); ++k)
    if (list == "all" || named.contains(sites_[k])) places.push_back(static_cast<int64_t>(k));
  return places;
}

StatusOr<RunState> RunView::State() {
  RunState state;
  ServerPosition position;
  Surroundings around;
  state.run = run_;
  state.sites.resize(sites_.size());
  for (size_t k = 0; k < sites_.size(); ++k) state.sites[k].name = sites_[k];
  around.sites = static_cast<int64_t>(sites_.size());
  ASSIGN_OR_RETURN(state.server_at_work, DirectoryLock::IsTaken(directory_));
  RETURN_IF_ERROR(ReadOpenAttempt(state, position, around));
  RETURN_IF_ERROR(ReadStart(state, around));
  RETURN_IF_ERROR(ReadLog(state));
  RETURN_IF_ERROR(ReadSites(state, position));
  RETURN_IF_ERROR(Read("SELECT count(*) FROM request WHERE outcome IS NULL", [&](const Statement& row) {
    state.requests_waiting = row.Int(0);
    return absl::OkStatus();
  }));
  TellWaiting(state, position, std::move(around));
  return state;
}

/// Needs all that was read before; adds what the server knows only while it works.
void RunView::TellWaiting(RunState& state, const ServerPosition& position, Surroundings around) const {
  const ServerNow now = ReadServerNow(directory_);
  around.aggregating = state.server_at_work && now.start == state.starts && now.aggregating_round > 0;
  const Waiting waiting = WaitingIn(position, around);
  state.waits_for = waiting.what;
  state.waiting_text = WaitingText(waiting, position, sites_);
  for (const int64_t site : waiting.sites) state.sites[static_cast<size_t>(site)].awaited = true;
  for (const int64_t site : around.cohort) state.sites[static_cast<size_t>(site)].in_cohort = true;
  for (const int64_t site : around.revoked) state.sites[static_cast<size_t>(site)].revoked = true;
  for (SiteView& site : state.sites) {
    if (const auto heard = now.heard_ms.find(site.name); heard != now.heard_ms.end()) site.heard_ms = heard->second;
    if (const auto end = now.not_after_s.find("site " + site.name); end != now.not_after_s.end()) site.not_after_s = end->second;
  }
  state.not_after_s = now.not_after_s;
}

/// The open attempt, if there is one; pause, end, and what was published last.
Status RunView::ReadOpenAttempt(RunState& state, ServerPosition& position, Surroundings& around) {
  RETURN_IF_ERROR(Read("SELECT coalesce(max(round), 0) FROM published", [&](const Statement& row) {
    state.published_round = position.closed_round = row.Int(0);
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(Read(absl::StrCat("SELECT round, attempt, opened_ms, abandoned, cohort FROM attempt WHERE round > ",
                                    state.published_round, " ORDER BY round, attempt DESC LIMIT 1"),
                       [&](const Statement& row) {
                         const bool open = row.IsNull(3);
                         position.attempt = row.Int(1) + (open ? 0 : 1);
                         if (!open) return absl::OkStatus();
                         state.round = row.Int(0);
                         state.attempt = row.Int(1);
                         state.since_ms = position.opened_ms = row.Int(2);
                         around.cohort = PlacesIn(row.Text(4));
                         return absl::OkStatus();
                       }));
  state.phase = state.round > 0 ? RunPhase::kCollecting : IsEnrolling(position) ? RunPhase::kEnrolling : RunPhase::kBetweenRounds;
  RETURN_IF_ERROR(Read("SELECT time_ms, cause, for_sites FROM pause", [&](const Statement& row) {
    state.phase = RunPhase::kPaused;
    state.since_ms = row.Int(0);
    position.paused = state.cause = row.Text(1);
    position.paused_for_sites = row.Int(2) != 0;
    return absl::OkStatus();
  }));
  return Read("SELECT cause FROM ending", [&](const Statement& row) {
    state.phase = RunPhase::kEnded;
    position.ended = state.cause = row.Text(0);
    return absl::OkStatus();
  });
}

Status RunView::ReadStart(RunState& state, Surroundings& around) {
  return Read("SELECT number, time_ms, program, roster_sha256, revoked FROM start ORDER BY number DESC LIMIT 1",
              [&](const Statement& row) {
                state.starts = row.Int(0);
                state.last_start_ms = row.Int(1);
                state.program = row.Text(2);
                state.roster_sha256 = row.Text(3);
                for (const int64_t site : PlacesIn(row.Text(4))) around.revoked.insert(site);
                return absl::OkStatus();
              });
}

/// What only the audit log has: times, the deadline, and its own size and signatures.
Status RunView::ReadLog(RunState& state) {
  int64_t deadline_ms = 0, resumed_ms = 0, ended_ms = 0;
  RETURN_IF_ERROR(ReadEntries(*database_, 1, "", [&](const AuditEntry& entry) {
    ++state.log_entries;
    if (entry.kind == "server.start") deadline_ms = NumberIn(entry.body, "deadline_ms");
    if (entry.kind == "round.closed") state.published_ms = entry.time_ms;
    if (entry.kind == "run.resumed") resumed_ms = entry.time_ms;
    if (entry.kind == "run.ended") ended_ms = entry.time_ms;
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(Read("SELECT coalesce(max(size), 0) FROM audit_head", [&](const Statement& row) {
    state.signed_entries = static_cast<uint64_t>(row.Int(0));
    return absl::OkStatus();
  }));
  if (const auto last = ReadRecord(*database_, state.published_round); last.ok())
    if (const auto record = ParseRecord(last->bytes); record.ok())
      state.signed_entries = std::max(state.signed_entries, record->log.size);
  const bool enrolling = state.phase == RunPhase::kEnrolling;
  if (enrolling) state.since_ms = std::max(state.last_start_ms, resumed_ms);
  if (state.phase == RunPhase::kBetweenRounds) state.since_ms = state.published_ms;
  if (state.phase == RunPhase::kEnded) state.since_ms = ended_ms;
  // Time begins anew with each start of the server: while there is none, no site can do anything.
  if (deadline_ms > 0 && (state.phase == RunPhase::kCollecting || enrolling) && state.server_at_work)
    state.deadline_ms = std::max(state.since_ms, state.last_start_ms) + deadline_ms;
  return absl::OkStatus();
}

Status RunView::ReadOfSites(RunState& state, const std::string& sql, const UseSite& use) {
  return Read(sql, [&](const Statement& row) {
    const int64_t site = row.Int(0);
    if (site >= 0 && site < static_cast<int64_t>(sites_.size())) use(site, state.sites[static_cast<size_t>(site)], row);
    return absl::OkStatus();
  });
}

Status RunView::ReadSites(RunState& state, ServerPosition& position) {
  RETURN_IF_ERROR(ReadOfSites(state, "SELECT site, cause FROM departure ORDER BY id",
                              [](int64_t, SiteView& site, const Statement& row) { site.left = std::string(row.Text(1)); }));
  RETURN_IF_ERROR(
      ReadOfSites(state, "SELECT site, train_examples FROM enrolment", [&](int64_t place, SiteView& site, const Statement& row) {
        site.enrolled = true;
        site.left.reset();
        site.train_examples = position.enrolled[place] = row.Int(1);
      }));
  RETURN_IF_ERROR(ReadOfSites(state, "SELECT site, max(round) FROM adoption WHERE refused = '' GROUP BY site",
                              [](int64_t, SiteView& site, const Statement& row) { site.adopted_round = row.Int(1); }));
  RETURN_IF_ERROR(ReadOfSites(state, "SELECT site, round, weight FROM contribution WHERE counted = 1 ORDER BY round",
                              [](int64_t, SiteView& site, const Statement& row) {
                                site.last_round = row.Int(1);
                                site.last_weight = row.Double(2);
                              }));
  if (state.round == 0 || state.phase == RunPhase::kEnded) return absl::OkStatus();
  const std::string open = absl::StrCat(" WHERE round = ", state.round, " AND attempt = ", state.attempt);
  RETURN_IF_ERROR(ReadOfSites(state, "SELECT site FROM contribution" + open, [&](int64_t place, SiteView& site, const Statement&) {
    site.contributed = true;
    position.received[place] = {};
  }));
  return ReadOfSites(state, "SELECT site, reason FROM left_out" + open, [&](int64_t place, SiteView& site, const Statement& row) {
    position.left_out[place] = row.Text(1);
    site.left_out = position.left_out[place];
  });
}

StatusOr<std::vector<int64_t>> RunView::Published() {
  std::vector<int64_t> rounds;
  RETURN_IF_ERROR(Read("SELECT round FROM published ORDER BY round", [&](const Statement& row) {
    rounds.push_back(row.Int(0));
    return absl::OkStatus();
  }));
  return rounds;
}

StatusOr<VersionView> RunView::Version(int64_t round) {
  VersionView version;
  version.run = run_;
  ASSIGN_OR_RETURN(auto object, ReadPublished(*database_, round));
  FEDALT_CHECK(object.has_value(), "the round has published something");
  version.object = *std::move(object);
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT coalesce(max(round), 0) FROM published WHERE round < ", round), [&](const Statement& row) {
        version.parent = row.Int(0);
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT site, of_round FROM contributor WHERE round = ", version.parent), [&](const Statement& row) {
        version.parent_contributors[row.Int(0)] = row.Int(1);
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(ReadEntries(*database_, 1, "round.closed", [&](const AuditEntry& entry) {
    if (NumberIn(entry.body, "round") != round) return absl::OkStatus();
    version.time_ms = entry.time_ms;
    version.content = entry.body;
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(const SignedRecord record, ReadRecord(*database_, round));
  version.record = HexOf(RecordDigest(record.bytes));
  RETURN_IF_ERROR(
      Read(absl::StrCat("SELECT site, refused FROM adoption WHERE round = ", round, " ORDER BY site"), [&](const Statement& row) {
        const std::string site = NameOf(row.Int(0)), refused(row.Text(1));
        if (refused.empty()) version.adopted.push_back(site);
        if (!refused.empty()) version.refused[site] = refused;
        return absl::OkStatus();
      }));
  return version;
}

StatusOr<std::vector<AttemptView>> RunView::Attempts() {
  std::vector<AttemptView> attempts;
  RETURN_IF_ERROR(
      Read("SELECT round, attempt, opened_ms, abandoned, (SELECT count(*) FROM contribution AS c WHERE c.round = a.round AND "
           "c.attempt = "
           "a.attempt), abandoned IS NULL AND EXISTS (SELECT 1 FROM published AS p WHERE p.round = a.round) "
           "FROM attempt AS a ORDER BY round, attempt",
           [&](const Statement& row) {
             AttemptView attempt{row.Int(0), row.Int(1), row.Int(2), row.Int(4), row.Int(5) != 0, std::nullopt};
             if (!row.IsNull(3)) attempt.abandoned = std::string(row.Text(3));
             attempts.push_back(std::move(attempt));
             return absl::OkStatus();
           }));
  return attempts;
}

StatusOr<std::vector<ContributionView>> RunView::Contributions() {
  std::vector<ContributionView> contributions;
  RETURN_IF_ERROR(Read(
      "SELECT c.round, c.attempt, c.site, c.weight, c.size, c.pieces, c.counted, EXISTS (SELECT 1 FROM contribution AS newer WHERE "
      "newer.site = c.site AND newer.counted = 1 AND newer.round > c.round), a.abandoned IS NOT NULL FROM contribution AS c LEFT "
      "JOIN "
      "attempt AS a USING (round, attempt) ORDER BY c.round, c.attempt, c.site",
      [&](const Statement& row) -> Status {
        ContributionView view;
        ASSIGN_OR_RETURN(ChunkList chunks, ChunksFrom(row.Int(4), row.Blob(5)));
        view.contribution = {row.Int(2), row.Int(0), row.Int(1), row.Double(3), std::move(chunks)};
        using Use = ContributionView::Use;
        const bool counted = row.Int(6) != 0, replaced = row.Int(7) != 0, abandoned = row.Int(8) != 0;
        view.use = counted ? (replaced ? Use::kReplaced : Use::kCounts) : abandoned ? Use::kAbandoned : Use::kOpen;
        contributions.push_back(std::move(view));
        return absl::OkStatus();
      }));
  return contributions;
}

StatusOr<std::vector<RequestView>> RunView::Requests() {
  std::vector<RequestView> requests;
  RETURN_IF_ERROR(Read("SELECT id, time_ms, kind, site, cause, outcome FROM request ORDER BY id", [&](const Statement& row) {
    RequestView request{row.Int(0), row.Int(1), std::string(row.Text(2)), std::string(row.Text(3)), std::string(row.Text(4)), {}};
    if (!row.IsNull(5)) request.outcome = std::string(row.Text(5));
    requests.push_back(std::move(request));
    return absl::OkStatus();
  }));
  return requests;
}

StatusOr<std::vector<MetricView>> RunView::Metrics() {
  std::vector<MetricView> metrics;
  RETURN_IF_ERROR(Read("SELECT round, site, name, value FROM metric ORDER BY round, site, name", [&](const Statement& row) {
    metrics.push_back({row.Int(0), row.Int(1), std::string(row.Text(2)), row.Double(3)});
    return absl::OkStatus();
  }));
  return metrics;
}

StatusOr<at::Tensor> RunView::Values(const VersionView& version, const ChunkList& chunks, const std::string& site) {
  const json log = json::parse(version.content, nullptr, false);
  const json of_sites = log.is_object() ? log.value("content_sha256_of_site", json()) : json();
  const json& holder = site.empty() ? log : of_sites;
  const std::string name = site.empty() ? "content_sha256" : site;
  const json logged = holder.is_object() ? holder.value(name, json()) : json();
  if (const std::string content = ContentHash(chunks); logged != content)
    return IntegrityError(absl::StrCat("round ", version.object.round, ": the database names the content ", content,
                                       ", the audit log another; it was changed, see fedalt audit verify"));
  return FromChunks(chunks, [this](const Sha256Digest& digest) {
    return ReadFile(ObjectPath(directory_, digest), ErrorKind::kOutput, static_cast<size_t>(kChunkBytes));
  });
}

}  // namespace fedalt
