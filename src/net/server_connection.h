// One call of a site to its server: what lies between the two state machines. Over gRPC it is net/grpc_connection.h; in a
// simulation it delays, loses, doubles and reorders.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace fedalt {

/// Versions of proto/federation.proto that this program speaks, at either end.
inline constexpr int32_t kOldestProtocol = 2, kNewestProtocol = 2;

enum class Rpc { kEnrol, kPoll, kBeginUpload, kPutChunk, kCommitUpload, kGetManifest, kGetChunk, kCountersign, kReport, kLeave };

/// How long a call may take: a minute, and what its bytes need, there and back, on a line of 20 kbit/s.
inline int64_t CallTimeoutMs(Rpc rpc, size_t request_bytes) {
  constexpr int64_t kLeastMs = 60'000, kBytesPerS = 2'500;
  constexpr int64_t kLargestChunk = 1 << 20, kLargeManifest = 1 << 18;
  const int64_t reply_bytes = rpc == Rpc::kGetChunk ? kLargestChunk : rpc == Rpc::kGetManifest ? kLargeManifest : 0;
  return kLeastMs + (static_cast<int64_t>(request_bytes) + reply_bytes) * 1000 / kBytesPerS;
}

class ServerConnection {
 public:
  virtual ~ServerConnection() = default;
  /// Sends a serialised request of proto/federation.proto and returns the serialised reply. Errors have the codes of gRPC: those of
  /// ServerCore, and Unavailable or DeadlineExceeded where nothing is known of what became of the call; kInterrupted.
  virtual StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t timeout_ms) = 0;
};

}  // namespace fedalt
