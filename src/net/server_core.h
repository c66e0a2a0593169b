// The server of a federation as a state machine: what each call of a site means, and what time and completeness bring. It has no
// network, no clock and no disk of its own, so a simulation drives this very class.
//
// A run goes through enrolling, then for each round collecting (in one attempt or several), then ended. Whatever a site is told was
// recorded before (ServerJournal), so after a crash Recover leads to the same state. Every call names the site by its place in the
// roster, which the caller knows from the site's certificate.
//
// Nothing that a site says is taken on trust: its weight is computed here, its values are bounded chunk by chunk as they come, and
// what it may use is limited (net/budgets.h). A contribution that is out of bounds is left out of the attempt, like that of a site
// that is absent.
//
// Thread-safe. Aggregation, which may take long, happens outside: Tick hands out the round that is over, Finish takes the result.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fed/options.h"
#include "fed/server_round.h"
#include "fed/waiting.h"
#include "federation.pb.h"
#include "net/budgets.h"
#include "net/callers.h"
#include "net/clock.h"
#include "net/server_connection.h"
#include "net/signatures.h"

namespace fedalt {

struct ServerOptions {
  std::string run;                       ///< identifier of the run
  std::string agreement;                 ///< what all have in common, one fact per line
  std::vector<std::string> sites;        ///< names, by place
  std::set<int64_t> revoked;             ///< those whose keys are revoked: they cannot come, so nobody waits for them
  std::vector<int64_t> exchange_rounds;  ///< rounds with an exchange, ascending
  int64_t values = 0;                    ///< of a contribution
  UploadFormat upload = UploadFormat::kFloat32;
  LedgerPolicy ledger_policy = LedgerPolicy::kKeepAbsent;
  ParticipationOptions participation;
  uint64_t seed = 0;
  /// w of a site with so many training examples: the method's rule.
  std::function<double(int64_t train_examples)> weight = [](int64_t) { return 1.0; };
  int64_t minimum_cohort = 1;       ///< contributions without which a round is abandoned
  int64_t deadline_ms = 3'600'000;  ///< of enrolling, and of each attempt
  int64_t attempts = 3;             ///< of a round, before the run pauses by itself
  int64_t silent_ms = budget::kProcessSilentMs;
  std::string instance;       ///< of this process; two never have the same
  std::string program;        ///< name and version, for the audit log
  std::string roster_sha256;  ///< RosterHash of the roster that `sites` and `revoked` are from, for the audit log
  Signatures signatures;
  std::function<void(const std::string&)> warn;  ///< what the server's operator should look at; may be empty
  std::function<void(const std::string&)> tell;  ///< what the operator may want to know; may be empty
};

class ServerCore {
 public:
  /// Borrows journal and clock.
  ServerCore(ServerOptions options, ServerJournal& journal, const Clock& clock);

  /// Before anything else. Errors: kOutput (the journal); kConfig (it belongs to a run with another agreement).
  Status Recover();

  // What sites ask. Errors have the codes of gRPC: InvalidArgument (malformed), FailedPrecondition (not now: the message tells the
  // open round), OutOfRange (values out of bounds: left out of this attempt), AlreadyExists (conflict), NotFound, PermissionDenied
  // (it takes no part), ResourceExhausted (its budget is spent), Unavailable (try again: the disk).
  StatusOr<v1::EnrolReply> Enrol(int64_t site, const v1::EnrolRequest& request);
  StatusOr<v1::RunState> State(int64_t site, const v1::PollRequest& request);
  /// Whether a poll may be answered from what state() said last. Waits for nothing. Errors: those of State.
  Status AdmitPoll(int64_t site, const v1::PollRequest& request);
  /// RunState::notice of this site. Waits for nothing.
  std::string NoticeFor(int64_t site) const { return callers_.NoticeFor(site); }
  StatusOr<v1::MissingChunks> BeginUpload(int64_t site, const v1::UploadManifest& manifest);
  StatusOr<v1::PutChunkReply> PutChunk(int64_t site, const v1::Chunk& chunk);
  StatusOr<v1::CommitReply> CommitUpload(int64_t site, const v1::UploadManifest& manifest);
  StatusOr<v1::PublishedManifest> GetManifest(int64_t site, const v1::ManifestRequest& request);
  StatusOr<v1::Chunk> GetChunk(int64_t site, const v1::ChunkRequest& request);
  StatusOr<v1::CountersignReply> Countersign(int64_t site, const v1::Countersignature& request);
  StatusOr<v1::ReportReply> Report(int64_t site, const v1::Metrics& request);
  StatusOr<v1::LeaveReply> Leave(int64_t site, const v1::LeaveRequest& request);

  /// What time, completeness and operators bring; returns a round that is to be aggregated, once. Errors: kOutput; kFederation
  /// (another server has taken the run over: this one does nothing any more).
  StatusOr<std::optional<ClosingRound>> Tick();
  /// The result of aggregating what Tick returned. An error abandons the attempt, apart from kOutput, which is returned: nothing
  /// has changed then, and Tick hands the round out again. Errors: kOutput.
  Status Finish(const ClosingRound& closing, const StatusOr<PublishedObject>& result);
  /// Ends the run. Errors: kOutput.
  Status End(const std::string& cause);

  v1::RunState state() const;
  /// Unix time in milliseconds of each site's last call, by place; not of sites that this process has not heard.
  std::map<int64_t, int64_t> LastCalls() const { return callers_.LastCalls(); }
  /// Whether every site that takes part has read all that the last round published, said whether it adopts it, and reported if it
  /// does, as far as this process knows.
  bool everybody_has_read() const;
  /// Called, outside of all locks, whenever state() has changed. Set before the first call.
  void OnChange(std::function<void()> listener) { listener_ = std::move(listener); }

 private:
  /// An upload that was begun in this attempt.
  struct Begun {
    SiteContribution upload;
    std::vector<bool> here;  ///< by place: stored, and looked at for this upload
  };
  Status CheckRun(const std::string& run) const;
  /// Whether the site may read what the run says. Errors: PermissionDenied, FailedPrecondition (another run), ResourceExhausted.
  Status AdmitReader(int64_t site, const std::string& run, Callers::Kind kind);
  Status Admit(int64_t site, Callers::Kind kind);
  Status Exhausted(int64_t site, const Status& why);
  /// The journal's failures are the disk's: nothing was recorded, and the site may try again. Only the operator is told more.
  Status Unrecorded(int64_t site, const Status& status) const;
  void Warn(const std::string& what) const {
    if (options_.warn) options_.warn(what);
  }
  void Tell(const std::string& what) const {
    if (options_.tell) options_.tell(what);
  }
  void WarnOfSite(int64_t site, const std::string& what);
  const std::string& NameOf(int64_t site) const { return options_.sites[static_cast<size_t>(site)]; }
  int64_t OpenRound() const;  ///< 0: none is left
  /// Of the open or next attempt.
  Surroundings Around() const;
  std::vector<int64_t> Cohort() const { return Expected(position_, Around()); }
  v1::RunState StateLocked() const;
  StatusOr<std::vector<int64_t>> PlacesOf(int64_t site, const v1::Chunk& chunk) const;
  StatusOr<SiteContribution> Checked(int64_t site, const v1::UploadManifest& manifest) const;
  /// Whether this very content counts already. Errors: AlreadyExists (another one does).
  StatusOr<bool> Counts(int64_t site, const SiteContribution& upload) const;
  double LargestValue(const SiteContribution& upload) const;
  Status Announce(int64_t site, const SiteContribution& upload);
  StatusOr<std::optional<std::vector<int64_t>>> Begin(int64_t site, const v1::UploadManifest& manifest);
  /// Whether the place's chunk is stored as announced. Without the lock. Errors: OutOfRange.
  StatusOr<bool> IsStored(const SiteContribution& upload, int64_t place);
  Status CheckChunk(const SiteContribution& upload, int64_t place, const std::string& content) const;
  Status Commit(int64_t site, const v1::UploadManifest& manifest);
  Status LeaveOut(int64_t site, const std::string& why);
  void CollectGarbage(const std::optional<std::set<Sha256Digest>>& among);
  bool KnowsStart(const v1::PollRequest& request) const;
  StatusOr<bool> ToldOfAnother(const v1::PollRequest& request);
  Status Refuse(int64_t site, const Status& why);
  Status OpenAttempt(int64_t attempt);
  Status EndLocked(const std::string& cause);
  Status PauseByItself(const std::string& cause, bool needs_operator);
  Status GoOn();
  Status Close(const ClosingRound& closing, const PublishedObject& published);
  std::optional<ClosingRound> MadeAgain();
  void FinishMakingAgain(const ClosingRound& closing, const StatusOr<PublishedObject>& result);
  int64_t Present() const;
  Status Abandon(const std::string& reason, bool failed_here = false);
  Status Depart(int64_t site, const std::string& cause);
  Status AskedToDepart(int64_t site, const std::string& cause);
  Status DoRequests();
  std::string NewName();
  Status Do(const OperatorRequest& request, std::string& outcome);
  Status NextAttempt();
  StatusOr<std::shared_ptr<const PublishedObject>> PublishedIn(int64_t site, int64_t round);
  void Changed() { ++version_; }
  void Notify() const {
    if (listener_) listener_();
  }

  ServerOptions options_;
  ServerJournal& journal_;
  const Clock& clock_;
  Callers callers_;
  mutable std::atomic<int64_t> unrecorded_ms_ = -1;  ///< when the operator was told last
  std::function<void()> listener_;
  mutable std::mutex mutex_;  // everything below
  ServerPosition position_;
  std::map<int64_t, Begun> uploads_;                  ///< by site
  std::shared_ptr<const PublishedObject> published_;  ///< the one that was asked for last
  std::set<int64_t> have_read_;                       ///< the last chunk of the last closed round
  std::set<int64_t> have_answered_;                   ///< whether they adopt it
  std::set<int64_t> reporters_, have_reported_;       ///< of the last closed round
  std::map<int64_t, std::string> challenges_;         ///< that sites must know for what undoes something, by site
  int64_t names_ = 0;                                 ///< made by this process
  /// What a site has used in this attempt (net/budgets.h).
  struct Used {
    int64_t refusals = 0, manifests = 0, bytes = 0, enrolments = 0, reports = 0;
    bool exhausted = false;        ///< told already
    std::set<std::string> warned;  ///< of it, to the operator
  };
  std::map<int64_t, Used> used_;
  int64_t start_ = 0;
  std::string start_signature_;
  std::string superseded_;         ///< why this server may do nothing any more
  int64_t since_ms_ = 0;           ///< Clock::MonotonicMs when the enrolment, the attempt or the pause began, or the server did
  int64_t abandoned_ = 0;          ///< attempts, one after the other
  std::string abandoned_because_;  ///< the last of them
  int64_t damaged_round_ = 0;      ///< what it published cannot be read any more; 0: all can
  int64_t not_made_again_ = 0;     ///< of which round that was tried in vain
  bool failed_here_ = false;       ///< it was the server's failure, not too few sites
  bool aggregating_ = false;
  int64_t version_ = 0;
};

}  // namespace fedalt
