#include "net/tls_pump.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>

#include "base/check.h"

namespace fedalt {
namespace {

constexpr size_t kRecord = 16 << 10;  // of TLS
/// After so many bytes the others have their turn.
constexpr size_t kTurn = 1 << 18;

struct Rest {
  std::string bytes;
  size_t done = 0;
  bool empty() const { return done == bytes.size(); }
  std::string_view left() const { return std::string_view(bytes).substr(done); }
};

enum class Turn { kWaits, kOver, kEnded };

}  // namespace

std::string TlsPump::Link::reason() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return reason_;
}

struct TlsPump::Pipe {
  std::unique_ptr<TlsStream> stream;
  Descriptor plain;
  std::shared_ptr<Link> link;
  Rest inward, outward;  // read, and not yet passed on
  bool in_over = false, out_over = false;
  uint32_t stream_wants = 0, plain_wants = 0;  // what the turn found to wait for
  uint32_t stream_watched = 0, plain_watched = 0;

  Turn MoveIn(std::array<char, kRecord>& block) {
    for (size_t moved = 0;;) {
      while (!inward.empty()) {
        const auto left = inward.left();
        const ssize_t sent = ::send(plain.number(), left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN) return Turn::kEnded;
        if (sent < 0) {
          plain_wants |= EPOLLOUT;
          return Turn::kWaits;
        }
        inward.done += static_cast<size_t>(sent);
      }
      if (in_over) return Turn::kEnded;
      if (moved >= kTurn) return Turn::kOver;
      const TlsStream::Moved read = stream->Read(block);
      if (read.step == TlsStream::Step::kEnded) in_over = true;
      if (read.step == TlsStream::Step::kWantsRead) stream_wants |= EPOLLIN;
      if (read.step == TlsStream::Step::kWantsWrite) stream_wants |= EPOLLOUT;
      if (read.step == TlsStream::Step::kWantsRead || read.step == TlsStream::Step::kWantsWrite) {
        inward = {};
        return Turn::kWaits;
      }
      inward = {std::string(block.data(), read.bytes), 0};
      moved += read.bytes;
    }
  }

  Turn MoveOut(std::array<char, kRecord>& block) {
    for (size_t moved = 0;;) {
      while (!outward.empty()) {
        const TlsStream::Moved written = stream->Write(outward.left());
        if (written.step == TlsStream::Step::kEnded) return Turn::kEnded;
        if (written.step != TlsStream::Step::kDone) {
          stream_wants |= written.step == TlsStream::Step::kWantsRead ? EPOLLIN : EPOLLOUT;
          return Turn::kWaits;
        }
        outward.done += written.bytes;
      }
      if (out_over) {
        stream->Close();
        return Turn::kEnded;
      }
      if (moved >= kTurn) return Turn::kOver;
      const ssize_t read = ::recv(plain.number(), block.data(), block.size(), MSG_DONTWAIT);
      if (read < 0 && errno == EINTR) continue;
      if (read < 0 && errno == EAGAIN) {
        plain_wants |= EPOLLIN;
        outward = {};
        return Turn::kWaits;
      }
      if (read <= 0) {
        out_over = true;
        continue;
      }
      outward = {std::string(block.data(), static_cast<size_t>(read)), 0};
      moved += static_cast<size_t>(read);
    }
  }
};

/// What the thread does.
class TlsPump::Loop {
 public:
  explicit Loop(TlsPump& pump) : pump_(pump), events_(::epoll_create1(EPOLL_CLOEXEC)) {
    FEDALT_CHECK(events_.is_open(), "epoll_create1");
    epoll_event event{EPOLLIN, {.u64 = 0}};
    FEDALT_CHECK(::epoll_ctl(events_.number(), EPOLL_CTL_ADD, pump.wakes_.number(), &event) == 0, "epoll_ctl");
  }

  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) Round(again_.empty() ? -1 : 0);
    constexpr int kLastRounds = 50, kLastMs = 10;
    for (int i = 0; i < kLastRounds && !pipes_.empty(); ++i) Round(kLastMs);
    for (auto& [number, pipe] : pipes_) End(*pipe, "");
  }

 private:
  void Round(int wait_ms) {
    constexpr int kEvents = 64;
    std::array<epoll_event, kEvents> events{};
    const int count = ::epoll_wait(events_.number(), events.data(), kEvents, wait_ms);
    for (const uint64_t number : std::exchange(again_, {})) Move(number);
    for (int i = 0; i < count; ++i) {
      if (const uint64_t number = events[static_cast<size_t>(i)].data.u64; number == 0)
        TakeAdded();
      else
        Move(number);
    }
  }

  void TakeAdded() {
    uint64_t ignored = 0;
    (void)!::read(pump_.wakes_.number(), &ignored, sizeof(ignored));
    std::vector<std::unique_ptr<Pipe>> added;
    {
      const std::lock_guard<std::mutex> lock(pump_.mutex_);
      added.swap(pump_.added_);
    }
    for (auto& pipe : added) {
      const uint64_t number = next_++;
      pipes_[number] = std::move(pipe);
      Move(number);
    }
    std::vector<uint64_t> unwanted;
    for (const auto& [number, pipe] : pipes_)
      if (pipe->link->unwanted_) unwanted.push_back(number);
    for (const uint64_t number : unwanted) Remove(number, "too many connections");
  }

  void Move(uint64_t number) {
    const auto found = pipes_.find(number);
    if (found == pipes_.end()) return;  // ended by an event of the same batch
    Pipe& pipe = *found->second;
    pipe.stream_wants = pipe.plain_wants = 0;
    const Turn in = pipe.MoveIn(block_), out = pipe.MoveOut(block_);
    if (in == Turn::kEnded || out == Turn::kEnded) return Remove(number, pipe.stream->reason());
    if (in == Turn::kOver || out == Turn::kOver) again_.push_back(number);
    Watch(pipe.stream->descriptor(), number, pipe.stream_wants, pipe.stream_watched);
    Watch(pipe.plain.number(), number, pipe.plain_wants, pipe.plain_watched);
  }

  /// A descriptor from which nothing is wanted is not watched at all, or its hang-up would be told again and again.
  void Watch(int descriptor, uint64_t number, uint32_t wants, uint32_t& watched) {
    if (wants == watched) return;
    epoll_event event{wants, {.u64 = number}};
    const int what = watched == 0 ? EPOLL_CTL_ADD : wants == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    FEDALT_CHECK(::epoll_ctl(events_.number(), what, descriptor, &event) == 0, "epoll_ctl");
    watched = wants;
  }

  void Remove(uint64_t number, const std::string& reason) {
    const auto found = pipes_.find(number);
    End(*found->second, reason);
    pipes_.erase(found);
  }

  static void End(Pipe& pipe, const std::string& reason) {
    const std::lock_guard<std::mutex> lock(pipe.link->mutex_);
    pipe.link->reason_ = reason;
    pipe.link->ended_ = true;
  }

  TlsPump& pump_;
  const Descriptor events_;
  uint64_t next_ = 1;
  std::map<uint64_t, std::unique_ptr<Pipe>> pipes_;
  std::vector<uint64_t> again_;
  std::array<char, kRecord> block_{};
};

TlsPump::TlsPump() : wakes_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  FEDALT_CHECK(wakes_.is_open(), "eventfd");
  thread_ = std::jthread([this](const std::stop_token& stop) {
    BlockSignals();
    Loop(*this).Run(stop);
  });
}

TlsPump::~TlsPump() {
  thread_.request_stop();
  Wake();
  thread_.join();
}

void TlsPump::Wake() const {
  const uint64_t one = 1;
  (void)!::write(wakes_.number(), &one, sizeof(one));
}

std::shared_ptr<TlsPump::Link> TlsPump::Add(std::unique_ptr<TlsStream> stream, Descriptor plain) {
  auto pipe = std::make_unique<Pipe>();
  pipe->stream = std::move(stream);
  pipe->plain = std::move(plain);
  auto link = pipe->link = std::make_shared<Link>();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    added_.push_back(std::move(pipe));
  }
  Wake();
  return link;
}

void TlsPump::Drop(Link& link) {
  link.unwanted_ = true;
  Wake();
}

std::shared_ptr<TlsPump> TlsPump::Shared() {
  static std::mutex mutex;
  static std::weak_ptr<TlsPump> shared;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<TlsPump> pump = shared.lock();
  if (!pump) shared = pump = std::make_shared<TlsPump>();
  return pump;
}

void ConfigureSocket(int socket) {
  constexpr int kYes = 1, kIdleS = 60, kEveryS = 15, kProbes = 4;
  // A socket that cannot be configured so still works.
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &kYes, sizeof(kYes));
  (void)::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &kYes, sizeof(kYes));
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &kIdleS, sizeof(kIdleS));
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &kEveryS, sizeof(kEveryS));
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &kProbes, sizeof(kProbes));
}

}  // namespace fedalt
