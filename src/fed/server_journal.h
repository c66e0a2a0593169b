// What the server of a federation keeps, so that it survives a crash at any moment: who takes part, what was acknowledged, what was
// published, and how it ended. The server's state machine writes here before it answers, and asks here after a restart.
//
// src/store implements it in SQLite; the simulation in memory, with faults. Calls may come from several threads at once where said.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/status.h"
#include "fed/chunks.h"
#include "fed/round_record.h"

namespace fedalt {

/// An upload that was acknowledged. Its key is (run, round, attempt, site, content).
struct SiteContribution {
  int64_t site = 0;
  int64_t round = 0, attempt = 1;
  double weight = 1.0;
  ChunkList chunks;
};

/// What a round published.
struct PublishedObject {
  int64_t round = 0;
  double total_weight = 0.0;
  ChunkList chunks;                         ///< what everybody reads; empty where each site reads its own
  std::map<int64_t, ChunkList> per_site;    ///< by site
  std::map<int64_t, int64_t> contributors;  ///< site -> the round of its contribution that is in it
  std::map<int64_t, double> weights;        ///< of each contributor
  std::map<int64_t, std::string> left_out;  ///< contributions of this round that are not in it: why, by site
  /// How far each site moved the sum since what was published before: the Euclidean norm of the difference that it made (not of
  /// sites that left).
  std::map<int64_t, double> moved;

  const ChunkList& ReadBy(int64_t site) const {
    const auto own = per_site.find(site);
    return own != per_site.end() ? own->second : chunks;
  }
};

struct ServerPosition {
  std::string agreement;                      ///< empty: nothing was recorded yet
  std::map<int64_t, int64_t> enrolled;        ///< site -> training examples
  std::map<int64_t, std::string> enrolments;  ///< site -> the name of its enrolment
  std::set<int64_t> departed;                 ///< sites that left at least once
  int64_t closed_round = 0;
  int64_t attempt = 1;                           ///< of the round after it
  int64_t opened_ms = 0;                         ///< when that attempt began; 0: not yet
  std::map<int64_t, SiteContribution> received;  ///< in that attempt, by site
  std::map<int64_t, SiteContribution> ledger;    ///< the last counted one of each site
  std::map<int64_t, std::string> left_out;       ///< of that attempt: why, by site
  std::optional<std::string> ended;              ///< the cause
  std::optional<std::string> paused;             ///< the cause
  bool paused_for_sites = false;                 ///< it goes on when enough of them have returned
};

/// A server that begins to work on a run: what the audit log says of it.
struct ServerStart {
  std::string instance;       ///< of this process; two never have the same
  std::string program;        ///< name and version
  std::string roster_sha256;  ///< digest of the roster that it reads (net/roster.h)
  std::set<int64_t> revoked;  ///< sites whose keys that roster revokes
};

/// What somebody at the server's machine asks of a run; the server does it at its next step, or when it is started again.
struct OperatorRequest {
  enum class Kind { kPause, kResume, kStop, kErase };
  int64_t id = 0;
  Kind kind = Kind::kPause;
  std::string site;   ///< of kErase: its name
  std::string cause;  ///< may be empty
};

/// Every call that returned OK survives a crash. Errors: kOutput; nothing was recorded then.
class ServerJournal {
 public:
  virtual ~ServerJournal() = default;

  virtual StatusOr<ServerPosition> Recover() = 0;
  virtual Status SaveAgreement(const std::string& agreement) = 0;
  /// The site takes part from now on. `name`: of this enrolment, no other has the same.
  virtual Status SaveEnrolment(int64_t site, int64_t train_examples, const std::string& name) = 0;
  /// `cohort`: the sites that were drawn for the round, by place, ascending, whether or not they take part.
  virtual Status OpenAttempt(int64_t round, int64_t attempt, int64_t now_ms, const std::vector<int64_t>& cohort) = 0;
  virtual Status SaveContribution(const SiteContribution& contribution) = 0;
  /// What the site sends in this attempt does not count.
  virtual Status SaveLeftOut(int64_t round, int64_t attempt, int64_t site, const std::string& why) = 0;
  /// The attempt ends without a result; what it received is forgotten.
  virtual Status AbandonAttempt(int64_t round, int64_t attempt, const std::string& reason) = 0;
  /// The round is closed: what it received enters the ledger, and the published object is what sites may read. `record`: what is
  /// known of the round; the journal adds the record before and the log's head, and signs it.
  virtual Status CloseRound(const PublishedObject& published, RoundRecord record) = 0;
  virtual Status SaveEnd(const std::string& cause) = 0;
  /// The site takes part no longer: its contributions leave the open attempt and the ledger.
  virtual Status SaveDeparture(int64_t site, const std::string& cause) = 0;
  /// `for_sites`: it ends by itself, too.
  virtual Status SavePause(const std::string& cause, bool for_sites) = 0;
  /// `now_ms`: from when on the open attempt, if there is one, has its time.
  virtual Status SaveResume(int64_t now_ms) = 0;
  /// A server begins to work on the run. Returns how many have, this one included.
  virtual StatusOr<int64_t> SaveStart(const ServerStart& start) = 0;
  /// What a site tells of a round of its own free will.
  virtual Status SaveMetrics(int64_t site, int64_t round, const std::map<std::string, double>& values) = 0;

  /// What was asked and is not done yet, in order.
  virtual StatusOr<std::vector<OperatorRequest>> OperatorRequests() = 0;
  virtual Status FinishRequest(int64_t id, const std::string& outcome) = 0;

  /// Of a closed round. Errors: also NotFound.
  virtual StatusOr<SignedRecord> RecordOf(int64_t round) = 0;
  /// Who has countersigned that record.
  virtual StatusOr<std::vector<Adoption>> AdoptionsOf(int64_t round) = 0;
  /// What a site made of a publication: its signature of the record, or why it did not adopt it. Precondition: the signature is
  /// the site's. The first signature stays; the same once more is recorded once.
  virtual Status SaveAdoption(int64_t site, int64_t round, const std::string& signature, const std::string& refused) = 0;
  /// Signs the audit log as it is, where there is something that no signature covers.
  virtual Status Seal() = 0;
  /// Something was refused; `site` -1: from nobody known. For the audit log.
  virtual Status NoteRefusal(int64_t site, const std::string& what) = 0;

  /// What `round` published; empty: nothing.
  virtual StatusOr<std::optional<PublishedObject>> LoadPublished(int64_t round) = 0;

  // Chunks of tensors by their hash, from any thread.
  /// Whether there is something of that name; GetChunk tells whether it is what it should be.
  virtual bool HasChunk(const Sha256Digest& digest) = 0;
  /// Afterwards it is there, also if it was damaged before. Precondition: the hash is that of the bytes.
  virtual Status PutChunk(const Sha256Digest& digest, std::string_view bytes) = 0;
  /// Errors: kIntegrity (it is missing or damaged), kOutput (it cannot be read).
  virtual StatusOr<std::string> GetChunk(const Sha256Digest& digest) = 0;
  /// Deletes the chunks that no fact names (the last published and counted ones, and those of the open attempt) and that are not in
  /// `keep`: all such, or those of `among`. What cannot be deleted only costs space.
  virtual void Collect(const std::optional<std::set<Sha256Digest>>& among, const std::set<Sha256Digest>& keep) = 0;
};

}  // namespace fedalt
