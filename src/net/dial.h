// How a site reaches its server: the system's resolver, a proxy if there must be one, TCP, TLS. What can go wrong is found out
// here, step by step, and said in words; nothing is left to a library's retries.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "net/proxy.h"
#include "net/tls.h"
#include "net/tls_stream.h"

namespace fedalt {

struct DialOptions {
  HostPort server;
  std::optional<Proxy> proxy;
  TlsIdentity identity;
  CheckPeer check_server;  ///< beside authority, dates and host name; null: nothing more
};

struct Dialled {
  std::unique_ptr<TlsStream> stream;
  std::string certificate;  ///< the server's (PEM)
};

/// A connection on which the server's certificate has been checked. Waits at most `timeout_ms`; looks for an interrupt ten times a
/// second. Errors: kInterrupted; Unavailable (nobody answers, the name is unknown, the server's certificate has ended: it may work
/// later); kFederation (the certificate is another's, for another host or of another authority), and those of `check_server`;
/// kConfig and kNotNow (the site's own certificate).
StatusOr<Dialled> Dial(const DialOptions& options, int64_t timeout_ms);

/// Whether this is the certificate of a server of this authority, for this host, at this time. Errors: as of Dial.
Status CheckServerCertificate(const std::string& pem, const std::string& authority_pem, const std::string& host, int64_t now_s);

}  // namespace fedalt
