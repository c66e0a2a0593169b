// What the server of a federation keeps, so that it survives a crash at any moment: who takes part, what was acknowledged, what was
// published, and how it ended. The server's state machine writes here before it answers, and asks here after a restart.
//
// src/store implements it in SQLite; the simulation in memory, with faults. Calls may come from several threads at once where said.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/status.h"
#include "fed/chunks.h"

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

  const ChunkList& ReadBy(int64_t site) const {
    const auto own = per_site.find(site);
    return own != per_site.end() ? own->second : chunks;
  }
};

struct ServerPosition {
  std::string agreement;                ///< empty: nothing was recorded yet
  std::map<int64_t, int64_t> enrolled;  ///< site -> training examples
  int64_t closed_round = 0;
  int64_t attempt = 1;                           ///< of the round after it
  int64_t opened_ms = 0;                         ///< when that attempt began; 0: not yet
  std::map<int64_t, SiteContribution> received;  ///< in that attempt, by site
  std::map<int64_t, SiteContribution> ledger;    ///< the last counted one of each site
  std::optional<std::string> ended;              ///< the cause
};

/// Every call that returned OK survives a crash. Errors: kOutput; nothing was recorded then.
class ServerJournal {
 public:
  virtual ~ServerJournal() = default;

  virtual StatusOr<ServerPosition> Recover() = 0;
  virtual Status SaveAgreement(const std::string& agreement) = 0;
  virtual Status SaveEnrolment(int64_t site, int64_t train_examples) = 0;
  virtual Status OpenAttempt(int64_t round, int64_t attempt, int64_t now_ms) = 0;
  virtual Status SaveContribution(const SiteContribution& contribution) = 0;
  /// The attempt ends without a result; what it received is forgotten.
  virtual Status AbandonAttempt(int64_t round, int64_t attempt, const std::string& reason) = 0;
  /// The round is closed: what it received enters the ledger, and the published object is what sites may read.
  virtual Status CloseRound(const PublishedObject& published) = 0;
  virtual Status SaveEnd(const std::string& cause) = 0;
  /// Something was refused; `site` -1: from nobody known. For the audit log.
  virtual Status NoteRefusal(int64_t site, const std::string& what) = 0;

  /// What `round` published; empty: nothing.
  virtual StatusOr<std::optional<PublishedObject>> LoadPublished(int64_t round) = 0;

  // Pieces of tensors by their hash, from any thread.
  virtual bool HasChunk(const Sha256Digest& digest) = 0;
  /// Precondition: the hash is that of the bytes.
  virtual Status PutChunk(const Sha256Digest& digest, std::string_view bytes) = 0;
  virtual StatusOr<std::string> GetChunk(const Sha256Digest& digest) = 0;
};

}  // namespace fedalt
