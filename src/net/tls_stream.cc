#include "net/tls_stream.h"

#include <csignal>
#include <cstring>

#include "base/check.h"

namespace fedalt {
namespace {

constexpr unsigned char kHttp2[] = {2, 'h', '2'};

std::string PemOf(X509* certificate) {
  const openssl::Memory memory(BIO_new(BIO_s_mem()));
  return memory && PEM_write_bio_X509(memory.get(), certificate) == 1 ? openssl::TextOf(memory.get()) : std::string();
}

int ChooseHttp2(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered, unsigned offered_size,
                void*) {
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, size, kHttp2, sizeof(kHttp2), offered, offered_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

/// 1: accepted. The error decides which alert the other end gets.
int CheckInHandshake(X509_STORE_CTX* verification, void*) {
  auto* const ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* const stream = static_cast<TlsStream*>(SSL_get_app_data(ssl));
  X509* const certificate = X509_STORE_CTX_get0_cert(verification);
  stream->refusal_ = stream->check_(PemOf(certificate));
  if (stream->refusal_.ok()) {
    X509_STORE_CTX_set_error(verification, X509_V_OK);
    return 1;
  }
  const bool expired = X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
  X509_STORE_CTX_set_error(verification, expired ? X509_V_ERR_CERT_HAS_EXPIRED : X509_V_ERR_CERT_UNTRUSTED);
  return 0;
}

StatusOr<std::shared_ptr<SSL_CTX>> MakeTlsContext(TlsSide side, const TlsIdentity& identity) {
  ASSIGN_OR_RETURN(const openssl::Certificate certificate, openssl::ReadCertificate(identity.certificate));
  ASSIGN_OR_RETURN(const openssl::Key key, openssl::ReadPrivateKey(identity.private_key));
  ASSIGN_OR_RETURN(const openssl::Certificate authority, openssl::ReadCertificate(identity.authority));
  const std::shared_ptr<SSL_CTX> context(SSL_CTX_new(side == TlsSide::kSite ? TLS_client_method() : TLS_server_method()),
                                         SSL_CTX_free);
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_cipher_list(context.get(), "ECDHE+AESGCM:ECDHE+CHACHA20") != 1 ||
      SSL_CTX_add_client_CA(context.get(), authority.get()) != 1)
    return openssl::Failure("prepare TLS");
  if (SSL_CTX_use_certificate(context.get(), certificate.get()) != 1 || SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    ERR_clear_error();
    return ConfigError("the private key belongs to another certificate; expected both from one fedalt keys folder");
  }
  // Who is let in is decided anew for every connection: none goes on with an older one's answer.
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(context.get(), &CheckInHandshake, nullptr);
  if (side == TlsSide::kServer)
    SSL_CTX_set_alpn_select_cb(context.get(), &ChooseHttp2, nullptr);
  else
    SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof(kHttp2));
  return context;
}

void BlockSignals() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

StatusOr<std::unique_ptr<TlsStream>> TlsStream::Make(SSL_CTX& context, TlsSide side, Descriptor socket, CheckPeer check) {
  FEDALT_CHECK(check != nullptr, "nobody is let in unseen");
  std::unique_ptr<TlsStream> made(new TlsStream(std::move(socket), std::move(check)));
  made->stream_.reset(SSL_new(&context));
  if (!made->stream_ || SSL_set_fd(made->stream_.get(), made->descriptor()) != 1) return openssl::Failure("begin a connection");
  SSL_set_app_data(made->stream_.get(), made.get());
  if (side == TlsSide::kSite)
    SSL_set_connect_state(made->stream_.get());
  else
    SSL_set_accept_state(made->stream_.get());
  return made;
}

TlsStream::Step TlsStream::After(int result) {
  const int system_error = errno;
  switch (SSL_get_error(stream_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Step::kWantsRead;
    case SSL_ERROR_WANT_WRITE:
      return Step::kWantsWrite;
    case SSL_ERROR_ZERO_RETURN:
      return Step::kEnded;
    case SSL_ERROR_SYSCALL:
      reason_ = system_error == 0 ? "the other end closed the connection" : std::strerror(system_error);
      break;
    default: {
      const unsigned long error = ERR_peek_error();
      const char* const words = ERR_reason_error_string(error);
      reason_ = words == nullptr ? "TLS failed" : words;
      if (ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING) reason_ = "the other end closed the connection";
    }
  }
  if (!refusal_.ok()) reason_ = std::string(refusal_.message());
  return Step::kEnded;
}

TlsStream::Step TlsStream::Handshake() {
  ERR_clear_error();
  errno = 0;
  const int result = SSL_do_handshake(stream_.get());
  if (result != 1) return After(result);
  // What the check works on may not outlive the handshake, and there is no second one.
  check_ = [](const std::string&) { return absl::PermissionDeniedError("a second handshake"); };
  return Step::kDone;
}

TlsStream::Moved TlsStream::Read(std::span<char> into) {
  ERR_clear_error();
  errno = 0;
  size_t bytes = 0;
  const int result = SSL_read_ex(stream_.get(), into.data(), into.size(), &bytes);
  return result == 1 ? Moved{Step::kDone, bytes} : Moved{After(result), 0};
}

TlsStream::Moved TlsStream::Write(std::string_view bytes) {
  ERR_clear_error();
  errno = 0;
  size_t written = 0;
  const int result = SSL_write_ex(stream_.get(), bytes.data(), bytes.size(), &written);
  return result == 1 ? Moved{Step::kDone, written} : Moved{After(result), 0};
}

void TlsStream::Close() {
  ERR_clear_error();
  (void)SSL_shutdown(stream_.get());
  ERR_clear_error();
}

}  // namespace fedalt
