#include "net/grpc_server.h"

#include <list>

#include "federation.grpc.pb.h"
#include "net/certificates.h"
#include "net/grpc_options.h"

namespace fedalt {

/// Holds the library's server, whose header others need not see.
class GrpcServerHolder {
 public:
  std::unique_ptr<grpc::Server> server;
};

class GrpcServer::Service : public v1::Federation::CallbackService {
 public:
  Service(Identify identify, ServerCore& core, const Clock& clock) : identify_(std::move(identify)), core_(core), clock_(clock) {}

  grpc::ServerUnaryReactor* Enrol(grpc::CallbackServerContext* context, const v1::EnrolRequest* request,
                                  v1::EnrolReply* reply) override {
    return Answer(context, reply, [&](int64_t site) { return core_.Enrol(site, *request); });
  }
  grpc::ServerUnaryReactor* BeginUpload(grpc::CallbackServerContext* context, const v1::UploadManifest* request,
                                        v1::MissingChunks* reply) override {
    return Answer(context, reply, [&](int64_t site) { return core_.BeginUpload(site, *request); });
  }
  grpc::ServerUnaryReactor* PutChunk(grpc::CallbackServerContext* context, const v1::Chunk* request,
                                     v1::PutChunkReply* reply) override {
    return Answer(context, reply, [&](int64_t site) { return core_.PutChunk(site, *request); });
  }
  grpc::ServerUnaryReactor* CommitUpload(grpc::CallbackServerContext* context, const v1::UploadManifest* request,
                                         v1::CommitReply* reply) override {
    return Answer(context, reply, [&](int64_t site) { return core_.CommitUpload(site, *request); });
  }
  grpc::ServerUnaryReactor* GetManifest(grpc::CallbackServerContext* context, const v1::ManifestRequest* request,
                                        v1::PublishedManifest* reply) override {
    return Answer(context, reply, [&](int64_t site) { return core_.GetManifest(site, *request); });
  }
  grpc::ServerUnaryReactor* GetChunk(grpc::CallbackServerContext* context, const v1::ChunkRequest* request,
                                     v1::Chunk* reply) override {
    return Answer(context, reply, [&](int64_t site) { return core_.GetChunk(site, *request); });
  }

  grpc::ServerUnaryReactor* Poll(grpc::CallbackServerContext* context, const v1::PollRequest* request,
                                 v1::RunState* reply) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const StatusOr<int64_t> site = identify_(PeerCertificate(context->auth_context().get()));
    if (!site.ok()) {
      reactor->Finish(ToGrpc(site.status()));
      return reactor;
    }
    const StatusOr<v1::RunState> state = core_.State(request->run());
    constexpr int64_t kLongestMs = 30'000;
    const int64_t wait = std::min(request->wait_ms(), kLongestMs);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (state.ok() && state->version() == request->known_version() && wait > 0 && !closing_) {
      waiting_.push_back({reactor, reply, request->known_version(), clock_.NowMs() + wait});
      return reactor;
    }
    if (state.ok()) *reply = *state;
    reactor->Finish(ToGrpc(state.status()));
    return reactor;
  }

  /// Answers those who wait for a change, and those whose time is up; all of them if `everybody`.
  void AnswerWaiting(bool everybody) {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = closing_ || everybody;
    const v1::RunState state = core_.state();
    const int64_t now = clock_.NowMs();
    for (auto waiter = waiting_.begin(); waiter != waiting_.end();) {
      if (!everybody && waiter->known_version == state.version() && now < waiter->until_ms) {
        ++waiter;
        continue;
      }
      *waiter->reply = state;
      waiter->reactor->Finish(grpc::Status::OK);
      waiter = waiting_.erase(waiter);
    }
  }

 private:
  struct Waiter {
    grpc::ServerUnaryReactor* reactor;
    v1::RunState* reply;
    int64_t known_version, until_ms;
  };

  template <typename Reply, typename Work>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, Reply* reply, const Work& work) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const StatusOr<int64_t> site = identify_(PeerCertificate(context->auth_context().get()));
    if (!site.ok()) {
      reactor->Finish(ToGrpc(site.status()));
      return reactor;
    }
    StatusOr<Reply> result = work(*site);
    const Status status = result.status();
    if (status.ok()) *reply = *std::move(result);
    reactor->Finish(ToGrpc(status));
    return reactor;
  }

  Identify identify_;
  ServerCore& core_;
  const Clock& clock_;
  std::mutex mutex_;  // what follows
  std::list<Waiter> waiting_;
  bool closing_ = false;
};

GrpcServer::GrpcServer() = default;

GrpcServer::~GrpcServer() {
  if (!server_ || !server_->server) return;
  service_->AnswerWaiting(/*everybody=*/true);
  server_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  server_->server->Wait();
}

void GrpcServer::AnswerOverdue() {
  service_->AnswerWaiting(/*everybody=*/false);
}

StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const std::string& address, const TlsIdentity& identity, Identify identify,
                                                        ServerCore& core, const Clock& clock) {
  std::unique_ptr<GrpcServer> made(new GrpcServer());
  made->service_ = std::make_unique<Service>(std::move(identify), core, clock);
  SilenceGrpc();
  grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  ssl.pem_root_certs = identity.authority;
  ssl.pem_key_cert_pairs.push_back({identity.private_key, identity.certificate});
  grpc::ServerBuilder builder;
  ConfigureServer(builder);
  builder.AddListeningPort(address, grpc::SslServerCredentials(ssl), &made->port_);
  builder.RegisterService(made->service_.get());
  made->server_ = std::make_unique<GrpcServerHolder>();
  made->server_->server = builder.BuildAndStart();
  if (!made->server_->server || made->port_ == 0)
    return FederationError(absl::StrCat("cannot listen on ", address,
                                        "; expected a free port of this machine and a certificate that fits its private key"));
  Service* service = made->service_.get();
  core.OnChange([service] { service->AnswerWaiting(/*everybody=*/false); });
  return made;
}

GrpcServer::Identify IdentifyBy(const Roster& roster) {
  return [roster](const std::string& certificate) -> StatusOr<int64_t> {
    const auto facts = ParseCertificate(certificate);
    if (!facts.ok()) return absl::PermissionDeniedError("the certificate cannot be read");
    const auto place = FindSiteByFingerprint(roster, facts->fingerprint);
    if (!place)
      return absl::PermissionDeniedError(absl::StrCat("the certificate of \"", facts->common_name, "\" is not in the roster"));
    if (roster.sites[*place].revoked)
      return absl::PermissionDeniedError(absl::StrCat("the keys of ", roster.sites[*place].name, " are revoked"));
    return static_cast<int64_t>(*place);
  };
}

}  // namespace fedalt
