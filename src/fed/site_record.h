// What a site keeps of its dealings with the server, for its own audit log: everything that left it and came to it, and the last
// head of the server's log that it has seen. src/store implements it in SQLite; the simulation in memory.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/signed_head.h"
#include "base/status.h"

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
  /// The newest head of the server's log that this site has seen; of size 0: none yet.
  virtual StatusOr<SignedHead> LastHead() = 0;
  /// Precondition: its signature is valid, and it continues the last one.
  virtual Status SaveHead(const SignedHead& head) = 0;
};

}  // namespace fedalt
