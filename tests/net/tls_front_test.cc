// Who comes through the server's port, who does not, and what each side is told. The other end is OpenSSL and gRPC where it need
// not be this program's.
#include "net/tls_front.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <condition_variable>

#include "net/dial.h"
#include "net/parties.h"

namespace fedalt {
namespace {

using testing::kDayS;

constexpr int64_t kLongMs = 60'000;

/// What is told, from any thread.
class Heard {
 public:
  void Tell(const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    all_ += what + "\n";
    changed_.notify_all();
  }
  /// Waits until it was told.
  bool Await(const std::string& what) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1), [&] { return all_.find(what) != std::string::npos; });
  }
  std::string all() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return all_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string all_;
};

class TlsFrontTest : public ::testing::Test {
 protected:
  void Start(size_t most_handshakes = 1024, int64_t handshake_ms = 20'000) {
    auto front = TlsFront::Start({.address = "127.0.0.1:0",
                                  .identity = server_,
                                  .identify = [](const std::string&) -> StatusOr<int64_t> { return 7; },
                                  .serve = [this](int plain) { Serve(plain); },
                                  .warn = [this](const std::string& what) { heard_.Tell(what); },
                                  .most_handshakes = most_handshakes,
                                  .handshake_ms = handshake_ms});
    ASSERT_TRUE(front.ok()) << front.status();
    front_ = *std::move(front);
  }
  /// In gRPC's place: remembers who it is, says "hello" and closes.
  void Serve(int plain) {
    const Descriptor end(plain);
    sockaddr_storage peer{};
    socklen_t size = sizeof(peer);
    ASSERT_EQ(::getpeername(plain, reinterpret_cast<sockaddr*>(&peer), &size), 0);
    const std::string name(reinterpret_cast<const char*>(&peer) + sizeof(sa_family_t) + 1, size - sizeof(sa_family_t) - 1);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      site_ = front_->SiteOf("unix-abstract:" + name);
    }
    (void)!::send(plain, "hello", 5, MSG_NOSIGNAL);  // who has gone already hears nothing
  }
  /// Who came last.
  StatusOr<int64_t> who() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return site_;
  }
  StatusOr<Dialled> DialAs(const TlsIdentity& identity, std::optional<Proxy> proxy = std::nullopt) const {
    return Dial({{"127.0.0.1", static_cast<uint16_t>(front_->port())}, std::move(proxy), identity, nullptr}, kLongMs);
  }
  /// What the server's side says until it closes.
  static std::string ReadAll(TlsStream& stream) {
    std::string all;
    std::array<char, 64> block{};
    for (;;) {
      const TlsStream::Moved read = stream.Read(block);
      if (read.step == TlsStream::Step::kEnded) return all;
      all.append(block.data(), read.bytes);
    }
  }
  Descriptor Socket() const {
    Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(front_->port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket.number(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    return socket;
  }
  /// Waits for the other end to close.
  static void AwaitEnd(const Descriptor& socket) {
    std::array<char, 256> block{};
    while (::recv(socket.number(), block.data(), block.size(), 0) > 0) {
    }
  }
  /// A foreign client: OpenSSL alone, with any certificate and no care whom it talks to. Why it ended.
  std::string ShakeHandsAs(const TlsIdentity& identity) const {
    const auto context = *MakeTlsContext(TlsSide::kSite, identity);
    auto stream = *TlsStream::Make(*context, TlsSide::kSite, Socket(), [](const std::string&) { return absl::OkStatus(); });
    if (stream->Handshake() == TlsStream::Step::kDone) ReadAll(*stream);
    return stream->reason();
  }

  const testing::Parties parties_;
  TlsIdentity server_ = parties_.Server();
  Heard heard_;
  std::mutex mutex_;
  StatusOr<int64_t> site_ = absl::UnknownError("nobody came");
  std::unique_ptr<TlsFront> front_;
};

TEST_F(TlsFrontTest, ASiteIsLetInAndKnown) {
  Start();
  auto dialled = DialAs(parties_.Site("osaka"));
  ASSERT_TRUE(dialled.ok()) << dialled.status();
  EXPECT_EQ(dialled->certificate, server_.certificate);
  EXPECT_EQ(ReadAll(*dialled->stream), "hello");
  EXPECT_EQ(dialled->stream->reason(), "");
  EXPECT_EQ(who(), StatusOr<int64_t>(7));
  EXPECT_EQ(heard_.all(), "");
}

TEST_F(TlsFrontTest, AnEndedCertificateIsNamedAtBothSides) {
  Start();
  const TlsIdentity ended = parties_.Issue(CertificateUse::kSite, "osaka", -20, -2);
  EXPECT_EQ(ShakeHandsAs(ended), "");  // let in, to be told in words
  EXPECT_EQ(who().status().code(), absl::StatusCode::kPermissionDenied) << who().status();
  const std::string since = DateOf(parties_.now_s - 2 * kDayS);
  EXPECT_NE(std::string(who().status().message()).find("\"osaka\" expired on " + since), std::string::npos) << who().status();
  EXPECT_TRUE(heard_.Await("127.0.0.1")) << heard_.all();
  EXPECT_NE(heard_.all().find("\"osaka\" expired on " + since), std::string::npos) << heard_.all();
  // A site that uses it knows by itself.
  const Status own = DialAs(ended).status();
  EXPECT_EQ(KindOf(own), ErrorKind::kConfig) << own;
  EXPECT_NE(std::string(own.message()).find(since), std::string::npos) << own;
}

TEST_F(TlsFrontTest, ACertificateOfTheFutureMayBeTriedAgain) {
  Start();
  const TlsIdentity early = parties_.Issue(CertificateUse::kSite, "osaka", 2, 20);
  ShakeHandsAs(early);
  EXPECT_TRUE(absl::IsUnavailable(who().status())) << who().status();
  EXPECT_EQ(KindOf(DialAs(early).status()), ErrorKind::kNotNow);
}

TEST_F(TlsFrontTest, TheServersCertificateIsCheckedBeforeAnythingIsSent) {
  const TlsIdentity site = parties_.Site("osaka");
  server_ = parties_.Issue(CertificateUse::kServer, "server", -20, -2);
  Start();
  const Status ended = DialAs(site).status();
  EXPECT_TRUE(absl::IsUnavailable(ended)) << ended;  // its operator can mend that, and the site goes on by itself
  EXPECT_NE(std::string(ended.message()).find("expired on " + DateOf(parties_.now_s - 2 * kDayS)), std::string::npos) << ended;
  EXPECT_TRUE(heard_.Await("certificate expired")) << heard_.all();

  server_ = parties_.Issue(CertificateUse::kServer, "server", -1, 20, {"fl.example.org", "10.0.0.7"});
  Start();
  const Status host = DialAs(site).status();
  EXPECT_EQ(KindOf(host), ErrorKind::kFederation) << host;
  EXPECT_NE(std::string(host.message()).find("fl.example.org, 10.0.0.7"), std::string::npos) << host;

  server_ = testing::Parties().Server();
  Start();
  EXPECT_EQ(KindOf(DialAs(site).status()), ErrorKind::kFederation);
  EXPECT_EQ(who().status().code(), absl::StatusCode::kUnknown);  // nobody was let in
}

TEST_F(TlsFrontTest, StrangersAreRefusedInTheHandshakeAndNamed) {
  Start();
  const TlsIdentity foreign = testing::Parties().Site("osaka");
  EXPECT_NE(ShakeHandsAs(foreign), "");
  EXPECT_TRUE(heard_.Await("was not signed by the authority")) << heard_.all();
  EXPECT_NE(ShakeHandsAs(server_), "");  // a server's certificate is no site's
  EXPECT_TRUE(heard_.Await("expected one for a site")) << heard_.all();

  const Descriptor browser = Socket();
  const std::string get = "GET / HTTP/1.1\r\n\r\n";
  ASSERT_EQ(::send(browser.number(), get.data(), get.size(), MSG_NOSIGNAL), static_cast<ssize_t>(get.size()));
  AwaitEnd(browser);
  EXPECT_TRUE(heard_.Await("http request")) << heard_.all();

  // OpenSSL as its own documentation uses it, without a certificate.
  const std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  const openssl::Stream bare(SSL_new(context.get()));
  const Descriptor socket = Socket();
  SSL_set_fd(bare.get(), socket.number());
  SSL_connect(bare.get());
  char byte = 0;
  EXPECT_LE(SSL_read(bare.get(), &byte, 1), 0);
  EXPECT_TRUE(heard_.Await("did not return a certificate")) << heard_.all();
  EXPECT_EQ(who().status().code(), absl::StatusCode::kUnknown);
}

TEST_F(TlsFrontTest, WhoSaysNothingIsGivenUpWhenOthersCome) {
  Start(/*most_handshakes=*/3);
  std::vector<Descriptor> silent;
  for (int i = 0; i < 8; ++i) silent.push_back(Socket());
  for (int i = 0; i < 5; ++i) AwaitEnd(silent[static_cast<size_t>(i)]);  // the oldest
  EXPECT_TRUE(DialAs(parties_.Site("osaka")).ok());
}

TEST_F(TlsFrontTest, WhoSaysNothingIsGivenUpInTime) {
  Start(/*most_handshakes=*/1024, /*handshake_ms=*/1);
  AwaitEnd(Socket());
  EXPECT_TRUE(heard_.Await("not finished within")) << heard_.all();
}

TEST_F(TlsFrontTest, ATakenPortMayBeFreeLater) {
  Start();
  const auto second = TlsFront::Start({.address = absl::StrCat("127.0.0.1:", front_->port()),
                                       .identity = server_,
                                       .identify = nullptr,
                                       .serve = nullptr,
                                       .warn = nullptr});
  EXPECT_EQ(KindOf(second.status()), ErrorKind::kNotNow) << second.status();
}

/// A proxy of one connection: takes the request up to its empty line, answers, and if it tunnels carries bytes both ways.
class OneTunnel {
 public:
  OneTunnel(const std::string& answer, int to_port) : listens_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    EXPECT_EQ(::bind(listens_.number(), reinterpret_cast<const sockaddr*>(&at), size), 0);
    EXPECT_EQ(::listen(listens_.number(), 1), 0);
    EXPECT_EQ(::getsockname(listens_.number(), reinterpret_cast<sockaddr*>(&at), &size), 0);
    port = ntohs(at.sin_port);
    thread_ = std::thread([this, answer, to_port] { Run(answer, to_port); });
  }
  ~OneTunnel() { thread_.join(); }

  uint16_t port = 0;
  std::string asked;

 private:
  void Run(const std::string& answer, int to_port) {
    const Descriptor from(::accept(listens_.number(), nullptr, nullptr));
    char byte = 0;
    while (!asked.ends_with("\r\n\r\n") && ::recv(from.number(), &byte, 1, 0) == 1) asked += byte;
    if (::send(from.number(), answer.data(), answer.size(), MSG_NOSIGNAL) < 0 || to_port == 0) return;
    const Descriptor to(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<uint16_t>(to_port));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(to.number(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) return;
    std::thread back([&] { Carry(to, from); });
    Carry(from, to);
    back.join();
  }
  static void Carry(const Descriptor& from, const Descriptor& to) {
    std::array<char, 4096> block{};
    for (ssize_t bytes = 0; (bytes = ::recv(from.number(), block.data(), block.size(), 0)) > 0;)
      if (::send(to.number(), block.data(), static_cast<size_t>(bytes), MSG_NOSIGNAL) != bytes) break;
    ::shutdown(to.number(), SHUT_RDWR);
  }
  Descriptor listens_;
  std::thread thread_;
};

TEST_F(TlsFrontTest, AProxyIsAskedForATunnelAndNamedWhenItRefuses) {
  Start();
  const TlsIdentity site = parties_.Site("osaka");
  {
    OneTunnel proxy("HTTP/1.1 200 Connection established\r\nVia: 1.1 p\r\n\r\n", front_->port());
    EXPECT_TRUE(DialAs(site, Proxy{{"127.0.0.1", proxy.port}, "u:p", "http_proxy"}).ok());
    EXPECT_EQ(proxy.asked.substr(0, proxy.asked.find('\r')), absl::StrCat("CONNECT 127.0.0.1:", front_->port(), " HTTP/1.1"));
  }
  OneTunnel proxy("HTTP/1.1 403 Forbidden\r\n\r\n", 0);
  const Status refused = DialAs(site, Proxy{{"127.0.0.1", proxy.port}, "u:secret", "http_proxy"}).status();
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
  for (const std::string word : {"proxy", "403 Forbidden", "http_proxy"})
    EXPECT_NE(std::string(refused.message()).find(word), std::string::npos) << refused;
  EXPECT_EQ(std::string(refused.message()).find("secret"), std::string::npos) << refused;
}

TEST(BoundedLogTest, AFloodIsCounted) {
  std::vector<std::string> told;
  BoundedLog log([&](const std::string& what) { told.push_back(what); });
  for (int i = 0; i < 5000; ++i) log.Tell("refused", 1'000'000 + i);
  EXPECT_EQ(told.size(), static_cast<size_t>(BoundedLog::kMostAMinute));
  log.Tick(1'000'000 + BoundedLog::kMinuteMs);
  ASSERT_EQ(told.size(), static_cast<size_t>(BoundedLog::kMostAMinute) + 1);
  EXPECT_NE(told.back().find("4990"), std::string::npos) << told.back();
  log.Tell("refused", 1'000'001 + BoundedLog::kMinuteMs);
  EXPECT_EQ(told.back(), "refused");
}

TEST(CertificateWatchTest, WarnsOnceADayFrom30DaysBeforeTheEnd) {
  const testing::Parties parties;
  CertificateWatch watch;
  watch.See(kOfAuthority, parties.authority.certificate_pem);
  watch.See("site osaka", parties.Issue(CertificateUse::kSite, "osaka", -1, 40).certificate);
  EXPECT_TRUE(watch.Due(parties.now_s).empty());
  EXPECT_EQ(watch.Ends().at("site osaka"), parties.now_s + 40 * kDayS);
  const auto due = watch.Due(parties.now_s + 11 * kDayS);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_NE(due[0].find("site osaka"), std::string::npos) << due[0];
  EXPECT_NE(due[0].find(DateOf(parties.now_s + 40 * kDayS)), std::string::npos) << due[0];
  EXPECT_TRUE(watch.Due(parties.now_s + 11 * kDayS + 3600).empty());
  EXPECT_EQ(watch.Due(parties.now_s + 12 * kDayS).size(), 1u);
  EXPECT_EQ(watch.Due(parties.now_s + 41 * kDayS).size(), 1u);  // it has ended
  watch.See("site osaka", parties.Issue(CertificateUse::kSite, "osaka", -1, 200).certificate);
  EXPECT_TRUE(watch.Due(parties.now_s + 42 * kDayS).empty());
  EXPECT_EQ(watch.Due(parties.now_s + 340 * kDayS).size(), 2u);
}

}  // namespace
}  // namespace fedalt
