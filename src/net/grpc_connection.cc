#include "net/grpc_connection.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>

#include "base/interrupt.h"
#include "base/log.h"
#include "net/dial.h"
#include "net/grpc_options.h"
#include "net/tls_pump.h"

namespace fedalt {
namespace {

std::string MethodOf(Rpc rpc) {
  switch (rpc) {
    case Rpc::kEnrol:
      return "/fedalt.v1.Federation/Enrol";
    case Rpc::kPoll:
      return "/fedalt.v1.Federation/Poll";
    case Rpc::kBeginUpload:
      return "/fedalt.v1.Federation/BeginUpload";
    case Rpc::kPutChunk:
      return "/fedalt.v1.Federation/PutChunk";
    case Rpc::kCommitUpload:
      return "/fedalt.v1.Federation/CommitUpload";
    case Rpc::kGetManifest:
      return "/fedalt.v1.Federation/GetManifest";
    case Rpc::kGetChunk:
      return "/fedalt.v1.Federation/GetChunk";
    case Rpc::kCountersign:
      return "/fedalt.v1.Federation/Countersign";
    case Rpc::kReport:
      return "/fedalt.v1.Federation/Report";
    case Rpc::kLeave:
      return "/fedalt.v1.Federation/Leave";
  }
  return {};
}

/// The end of a call, which gRPC's threads tell.
struct Ending {
  grpc::Status status;
  std::mutex mutex;
  std::condition_variable finished;
  bool done = false;
};

}  // namespace

struct GrpcConnection::Channel {
  std::shared_ptr<TlsPump> pump = TlsPump::Shared();
  std::shared_ptr<TlsPump::Link> link;
  std::unique_ptr<grpc::GenericStub> stub;  // first to end, so that the pump sees the end of its side
};

GrpcConnection::GrpcConnection(const std::string& server, const TlsIdentity& identity, CheckPeer check_server)
    : server_(server), identity_(identity), check_server_(std::move(check_server)) {
  SilenceGrpc();
  watch_.See("this site", identity.certificate);
  watch_.See(kOfAuthority, identity.authority);
}

GrpcConnection::~GrpcConnection() = default;

void GrpcConnection::Forget(const std::shared_ptr<Channel>& channel) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (channel_ == channel) channel_.reset();
}

StatusOr<std::shared_ptr<GrpcConnection::Channel>> GrpcConnection::Connected(int64_t timeout_ms) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (channel_ && !channel_->link->ended()) return channel_;
  channel_.reset();
  const auto where = ParseHostPort(server_);
  if (!where) return ConfigError(absl::StrCat("server is \"", server_, "\"; expected host:port"));
  ASSIGN_OR_RETURN(const auto proxy, ProxyFor(*where, [](const char* name) {
                     const char* const value = std::getenv(name);
                     return std::string(value == nullptr ? "" : value);
                   }));
  if (proxy && !told_proxy_)
    LogInfo(absl::StrCat("the server is reached through the proxy ", TextOf(proxy->where), " (", proxy->variable, ")"));
  told_proxy_ = true;
  ASSIGN_OR_RETURN(Dialled dialled, Dial({*where, proxy, identity_, check_server_}, timeout_ms));
  watch_.See("the server", dialled.certificate);
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return absl::UnavailableError(absl::StrCat("no pair of sockets (", std::strerror(errno), ")"));
  channel_ = std::make_shared<Channel>();
  channel_->link = channel_->pump->Add(std::move(dialled.stream), Descriptor(ends[0]));
  channel_->stub =
      std::make_unique<grpc::GenericStub>(grpc::CreateCustomInsecureChannelFromFd(where->host, ends[1], ClientArguments()));
  return channel_;
}

StatusOr<std::string> GrpcConnection::Call(Rpc rpc, const std::string& request, int64_t timeout_ms) {
  for (const std::string& warning : watch_.Due(std::time(nullptr))) LogWarning(warning);
  ASSIGN_OR_RETURN(const std::shared_ptr<Channel> channel, Connected(timeout_ms));
  // The context holds the channel. It ends here and not in one of gRPC's threads: those cannot wait for their own end, as the last
  // owner of a channel does.
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms));
  const grpc::Slice slice(request);
  const grpc::ByteBuffer sent(&slice, 1);
  grpc::ByteBuffer received;
  const auto ending = std::make_shared<Ending>();
  channel->stub->UnaryCall(&context, MethodOf(rpc), grpc::StubOptions(), &sent, &received, [ending](const grpc::Status& status) {
    const std::lock_guard<std::mutex> lock(ending->mutex);
    ending->status = status;
    ending->done = true;
    ending->finished.notify_all();
  });
  {
    std::unique_lock<std::mutex> lock(ending->mutex);
    while (!ending->finished.wait_for(lock, std::chrono::milliseconds(100), [&] { return ending->done; }))
      if (InterruptRequested()) context.TryCancel();
  }
  if (InterruptRequested()) return InterruptedError("stopped while waiting for the server");
  // Nobody here cancelled it: a server that ends does that to the calls which it did not get to answer.
  if (ending->status.error_code() == grpc::StatusCode::CANCELLED) return absl::UnavailableError("the server ended during the call");
  if (channel->link->ended() && ending->status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    const std::string reason = channel->link->reason();
    return absl::UnavailableError(
        absl::StrCat(server_, " closed the connection", reason.empty() ? "" : absl::StrCat(" (", reason, ")")));
  }
  if (ending->status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) Forget(channel);  // the next call tries another one
  if (!ending->status.ok()) return FromGrpc(ending->status);
  std::vector<grpc::Slice> slices;
  std::string reply;
  if (!received.Dump(&slices).ok()) return absl::UnavailableError("the answer cannot be read");
  for (const grpc::Slice& part : slices) reply.append(reinterpret_cast<const char*>(part.begin()), part.size());
  return reply;
}

}  // namespace fedalt
