// Carries bytes between TLS connections and the plain ends that gRPC reads and writes: gRPC sees neither certificates nor names,
// proxies or handshakes, all of which net/dial.h and net/tls_front.h do where they can be told about. One thread for all
// connections; memory follows what is on its way (32 KiB a connection at most), not how many there are.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "net/descriptor.h"
#include "net/tls_stream.h"

namespace fedalt {

class TlsPump {
 public:
  /// What others know of a connection. Any thread.
  class Link {
   public:
    bool ended() const { return ended_; }
    /// Why, in words; empty while it goes on, or if it ended in good order.
    std::string reason() const;

   private:
    friend class TlsPump;
    std::atomic<bool> ended_ = false, unwanted_ = false;
    mutable std::mutex mutex_;
    std::string reason_;
  };

  TlsPump();
  ~TlsPump();  ///< sends what the plain ends have written so far, if the peers take it at once

  /// From any thread. `stream` has shaken hands; `plain` is one end of a socket pair.
  std::shared_ptr<Link> Add(std::unique_ptr<TlsStream> stream, Descriptor plain);
  /// Ends the connection soon.
  void Drop(Link& link);

  /// The one of all connections of this process that dial out; it lives as long as somebody holds it.
  static std::shared_ptr<TlsPump> Shared();

 private:
  struct Pipe;
  class Loop;
  void Wake() const;

  Descriptor wakes_;
  std::mutex mutex_;  // what follows
  std::vector<std::unique_ptr<Pipe>> added_;
  std::jthread thread_;  // last: it ends first
};

/// What a connection to another machine gets: no delay for small writes, and an idle one ends two minutes after the other machine
/// has gone. One that is at work ends with its call (CallTimeoutMs): slow is not dead. (TCP_USER_TIMEOUT would end connections
/// whose receiver only reads slowly.)
void ConfigureSocket(int socket);

}  // namespace fedalt
