// The server's port: accepts, shakes hands, decides who is let in, and passes the plain stream on. So the server's log can say who
// was refused and why, and who does not finish a handshake costs an open file and some kilobytes for 20 seconds at most.
//
// Let in are those whose certificate the authority signed for a site; one that has ended, or whose key the roster does not name,
// too, so that its owner is told in words, at each call. Others are refused in the handshake. One thread of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "net/bounded_log.h"
#include "net/certificate_watch.h"
#include "net/tls.h"
#include "net/tls_pump.h"

namespace fedalt {

class TlsFront {
 public:
  struct Options {
    std::string address;  ///< host:port; port 0: a free one
    TlsIdentity identity;
    std::function<StatusOr<int64_t>(const std::string& certificate)> identify;  ///< the site's place in the roster
    std::function<void(int plain)> serve;                                       ///< owns it; gRPC at the other end
    std::function<void(const std::string&)> warn;
    size_t most_handshakes = 1024;  ///< at a time; beyond that the oldest is given up
    int64_t handshake_ms = 20'000;
    size_t most_connections_of_site = 8;  ///< beyond that the oldest is closed
  };

  /// Errors: kConfig (address, keys), kNotNow (the port is taken).
  static StatusOr<std::unique_ptr<TlsFront>> Start(Options options);
  ~TlsFront();

  int port() const { return port_; }
  /// The end of each certificate that was seen, by whose it is (net/certificate_watch.h). From any thread.
  std::map<std::string, int64_t> CertificateEnds() const { return watch_.Ends(); }
  /// No connection is accepted from now on; those that there are go on.
  void StopAccepting();
  /// Which site is at the other end. `peer`: what gRPC calls the other end of the plain stream. From any thread. Errors:
  /// PermissionDenied (not a site of this federation, or its certificate has ended), Unavailable (the connection has ended).
  StatusOr<int64_t> SiteOf(std::string_view peer) const;

 private:
  struct Handshake;
  struct Member {
    StatusOr<int64_t> site = absl::UnavailableError("not known yet");
    std::string certificate;
    int64_t not_after_s = 0;
    uint64_t number = 0;
    std::shared_ptr<TlsPump::Link> link;
  };

  explicit TlsFront(Options options);
  Status Listen();
  void Run(const std::stop_token& stop);
  void Accept();
  void Advance(uint64_t number);
  void Tick();
  Status Admit(Handshake& handshake, const std::string& certificate) const;
  void LetIn(Handshake& handshake);
  void GiveUp(uint64_t number, const std::string& why);
  void KeepFewOf(const StatusOr<int64_t>& site);

  const Options options_;
  std::shared_ptr<SSL_CTX> context_;
  Descriptor listens_, events_, wakes_;
  int port_ = 0;
  std::string prefix_;                                         // of the names of plain streams
  std::map<uint64_t, std::unique_ptr<Handshake>> handshakes_;  // by age
  uint64_t next_ = 2;                                          // 0 and 1: wakes_, listens_
  BoundedLog log_;
  CertificateWatch watch_;
  TlsPump pump_;
  mutable std::mutex mutex_;  // what follows
  std::map<std::string, Member, std::less<>> members_;
  std::jthread thread_;  // last: it ends first
};

}  // namespace fedalt
