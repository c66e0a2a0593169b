// A site's connection to its server over gRPC.
#pragma once

#include <memory>
#include <string>

#include "net/server_connection.h"
#include "net/tls.h"

namespace fedalt {

class GrpcConnection : public ServerConnection {
 public:
  /// Connects when the first call is made, and again when the connection is lost. `server`: host:port. `check_server` decides after
  /// each call about the server's certificate, beside what TLS checks (authority, dates, host name).
  GrpcConnection(const std::string& server, const TlsIdentity& identity, CheckPeer check_server);
  ~GrpcConnection() override;

  /// Looks for an interrupt (base/interrupt.h) ten times a second while it waits.
  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t timeout_ms) override;

 private:
  struct Channel;
  std::unique_ptr<Channel> channel_;
  CheckPeer check_server_;
};

}  // namespace fedalt
