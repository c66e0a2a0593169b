// Who one is and whom one trusts on the wire: TLS with certificates on both sides, all of one authority (docs/keys.md).
#pragma once

#include <functional>
#include <string>

#include "base/status.h"

namespace fedalt {

/// PEM texts.
struct TlsIdentity {
  std::string certificate, private_key;
  std::string authority;  ///< whose certificates are accepted
};

/// Decides about the certificate (PEM) that the other end showed and that the authority signed. Errors: PermissionDenied.
using CheckPeer = std::function<Status(const std::string& certificate)>;

}  // namespace fedalt
