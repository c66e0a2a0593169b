// The server's journal on disk: facts in SQLite (store.db), pieces of tensors as files named by their hash (objects/ab/abcd...).
// Each fact and its entry in the audit log are one commit, and a piece is on the disk before the fact that names it.
//
// Thread-safe. One process has the directory (a lock on it), so that two servers never work on one run.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/directory_lock.h"
#include "fed/server_journal.h"
#include "store/audit_log.h"
#include "store/database.h"

namespace fedalt {

struct ServerStoreOptions {
  std::string run;                  ///< identifier of the run
  std::vector<std::string> sites;   ///< names, by place
  std::function<int64_t()> now_ms;  ///< Unix time
  /// Ed25519 signature of a message by the server's key: of each round's record, and of heads of the audit log.
  std::function<std::string(std::string_view message)> sign;
  int64_t deadline_ms = 0;  ///< of enrolling and of each attempt, for those who look at the run; 0: not told
};

class ServerStore : public ServerJournal {
 public:
  /// Makes the directory, or opens it again. Errors: kOutput, kUsage (another server is at work in it).
  static StatusOr<std::unique_ptr<ServerStore>> Open(const std::filesystem::path& directory, ServerStoreOptions options);

  StatusOr<ServerPosition> Recover() override;
  Status SaveAgreement(const std::string& agreement) override;
  Status SaveEnrolment(int64_t site, int64_t train_examples, const std::string& name) override;
  Status OpenAttempt(int64_t round, int64_t attempt, int64_t now_ms, const std::vector<int64_t>& cohort) override;
  Status SaveContribution(const SiteContribution& contribution) override;
  Status SaveLeftOut(int64_t round, int64_t attempt, int64_t site, const std::string& why) override;
  Status AbandonAttempt(int64_t round, int64_t attempt, const std::string& reason) override;
  Status CloseRound(const PublishedObject& published, RoundRecord record) override;
  Status SaveEnd(const std::string& cause) override;
  Status SaveDeparture(int64_t site, const std::string& cause) override;
  Status SavePause(const std::string& cause, bool for_sites) override;
  Status SaveResume(int64_t now_ms) override;
  StatusOr<int64_t> SaveStart(const ServerStart& start) override;
  Status SaveMetrics(int64_t site, int64_t round, const std::map<std::string, double>& values) override;
  StatusOr<std::vector<OperatorRequest>> OperatorRequests() override;
  Status FinishRequest(int64_t id, const std::string& outcome) override;
  StatusOr<SignedRecord> RecordOf(int64_t round) override;
  StatusOr<std::vector<Adoption>> AdoptionsOf(int64_t round) override;
  Status SaveAdoption(int64_t site, int64_t round, const std::string& signature, const std::string& refused) override;
  Status Seal() override;
  Status NoteRefusal(int64_t site, const std::string& what) override;
  StatusOr<std::optional<PublishedObject>> LoadPublished(int64_t round) override;
  bool HasChunk(const Sha256Digest& digest) override;
  Status PutChunk(const Sha256Digest& digest, std::string_view bytes) override;
  StatusOr<std::string> GetChunk(const Sha256Digest& digest) override;
  void Collect(const std::optional<std::set<Sha256Digest>>& among, const std::set<Sha256Digest>& keep) override;

 private:
  ServerStore(std::filesystem::path directory, ServerStoreOptions options, DirectoryLock lock, std::unique_ptr<Database> database,
              AuditLog log);
  std::string NameOf(int64_t site) const;
  template <typename Places>
  std::vector<std::string> NamesOf(const Places& sites) const {
    std::vector<std::string> names;
    for (const int64_t site : sites) names.push_back(NameOf(site));
    return names;
  }
  /// One fact and its entry in the audit log, in one commit and of one time, which `fact` is given.
  Status Record(const std::function<Status(int64_t time_ms)>& fact, const char* kind, const std::string& subject,
                const nlohmann::json& body);
  Status InsertRecord(RoundRecord record, int64_t parent);
  nlohmann::json BodyOf(const PublishedObject& published, int64_t parent) const;
  Status InsertSites();
  Status InsertPublished(const PublishedObject& published);
  Status InsertLeftOut(int64_t round, int64_t attempt, int64_t site, const std::string& why);
  Status ReadAttempt(ServerPosition& position);
  Status ReadLedger(ServerPosition& position);

  std::filesystem::path directory_;
  ServerStoreOptions options_;
  DirectoryLock lock_;
  std::mutex mutex_;  // database_ and log_
  std::unique_ptr<Database> database_;
  AuditLog log_;
  std::array<std::mutex, 64> pieces_;  // by the first byte of the hash: two sites may send one piece at once
};

/// Where a piece of a tensor lies in the server's directory.
std::filesystem::path ObjectPath(const std::filesystem::path& directory, const Sha256Digest& digest);
/// What `round` published; empty: nothing. Errors: kOutput.
StatusOr<std::optional<PublishedObject>> ReadPublished(Database& database, int64_t round);

/// The record of a closed round. Errors: kOutput, NotFound.
StatusOr<SignedRecord> ReadRecord(Database& database, int64_t round);

/// "pause", "resume", "stop", "erase".
const char* RequestName(OperatorRequest::Kind kind);
/// Asks something of the server that works in the directory of this database, or the next one that does. Returns the request's
/// number. Errors: kOutput.
StatusOr<int64_t> AskOperator(Database& database, const OperatorRequest& request, int64_t now_ms);
/// How it ended; empty: not yet.
StatusOr<std::optional<std::string>> OutcomeOf(Database& database, int64_t request);

}  // namespace fedalt
