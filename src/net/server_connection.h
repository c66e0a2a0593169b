// One call of a site to its server: what lies between the two state machines. Over gRPC it is net/grpc_connection.h; in a
// simulation it delays, loses, doubles and reorders.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace fedalt {

/// Versions of proto/federation.proto that this program speaks, at either end.
inline constexpr int32_t kOldestProtocol = 2, kNewestProtocol = 2;

enum class Rpc {
  kEnrol,
  kPoll,
  kBeginUpload,
  kPutChunk,
  kCommitUpload,
  kGetManifest,
  kGetChunk,
  kGetProof,
  kCountersign,
  kReport,
  kLeave
};

class ServerConnection {
 public:
  virtual ~ServerConnection() = default;
  /// Sends a serialised request of proto/federation.proto and returns the serialised reply. Errors have the codes of gRPC: those of
  /// ServerCore, and Unavailable or DeadlineExceeded where nothing is known of what became of the call; kInterrupted.
  virtual StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t timeout_ms) = 0;
};

}  // namespace fedalt
