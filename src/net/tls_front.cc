#include "net/tls_front.h"

#include <netdb.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>

#include "base/check.h"
#include "base/signature.h"
#include "net/certificates.h"
#include "net/proxy.h"

namespace fedalt {
namespace {

constexpr uint64_t kWakes = 0, kListens = 1;

/// Since the machine was started.
int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string TextOfSocket(const sockaddr_storage& address, socklen_t size) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "?";
  return absl::StrCat(host.data(), ":", port.data());
}

/// Two ends of a stream within the process; gRPC calls the first "unix-abstract:NAME", since the second has that name.
StatusOr<std::array<Descriptor, 2>> NamedPair(const std::string& name) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return absl::ResourceExhaustedError(absl::StrCat("no pair of sockets (", std::strerror(errno), ")"));
  std::array<Descriptor, 2> pair = {Descriptor(ends[0]), Descriptor(ends[1])};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  FEDALT_CHECK(name.size() < sizeof(address.sun_path), "a short name");
  std::copy(name.begin(), name.end(), address.sun_path + 1);  // the zero byte before it: no file
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(ends[1], reinterpret_cast<const sockaddr*>(&address), size) != 0)
    return absl::ResourceExhaustedError(absl::StrCat("no name for a pair of sockets (", std::strerror(errno), ")"));
  return pair;
}

}  // namespace

struct TlsFront::Handshake {
  std::string from;  // address of the other end
  int64_t until_ms = 0;
  Descriptor socket;  // until its first byte is there: a connection that says nothing costs no more than this
  std::unique_ptr<TlsStream> stream;
  Member member;
};

TlsFront::TlsFront(Options options) : options_(std::move(options)), log_(options_.warn) {}

StatusOr<std::unique_ptr<TlsFront>> TlsFront::Start(Options options) {
  std::unique_ptr<TlsFront> made(new TlsFront(std::move(options)));
  const TlsIdentity& identity = made->options_.identity;
  ASSIGN_OR_RETURN(made->context_, MakeTlsContext(TlsSide::kServer, identity));
  made->watch_.See(kOfThisServer, identity.certificate);
  made->watch_.See(kOfAuthority, identity.authority);
  made->prefix_ = absl::StrCat("fedalt-", SigningKey::Generate().public_key().Hex().substr(0, 24), "-");
  RETURN_IF_ERROR(made->Listen());
  TlsFront* const front = made.get();
  made->thread_ = std::jthread([front](const std::stop_token& stop) {
    BlockSignals();
    front->Run(stop);
  });
  return made;
}

TlsFront::~TlsFront() {
  StopAccepting();
}

void TlsFront::StopAccepting() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  const uint64_t one = 1;
  (void)!::write(wakes_.number(), &one, sizeof(one));
  thread_.join();
  handshakes_.clear();
  listens_ = Descriptor();
}

Status TlsFront::Listen() {
  const auto where = ParseHostPort(options_.address);
  if (!where) return ConfigError(absl::StrCat("listen is \"", options_.address, "\"; expected host:port"));
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(where->host.c_str(), std::to_string(where->port).c_str(), &hints, &found); error != 0)
    return MakeError(ErrorKind::kNotNow, absl::StrCat("cannot listen on ", options_.address, " (", ::gai_strerror(error),
                                                      "); expected an address of this machine"));
  const std::unique_ptr<addrinfo, openssl::Free<::freeaddrinfo>> addresses(found);
  constexpr int kYes = 1, kNo = 0, kWaiting = 1024;
  listens_ = Descriptor(::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  (void)::setsockopt(listens_.number(), SOL_SOCKET, SO_REUSEADDR, &kYes, sizeof(kYes));
  if (found->ai_family == AF_INET6) (void)::setsockopt(listens_.number(), IPPROTO_IPV6, IPV6_V6ONLY, &kNo, sizeof(kNo));
  if (!listens_.is_open() || ::bind(listens_.number(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(listens_.number(), kWaiting) != 0)
    return MakeError(ErrorKind::kNotNow, absl::StrCat("cannot listen on ", options_.address, " (", std::strerror(errno),
                                                      "); expected a free port of this machine"));
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  FEDALT_CHECK(::getsockname(listens_.number(), reinterpret_cast<sockaddr*>(&bound), &size) == 0, "getsockname");
  port_ = ParseHostPort(absl::StrCat("[::]:", TextOfSocket(bound, size).substr(TextOfSocket(bound, size).rfind(':') + 1)))->port;
  events_ = Descriptor(::epoll_create1(EPOLL_CLOEXEC));
  wakes_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event wakes{EPOLLIN, {.u64 = kWakes}}, listens{EPOLLIN, {.u64 = kListens}};
  FEDALT_CHECK(::epoll_ctl(events_.number(), EPOLL_CTL_ADD, wakes_.number(), &wakes) == 0 &&
                   ::epoll_ctl(events_.number(), EPOLL_CTL_ADD, listens_.number(), &listens) == 0,
               "epoll_ctl");
  return absl::OkStatus();
}

void TlsFront::Run(const std::stop_token& stop) {
  constexpr int kEvents = 64, kTickMs = 1000;
  std::array<epoll_event, kEvents> events{};
  int64_t ticked_ms = 0;
  while (!stop.stop_requested()) {
    const int count = ::epoll_wait(events_.number(), events.data(), kEvents, kTickMs);
    for (int i = 0; i < count; ++i) {
      const uint64_t number = events[static_cast<size_t>(i)].data.u64;
      if (number == kListens) Accept();
      if (number > kListens) Advance(number);
    }
    if (NowMs() - ticked_ms >= kTickMs) {
      ticked_ms = NowMs();
      Tick();
    }
  }
}

void TlsFront::Accept() {
  constexpr int kTogether = 64;
  for (int i = 0; i < kTogether; ++i) {
    sockaddr_storage from{};
    socklen_t size = sizeof(from);
    Descriptor socket(::accept4(listens_.number(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket.is_open()) {
      // No file is left: make room, or the same connection would be told of for ever.
      if (errno != EMFILE && errno != ENFILE) return;
      if (!handshakes_.empty()) GiveUp(handshakes_.begin()->first, "too many open files; a connection needs three (ulimit -Hn)");
      constexpr int kPauseMs = 100;
      ::poll(nullptr, 0, kPauseMs);
      return;
    }
    ConfigureSocket(socket.number());
    if (handshakes_.size() >= options_.most_handshakes)
      GiveUp(handshakes_.begin()->first, absl::StrCat("more than ", options_.most_handshakes, " handshakes are open"));
    auto handshake = std::make_unique<Handshake>();
    handshake->from = TextOfSocket(from, size);
    handshake->until_ms = NowMs() + options_.handshake_ms;
    handshake->socket = std::move(socket);
    const uint64_t number = next_++;
    epoll_event event{EPOLLIN, {.u64 = number}};
    FEDALT_CHECK(::epoll_ctl(events_.number(), EPOLL_CTL_ADD, handshake->socket.number(), &event) == 0, "epoll_ctl");
    handshakes_[number] = std::move(handshake);
  }
}

/// Inside the handshake. OK: let in, though perhaps only to be told why not.
Status TlsFront::Admit(Handshake& handshake, const std::string& certificate) const {
  Member& member = handshake.member;
  ASSIGN_OR_RETURN(const CertificateFacts facts, ParseCertificate(certificate));
  const auto check = [&](int64_t at_s) {
    return CheckCertificate(certificate, options_.identity.authority, CertificateUse::kSite, at_s);
  };
  const Status now = check(std::time(nullptr));
  if (!now.ok() && !check(facts.validity.not_after_s - 1).ok()) return now;  // not only at the wrong time
  member.certificate = certificate;
  member.not_after_s = facts.validity.not_after_s;
  if (now.ok())
    member.site = options_.identify(certificate);
  else if (KindOf(now) == ErrorKind::kNotNow)
    member.site = absl::UnavailableError(now.message());  // one of two clocks is wrong: it may be set
  else
    member.site = absl::PermissionDeniedError(now.message());
  return absl::OkStatus();
}

void TlsFront::Advance(uint64_t number) {
  const auto found = handshakes_.find(number);
  if (found == handshakes_.end()) return;  // given up by an event of the same batch
  Handshake& handshake = *found->second;
  if (!handshake.stream) {
    auto stream = TlsStream::Make(*context_, TlsSide::kServer, std::move(handshake.socket),
                                  [this, &handshake](const std::string& certificate) { return Admit(handshake, certificate); });
    if (!stream.ok()) return GiveUp(number, std::string(stream.status().message()));
    handshake.stream = *std::move(stream);
  }
  const TlsStream::Step step = handshake.stream->Handshake();
  if (step == TlsStream::Step::kEnded) return GiveUp(number, handshake.stream->reason());
  if (step != TlsStream::Step::kDone) {
    epoll_event event{step == TlsStream::Step::kWantsRead ? EPOLLIN : EPOLLOUT, {.u64 = number}};
    FEDALT_CHECK(::epoll_ctl(events_.number(), EPOLL_CTL_MOD, handshake.stream->descriptor(), &event) == 0, "epoll_ctl");
    return;
  }
  ::epoll_ctl(events_.number(), EPOLL_CTL_DEL, handshake.stream->descriptor(), nullptr);
  LetIn(handshake);
  handshakes_.erase(number);
}

void TlsFront::LetIn(Handshake& handshake) {
  Member& member = handshake.member;
  member.number = next_++;
  const std::string name = absl::StrCat(prefix_, member.number);
  auto pair = NamedPair(name);
  if (!pair.ok()) return log_.Tell(absl::StrCat(handshake.from, " was refused: ", pair.status().message()), NowMs());
  const StatusOr<CertificateFacts> facts = ParseCertificate(member.certificate);
  if (!member.site.ok())
    log_.Tell(absl::StrCat(handshake.from, " was refused as a site: ", member.site.status().message()), NowMs());
  else if (facts.ok())
    watch_.See(absl::StrCat("site ", facts->common_name), member.certificate);
  member.link = pump_.Add(std::move(handshake.stream), std::move((*pair)[1]));
  const StatusOr<int64_t> site = member.site;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    members_[name] = std::move(member);
  }
  KeepFewOf(site);
  options_.serve((*pair)[0].Release());
}

/// Those who are not a site of this federation count as one.
void TlsFront::KeepFewOf(const StatusOr<int64_t>& site) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Member* oldest = nullptr;
  size_t count = 0;
  for (const auto& [name, member] : members_) {
    if (member.link->ended() || member.site.ok() != site.ok() || (site.ok() && *member.site != *site)) continue;
    ++count;
    if (oldest == nullptr || member.number < oldest->number) oldest = &member;
  }
  if (count > options_.most_connections_of_site) pump_.Drop(*oldest->link);
}

void TlsFront::GiveUp(uint64_t number, const std::string& why) {
  const auto found = handshakes_.find(number);
  log_.Tell(absl::StrCat("a connection from ", found->second->from,
                         " ended in the TLS handshake: ", why.empty() ? "the other end closed it" : why),
            NowMs());
  handshakes_.erase(found);
}

void TlsFront::Tick() {
  const int64_t now = NowMs();
  while (!handshakes_.empty() && handshakes_.begin()->second->until_ms <= now)  // all wait equally long
    GiveUp(handshakes_.begin()->first, absl::StrCat("not finished within ", options_.handshake_ms / 1000, " s"));
  log_.Tick(now);
  for (const std::string& warning : watch_.Due(std::time(nullptr))) options_.warn(warning);
  const std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(members_, [](const auto& entry) { return entry.second.link->ended(); });
}

StatusOr<int64_t> TlsFront::SiteOf(std::string_view peer) const {
  constexpr std::string_view kScheme = "unix-abstract:";
  if (peer.substr(0, kScheme.size()) == kScheme) peer.remove_prefix(kScheme.size());
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = members_.find(peer);
  if (found == members_.end()) return absl::UnavailableError("the connection has ended");
  const Member& member = found->second;
  if (member.site.ok() && std::time(nullptr) > member.not_after_s)
    return absl::PermissionDeniedError(absl::StrCat("the certificate of this site expired on ", DateOf(member.not_after_s),
                                                    "; renew it by fedalt keys with --renew"));
  return member.site;
}

}  // namespace fedalt
