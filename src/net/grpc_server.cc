#include "net/grpc_server.h"

#include <sys/resource.h>

#include <list>
#include <thread>

#include "base/log.h"
#include "federation.grpc.pb.h"
#include "net/certificates.h"
#include "net/grpc_options.h"
#include "net/tls_front.h"
#include "net/work_queue.h"

namespace fedalt {

/// Holds the library's server, whose header others need not see, and the port in front of it.
class GrpcServerHolder {
 public:
  std::unique_ptr<TlsFront> front;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::unique_ptr<grpc::Server> server;
};

namespace {

constexpr int kPieceThreads = 4;  // more did not write faster
constexpr auto kLookEvery = std::chrono::milliseconds(20);

/// Every connection is an open file, and a process may often open 1,024 at first though more are allowed to it.
void AskForManyFiles() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

/// gRPC has few threads of its own (two, on a small machine), which also read and write all connections. So they only take calls
/// in; what the core does, which may wait for the disk, happens on other threads.
class GrpcServer::Service : public v1::Federation::CallbackService {
 public:
  Service(ServerCore& core, const Clock& clock)
      : core_(core), clock_(clock), state_(core.state()), telling_since_(state_.version()) {}
  void IdentifyBy(const TlsFront& front) { front_ = &front; }

  grpc::ServerUnaryReactor* Enrol(grpc::CallbackServerContext* context, const v1::EnrolRequest* request,
                                  v1::EnrolReply* reply) override {
    return Answer(facts_, context, reply, [this, request](int64_t site) { return core_.Enrol(site, *request); });
  }
  grpc::ServerUnaryReactor* BeginUpload(grpc::CallbackServerContext* context, const v1::UploadManifest* request,
                                        v1::MissingChunks* reply) override {
    return Answer(facts_, context, reply, [this, request](int64_t site) { return core_.BeginUpload(site, *request); });
  }
  grpc::ServerUnaryReactor* PutChunk(grpc::CallbackServerContext* context, const v1::Chunk* request,
                                     v1::PutChunkReply* reply) override {
    return Answer(pieces_, context, reply, [this, request](int64_t site) { return core_.PutChunk(site, *request); });
  }
  grpc::ServerUnaryReactor* CommitUpload(grpc::CallbackServerContext* context, const v1::UploadManifest* request,
                                         v1::CommitReply* reply) override {
    return Answer(facts_, context, reply, [this, request](int64_t site) { return core_.CommitUpload(site, *request); });
  }
  grpc::ServerUnaryReactor* GetManifest(grpc::CallbackServerContext* context, const v1::ManifestRequest* request,
                                        v1::PublishedManifest* reply) override {
    return Answer(facts_, context, reply, [this, request](int64_t site) { return core_.GetManifest(site, *request); });
  }
  grpc::ServerUnaryReactor* GetChunk(grpc::CallbackServerContext* context, const v1::ChunkRequest* request,
                                     v1::Chunk* reply) override {
    return Answer(pieces_, context, reply, [this, request](int64_t site) { return core_.GetChunk(site, *request); });
  }
  grpc::ServerUnaryReactor* Countersign(grpc::CallbackServerContext* context, const v1::Countersignature* request,
                                        v1::CountersignReply* reply) override {
    return Answer(facts_, context, reply, [this, request](int64_t site) { return core_.Countersign(site, *request); });
  }
  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context, const v1::Metrics* request,
                                   v1::ReportReply* reply) override {
    return Answer(facts_, context, reply, [this, request](int64_t site) { return core_.Report(site, *request); });
  }
  grpc::ServerUnaryReactor* Leave(grpc::CallbackServerContext* context, const v1::LeaveRequest* request,
                                  v1::LeaveReply* reply) override {
    return Answer(facts_, context, reply, [this, request](int64_t site) { return core_.Leave(site, *request); });
  }

  /// Answered from what the core said last, so that it waits for nothing.
  grpc::ServerUnaryReactor* Poll(grpc::CallbackServerContext* context, const v1::PollRequest* request,
                                 v1::RunState* reply) override {
    // Two servers on one run: the core decides.
    if (IsOfAnother(*request))
      return Answer(facts_, context, reply, [this, request](int64_t site) { return core_.State(site, *request); });
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    const StatusOr<int64_t> site = front_->SiteOf(context->peer());
    const Status status = site.ok() ? core_.AdmitPoll(*site, *request) : site.status();
    if (!status.ok()) {
      reactor->Finish(ToGrpc(status));
      return reactor;
    }
    constexpr int64_t kLongestMs = 30'000;
    const int64_t wait = std::min(request->wait_ms(), kLongestMs), known = request->known_version();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (known >= telling_since_ && known <= state_.version() && wait > 0 && !closing_) {
        waiting_.push_back({reactor, reply, *site, known, clock_.MonotonicMs() + wait});
        return reactor;
      }
      *reply = state_;
    }
    reply->set_notice(core_.NoticeFor(*site));
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  /// Answers those who wait for what has come, and those whose time is up; all of them if `everybody`.
  void AnswerWaiting(bool everybody) {
    const v1::RunState state = core_.state();  // may wait for the core's disk: not under the lock
    std::list<Waiter> answered;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closing_ = closing_ || everybody;
      if (state.version() > state_.version()) {
        if (!SameStep(state, state_)) telling_since_ = state.version();
        state_ = state;
      }
      const int64_t now = clock_.MonotonicMs();
      const bool told = now < told_ms_ + static_cast<int64_t>(waiting_.size()) * kMsPerWaiter;
      for (auto waiter = waiting_.begin(); waiter != waiting_.end();) {
        const auto next = std::next(waiter);
        const bool progress = waiter->known_version != state_.version() && !told;
        if (progress) told_ms_ = now;
        if (everybody || progress || waiter->known_version < telling_since_ || now >= waiter->until_ms) {
          *waiter->reply = state_;
          waiter->reply->set_notice(core_.NoticeFor(waiter->site));
          answered.splice(answered.end(), waiting_, waiter);
        }
        waiter = next;
      }
    }
    for (const Waiter& waiter : answered) waiter.reactor->Finish(grpc::Status::OK);
  }

 private:
  struct Waiter {
    grpc::ServerUnaryReactor* reactor;
    v1::RunState* reply;
    int64_t site, known_version, until_ms;
  };
  /// Whether the site has heard of another server of this run, which may be a later one.
  bool IsOfAnother(const v1::PollRequest& request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool other_instance = !request.known_instance().empty() && request.known_instance() != state_.instance();
    return request.known_start() > state_.start() || (request.known_start() == state_.start() && other_instance);
  }

  /// Each upload changes whom the server waits for. That alone is told to all who wait so seldom that it costs little: a site in
  /// a large federation learns it late, and the beginning and end of a step at once.
  static constexpr int64_t kMsPerWaiter = 5;
  static bool SameStep(const v1::RunState& a, const v1::RunState& b) {
    return a.phase() == b.phase() && a.round() == b.round() && a.attempt() == b.attempt() && a.closed_round() == b.closed_round();
  }

  template <typename Reply, typename Work>
  grpc::ServerUnaryReactor* Answer(WorkQueue& queue, grpc::CallbackServerContext* context, Reply* reply, const Work& work) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    queue.Add([this, context, reactor, reply, work] {
      if (context->IsCancelled()) return reactor->Finish(grpc::Status::CANCELLED);  // it has been given up: spare the work
      const StatusOr<int64_t> site = front_->SiteOf(context->peer());
      if (!site.ok()) return reactor->Finish(ToGrpc(site.status()));
      StatusOr<Reply> result = work(*site);
      const Status status = result.status();
      if (status.ok()) *reply = *std::move(result);
      reactor->Finish(ToGrpc(status));
    });
    return reactor;
  }

  const TlsFront* front_ = nullptr;  // before the first call
  ServerCore& core_;
  const Clock& clock_;
  std::mutex mutex_;  // what follows
  std::list<Waiter> waiting_;
  v1::RunState state_;         // the newest one that the core told
  int64_t telling_since_ = 0;  // the first version of the step that state_ is in
  int64_t told_ms_ = 0;        // when progress was told last
  bool closing_ = false;
  // Last: they end before what they use. The core works on one fact at a time; several pieces are synced better than one.
  WorkQueue facts_{1};
  WorkQueue pieces_{kPieceThreads};
  std::jthread looks_{[this](const std::stop_token& stop) {
    for (; !stop.stop_requested(); std::this_thread::sleep_for(kLookEvery)) AnswerWaiting(/*everybody=*/false);
  }};
};

GrpcServer::GrpcServer() = default;

GrpcServer::~GrpcServer() {
  if (!server_ || !server_->server) return;
  if (server_->front) server_->front->StopAccepting();
  service_->AnswerWaiting(/*everybody=*/true);
  server_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  server_->server->Wait();
}

StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const std::string& address, const TlsIdentity& identity, Identify identify,
                                                        ServerCore& core, const Clock& clock) {
  std::unique_ptr<GrpcServer> made(new GrpcServer());
  made->service_ = std::make_unique<Service>(core, clock);
  made->server_ = std::make_unique<GrpcServerHolder>();
  GrpcServerHolder& holder = *made->server_;
  SilenceGrpc();
  AskForManyFiles();
  grpc::ServerBuilder builder;
  ConfigureServer(builder);
  holder.acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
  builder.RegisterService(made->service_.get());
  holder.server = builder.BuildAndStart();
  if (!holder.server) return MakeError(ErrorKind::kInternal, "gRPC does not start a server");
  const auto serve = [&acceptor = *holder.acceptor](int plain) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = plain;
    acceptor.HandleNewConnection(&connection);
  };
  ASSIGN_OR_RETURN(holder.front, TlsFront::Start({.address = address,
                                                  .identity = identity,
                                                  .identify = std::move(identify),
                                                  .serve = serve,
                                                  .warn = [](const std::string& what) { LogWarning(what); }}));
  made->port_ = holder.front->port();
  Service* service = made->service_.get();
  service->IdentifyBy(*holder.front);
  core.OnChange([service] { service->AnswerWaiting(/*everybody=*/false); });
  return made;
}

std::map<std::string, int64_t> GrpcServer::CertificateEnds() const {
  return server_->front->CertificateEnds();
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
