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
#include <optional>
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
  /// Ed25519 signature of a message by the server's key: of each head of the audit log at the end of a round.
  std::function<std::string(std::string_view message)> sign;
};

class ServerStore : public ServerJournal {
 public:
  /// Makes the directory, or opens it again. Errors: kOutput, kUsage (another server is at work in it).
  static StatusOr<std::unique_ptr<ServerStore>> Open(const std::filesystem::path& directory, ServerStoreOptions options);

  StatusOr<ServerPosition> Recover() override;
  Status SaveAgreement(const std::string& agreement) override;
  Status SaveEnrolment(int64_t site, int64_t train_examples) override;
  Status OpenAttempt(int64_t round, int64_t attempt, int64_t now_ms) override;
  Status SaveContribution(const SiteContribution& contribution) override;
  Status AbandonAttempt(int64_t round, int64_t attempt, const std::string& reason) override;
  Status CloseRound(const PublishedObject& published) override;
  Status SaveEnd(const std::string& cause) override;
  Status NoteRefusal(int64_t site, const std::string& what) override;
  StatusOr<std::optional<PublishedObject>> LoadPublished(int64_t round) override;
  bool HasChunk(const Sha256Digest& digest) override;
  Status PutChunk(const Sha256Digest& digest, std::string_view bytes) override;
  StatusOr<std::string> GetChunk(const Sha256Digest& digest) override;

 private:
  ServerStore(std::filesystem::path directory, ServerStoreOptions options, DirectoryLock lock, std::unique_ptr<Database> database,
              AuditLog log);
  std::filesystem::path ObjectOf(const Sha256Digest& digest) const;
  std::string NameOf(int64_t site) const;
  Status SignHead();
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

}  // namespace fedalt
