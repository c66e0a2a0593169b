// A site's connection to its server: gRPC inside TLS that this program speaks itself (net/dial.h).
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "net/certificate_watch.h"
#include "net/server_connection.h"
#include "net/tls.h"

namespace fedalt {

class GrpcConnection : public ServerConnection {
 public:
  /// Connects when the first call is made, and again when the connection is lost; each time the server's certificate is checked
  /// (authority, dates, host name, then `check_server`) before anything is sent. `server`: host:port.
  GrpcConnection(const std::string& server, const TlsIdentity& identity, CheckPeer check_server);
  ~GrpcConnection() override;

  /// From any thread. Looks for an interrupt (base/interrupt.h) ten times a second while it waits.
  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t timeout_ms) override;

 private:
  struct Channel;
  /// The channel, which is made if there is none, or if the last one has ended.
  StatusOr<std::shared_ptr<Channel>> Connected(int64_t timeout_ms);
  void Forget(const std::shared_ptr<Channel>& channel);

  const std::string server_;
  const TlsIdentity identity_;
  const CheckPeer check_server_;
  CertificateWatch watch_;
  std::mutex mutex_;  // what follows
  bool told_proxy_ = false;
  std::shared_ptr<Channel> channel_;  // null: none yet, or lost; calls at work hold it, too
};

}  // namespace fedalt
