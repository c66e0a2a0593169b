#include "net/dial.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <mutex>
#include <thread>

#include "base/interrupt.h"
#include "net/certificates.h"
#include "net/tls_pump.h"

namespace fedalt {
namespace {

using Moment = std::chrono::steady_clock::time_point;
using Addresses = std::unique_ptr<addrinfo, openssl::Free<::freeaddrinfo>>;

constexpr int kSliceMs = 100, kConnectMs = 20'000;

/// One try, in a thread of its own, because the system's resolver cannot be interrupted. Who asked for it may have gone.
struct Try {
  DialOptions options;
  Moment deadline;
  std::atomic<bool> abandoned = false;
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<StatusOr<Dialled>> result;
};

Status TooLate(std::string_view what) {
  return absl::UnavailableError(absl::StrCat(std::string(what), ": no answer in time"));
}

/// Until the socket is ready for `events`.
Status Await(const Try& attempt, int socket, short events, Moment until, const std::string& what) {
  for (;;) {
    if (attempt.abandoned) return InterruptedError("stopped while waiting for the server");
    pollfd wanted{socket, events, 0};
    if (::poll(&wanted, 1, kSliceMs) > 0) return absl::OkStatus();
    if (std::chrono::steady_clock::now() >= until) return TooLate(what);
  }
}

StatusOr<Addresses> Resolve(const HostPort& where) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (IsAddress(where.host) ? AI_NUMERICHOST : AI_ADDRCONFIG);
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints, &found); error != 0)
    return absl::UnavailableError(absl::StrCat("the address of \"", where.host, "\" is not found (", ::gai_strerror(error),
                                               "); check the name, /etc/hosts and the name server"));
  return Addresses(found);
}

StatusOr<Descriptor> ConnectTo(const Try& attempt, const HostPort& where) {
  ASSIGN_OR_RETURN(const Addresses addresses, Resolve(where));
  const std::string name = TextOf(where);
  Status last = absl::UnavailableError(absl::StrCat(name, ": there is no address"));
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    Descriptor socket(::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    int error = socket.is_open() ? 0 : errno;
    if (error == 0 && ::connect(socket.number(), address->ai_addr, address->ai_addrlen) != 0) error = errno;
    if (error == EINPROGRESS) {
      const Moment until = std::min(attempt.deadline, std::chrono::steady_clock::now() + std::chrono::milliseconds(kConnectMs));
      last = Await(attempt, socket.number(), POLLOUT, until, name);
      if (!last.ok()) continue;
      socklen_t size = sizeof(error);
      ::getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error == 0) return socket;
    last = absl::UnavailableError(absl::StrCat(name, ": ", std::strerror(error)));
  }
  return last;
}

/// Asks the proxy for a tunnel, and reads its answer up to the empty line and not a byte more.
Status Tunnel(const Try& attempt, int socket) {
  const std::string request = ConnectRequest(attempt.options.server, *attempt.options.proxy);
  size_t sent = 0;
  while (sent < request.size()) {
    RETURN_IF_ERROR(Await(attempt, socket, POLLOUT, attempt.deadline, "the proxy"));
    const ssize_t now = ::send(socket, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (now < 0 && errno != EAGAIN && errno != EINTR) return absl::UnavailableError(std::strerror(errno));
    sent += static_cast<size_t>(std::max<ssize_t>(now, 0));
  }
  constexpr size_t kMostBytes = 8192;
  std::string answer;
  while (!answer.ends_with("\r\n\r\n")) {
    RETURN_IF_ERROR(Await(attempt, socket, POLLIN, attempt.deadline, "the proxy"));
    char byte = 0;
    const ssize_t now = ::recv(socket, &byte, 1, 0);
    if (now < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (now <= 0 || answer.size() >= kMostBytes) return absl::UnavailableError("it closed the connection without an answer");
    answer += byte;
  }
  const std::string first = answer.substr(0, answer.find('\r'));
  if (first.starts_with("HTTP/1.") && first.find(" 2") == first.find(' ')) return absl::OkStatus();
  std::string printable;
  for (const char c : first.substr(0, 80)) printable += c >= ' ' && c <= '~' ? c : '?';
  return absl::UnavailableError(absl::StrCat("it answered \"", printable, "\""));
}

StatusOr<Descriptor> Reach(const Try& attempt) {
  const auto& proxy = attempt.options.proxy;
  if (!proxy) return ConnectTo(attempt, attempt.options.server);
  const auto of_proxy = [&](const Status& status) -> Status {
    if (KindOf(status) == ErrorKind::kInterrupted) return status;
    return absl::UnavailableError(absl::StrCat("the proxy ", TextOf(proxy->where), " that ", proxy->variable,
                                               " names does not lead to ", TextOf(attempt.options.server), ": ", status.message(),
                                               "; correct it, or name the server in no_proxy"));
  };
  StatusOr<Descriptor> socket = ConnectTo(attempt, proxy->where);
  if (!socket.ok()) return of_proxy(socket.status());
  if (const Status status = Tunnel(attempt, socket->number()); !status.ok()) return of_proxy(status);
  return socket;
}

/// This end's certificate may have ended since the process began.
Status CheckOwn(const TlsIdentity& identity) {
  return Annotate(CheckCertificate(identity.certificate, identity.authority, CertificateUse::kSite, std::time(nullptr)),
                  "this site's keys");
}

StatusOr<Dialled> Run(const Try& attempt) {
  const DialOptions& options = attempt.options;
  RETURN_IF_ERROR(CheckOwn(options.identity));
  ASSIGN_OR_RETURN(const auto context, MakeTlsContext(TlsSide::kSite, options.identity));
  ASSIGN_OR_RETURN(Descriptor socket, Reach(attempt));
  ConfigureSocket(socket.number());
  Dialled dialled;
  std::string certificate;
  const CheckPeer check = [&](const std::string& pem) -> Status {
    certificate = pem;
    RETURN_IF_ERROR(CheckServerCertificate(pem, options.identity.authority, options.server.host, std::time(nullptr)));
    return options.check_server ? options.check_server(pem) : absl::OkStatus();
  };
  ASSIGN_OR_RETURN(dialled.stream, TlsStream::Make(*context, TlsSide::kSite, std::move(socket), check));
  const std::string name = TextOf(options.server);
  for (;;) {
    const TlsStream::Step step = dialled.stream->Handshake();
    if (step == TlsStream::Step::kDone) break;
    if (step == TlsStream::Step::kEnded && !dialled.stream->refusal().ok()) return dialled.stream->refusal();
    if (step == TlsStream::Step::kEnded)
      return absl::UnavailableError(
          absl::StrCat(name, options.proxy ? absl::StrCat(" (through the proxy ", TextOf(options.proxy->where), ")") : "",
                       " does not shake hands as a server of fedalt does (", dialled.stream->reason(), ")"));
    const short events = step == TlsStream::Step::kWantsRead ? POLLIN : POLLOUT;
    RETURN_IF_ERROR(Await(attempt, dialled.stream->descriptor(), events, attempt.deadline, absl::StrCat(name, ", TLS")));
  }
  dialled.certificate = std::move(certificate);
  return dialled;
}

}  // namespace

Status CheckServerCertificate(const std::string& pem, const std::string& authority_pem, const std::string& host, int64_t now_s) {
  constexpr char kShows[] = "the server's certificate is not one of the federation's authority for this host name: ";
  const StatusOr<CertificateFacts> facts = ParseCertificate(pem);
  if (!facts.ok()) return FederationError(absl::StrCat(kShows, facts.status().message()));
  const Status status = CheckCertificate(pem, authority_pem, CertificateUse::kServer, now_s);
  if (!status.ok() && CheckCertificate(pem, authority_pem, CertificateUse::kServer, facts->validity.not_after_s - 1).ok())
    return absl::UnavailableError(absl::StrCat("the server shows a certificate at the wrong time: ", status.message()));
  if (!status.ok())
    return FederationError(absl::StrCat(kShows, status.message(), "; check `server` and the folder of keys, or a proxy inspects"));
  const openssl::Certificate certificate = *openssl::ReadCertificate(pem);
  const bool fits = IsAddress(host) ? X509_check_ip_asc(certificate.get(), host.c_str(), 0) == 1
                                    : X509_check_host(certificate.get(), host.data(), host.size(), 0, nullptr) == 1;
  if (fits) return absl::OkStatus();
  std::string hosts;
  for (const std::string& name : facts->hosts) absl::StrAppend(&hosts, hosts.empty() ? "" : ", ", name);
  return FederationError(absl::StrCat(kShows, "it is for ", hosts, ", and `server` says ", host,
                                      "; use one of its hosts, or renew it by fedalt keys server with --renew --host ", host));
}

StatusOr<Dialled> Dial(const DialOptions& options, int64_t timeout_ms) {
  const auto attempt = std::make_shared<Try>();
  attempt->options = options;
  attempt->deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  std::thread([attempt] {
    BlockSignals();
    StatusOr<Dialled> result = Run(*attempt);
    const std::lock_guard<std::mutex> lock(attempt->mutex);
    attempt->result.emplace(std::move(result));
    attempt->changed.notify_all();
  }).detach();
  std::unique_lock<std::mutex> lock(attempt->mutex);
  const Moment last = attempt->deadline + std::chrono::milliseconds(2 * kSliceMs);
  while (!attempt->changed.wait_for(lock, std::chrono::milliseconds(kSliceMs), [&] { return attempt->result.has_value(); })) {
    attempt->abandoned = InterruptRequested() || std::chrono::steady_clock::now() >= last;
    if (InterruptRequested()) return InterruptedError("stopped while waiting for the server");
    if (attempt->abandoned) return TooLate(TextOf(options.server));
  }
  return *std::move(attempt->result);
}

}  // namespace fedalt
