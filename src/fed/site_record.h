// What a site keeps of its dealings with the server: its own audit log of everything that left it and came to it, the records of
// rounds that it was shown, and what it contributed. src/store implements it in SQLite; the simulation in memory.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/status.h"
#include "fed/round_record.h"

namespace fedalt {

/// What returned OK survives a crash. One thread. Errors: kOutput.
class SiteRecord {
 public:
  virtual ~SiteRecord() = default;
  /// The run that it is about; before all else, once per process. The place where it is kept exists. Errors: kFederation (the
  /// record is about another run).
  virtual Status Begin(const std::string& run) = 0;
  /// Adds an entry to the site's log. `body`: an object. The same entry twice in a row (a site that was killed says it again) is
  /// kept once.
  virtual Status Note(const std::string& kind, const nlohmann::json& body) = 0;
  /// Signs the site's log as it is.
  virtual Status Seal() = 0;
  /// The newest round of which there is a record; 0: none.
  virtual StatusOr<int64_t> LastRound() = 0;
  /// Empty: this round's was not seen.
  virtual StatusOr<std::optional<SignedRecord>> RecordOf(int64_t round) = 0;
  /// Keeps a record, with an entry in the log. Preconditions: it was checked, and none is there of this round.
  virtual Status SaveRecord(int64_t round, const SignedRecord& record) = 0;
  /// Keeps what is about to be sent in a round, and its entry in the log. The last of a round counts.
  virtual Status SaveSent(const RecordedContribution& sent, const nlohmann::json& body) = 0;
  /// What was sent in this round; empty: nothing that is known.
  virtual StatusOr<std::optional<RecordedContribution>> SentIn(int64_t round) = 0;
};

}  // namespace fedalt
