#include "net/grpc_connection.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/interrupt.h"
#include "net/grpc_options.h"

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
    case Rpc::kGetProof:
      return "/fedalt.v1.Federation/GetProof";
    case Rpc::kCountersign:
      return "/fedalt.v1.Federation/Countersign";
    case Rpc::kReport:
      return "/fedalt.v1.Federation/Report";
    case Rpc::kLeave:
      return "/fedalt.v1.Federation/Leave";
  }
  return {};
}

/// Whether TLS itself refused the server, which no waiting changes.
bool IsWrongServer(const std::string& message) {
  return message.find("ertificate verify failed") != std::string::npos ||
         message.find("CERTIFICATE_VERIFY_FAILED") != std::string::npos ||
         message.find("is not in peer certificate") != std::string::npos ||
         message.find("ostname Verification") != std::string::npos;
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
  std::shared_ptr<grpc::Channel> channel;
  grpc::GenericStub stub;
  explicit Channel(std::shared_ptr<grpc::Channel> made) : channel(std::move(made)), stub(channel) {}
};

GrpcConnection::GrpcConnection(const std::string& server, const TlsIdentity& identity, CheckPeer check_server)
    : check_server_(std::move(check_server)) {
  SilenceGrpc();
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = identity.authority;
  ssl.pem_private_key = identity.private_key;
  ssl.pem_cert_chain = identity.certificate;
  channel_ = std::make_unique<Channel>(grpc::CreateCustomChannel(server, grpc::SslCredentials(ssl), ClientArguments()));
}

GrpcConnection::~GrpcConnection() = default;

StatusOr<std::string> GrpcConnection::Call(Rpc rpc, const std::string& request, int64_t timeout_ms) {
  // The context holds the channel. It ends here and not in one of gRPC's threads: those cannot wait for their own end, as the last
  // owner of a channel does.
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms));
  const grpc::Slice slice(request);
  const grpc::ByteBuffer sent(&slice, 1);
  grpc::ByteBuffer received;
  const auto ending = std::make_shared<Ending>();
  channel_->stub.UnaryCall(&context, MethodOf(rpc), grpc::StubOptions(), &sent, &received, [ending](const grpc::Status& status) {
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
  if (!ending->status.ok() && IsWrongServer(ending->status.error_message()))
    return absl::UnauthenticatedError(
        absl::StrCat("the server's certificate is not one of the federation's authority for this host name (",
                     ending->status.error_message(), "); check `server` and the folder of keys"));
  // Nobody here cancelled it: a server that ends does that to the calls which it did not get to answer.
  if (ending->status.error_code() == grpc::StatusCode::CANCELLED) return absl::UnavailableError("the server ended during the call");
  if (!ending->status.ok()) return FromGrpc(ending->status);
  if (check_server_) RETURN_IF_ERROR(check_server_(PeerCertificate(context.auth_context().get())));
  std::vector<grpc::Slice> slices;
  std::string reply;
  if (!received.Dump(&slices).ok()) return absl::UnavailableError("the answer cannot be read");
  for (const grpc::Slice& part : slices) reply.append(reinterpret_cast<const char*>(part.begin()), part.size());
  return reply;
}

}  // namespace fedalt
