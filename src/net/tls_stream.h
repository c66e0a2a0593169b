// One TLS connection on a socket that does not block (RFC 8446; TLS 1.2 only with AEAD, RFC 5246), by OpenSSL. Both ends show a
// certificate, and the other's is decided about inside the handshake, before a byte of ours leaves. For the sources of this layer
// alone. One thread at a time; threads that write have SIGPIPE blocked (BlockSignals).
#pragma once

#include <openssl/ssl.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "net/descriptor.h"
#include "net/openssl_objects.h"
#include "net/tls.h"

namespace fedalt {

enum class TlsSide { kSite, kServer };

/// What all connections of one end share. Errors: kConfig (a certificate and a key that do not fit).
StatusOr<std::shared_ptr<SSL_CTX>> MakeTlsContext(TlsSide side, const TlsIdentity& identity);

/// In a thread that serves connections: signals are for others, and a peer that has gone is an error, not a signal.
void BlockSignals();

class TlsStream {
 public:
  enum class Step { kDone, kWantsRead, kWantsWrite, kEnded };
  struct Moved {
    Step step = Step::kEnded;
    size_t bytes = 0;
  };

  /// `check` decides about the certificate (PEM) of the other end.
  static StatusOr<std::unique_ptr<TlsStream>> Make(SSL_CTX& context, TlsSide side, Descriptor socket, CheckPeer check);

  Step Handshake();
  Moved Read(std::span<char> into);
  Moved Write(std::string_view bytes);
  /// Tells the other end that nothing follows, if there is room for that.
  void Close();

  /// After kEnded: what `check` said, if it refused; else OK.
  const Status& refusal() const { return refusal_; }
  /// After kEnded: why, in words; empty if the other end closed in good order.
  const std::string& reason() const { return reason_; }
  int descriptor() const { return socket_.number(); }

 private:
  TlsStream(Descriptor socket, CheckPeer check) : socket_(std::move(socket)), check_(std::move(check)) {}
  friend int CheckInHandshake(X509_STORE_CTX* verification, void*);
  Step After(int result);

  Descriptor socket_;
  CheckPeer check_;
  openssl::Stream stream_;
  Status refusal_;
  std::string reason_;
};

}  // namespace fedalt
