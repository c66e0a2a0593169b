// The server's port: gRPC over TLS in front of a ServerCore. Who calls is decided by the certificate alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "net/roster.h"
#include "net/server_core.h"
#include "net/tls.h"

namespace fedalt {

class GrpcServer {
 public:
  /// The place in the roster of the site with this certificate (PEM), asked once a connection. Errors: PermissionDenied.
  using Identify = std::function<StatusOr<int64_t>(const std::string& certificate)>;

  /// Listens on `address` (host:port; port 0: a free one). Borrows core and clock, and is told of the core's changes. Errors:
  /// kNotNow (the port is taken), kConfig (the keys do not fit).
  static StatusOr<std::unique_ptr<GrpcServer>> Start(const std::string& address, const TlsIdentity& identity, Identify identify,
                                                     ServerCore& core, const Clock& clock);
  ~GrpcServer();  ///< answers those who wait, and closes

  int port() const { return port_; }
  /// The end of each certificate that was seen, by whose it is (net/certificate_watch.h): Unix time in seconds.
  std::map<std::string, int64_t> CertificateEnds() const;

 private:
  class Service;
  GrpcServer();
  std::unique_ptr<Service> service_;
  std::unique_ptr<class GrpcServerHolder> server_;
  int port_ = 0;
};

/// Who a certificate belongs to, by the roster alone: a site that is in it and not revoked.
GrpcServer::Identify IdentifyBy(const Roster& roster);

}  // namespace fedalt
