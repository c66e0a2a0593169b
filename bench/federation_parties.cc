#include "federation_parties.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <string>
#include <thread>

#include "base/check.h"
#include "base/signature.h"
#include "fed/cohort.h"
#include "fed/server_round.h"
#include "federation.grpc.pb.h"
#include "measure.h"
#include "model/tensor_memory.h"
#include "net/certificates.h"
#include "net/grpc_connection.h"
#include "net/grpc_options.h"
#include "net/grpc_server.h"
#include "net/site_session.h"
#include "store/server_store.h"

namespace fedalt::bench {
namespace {

constexpr char kAgreement[] = "the load of fedalt_bench\n", kRun[] = "load";
constexpr int64_t kRound = 1;

void Must(const Status& status) {
  FEDALT_CHECK(status.ok(), std::string(status.message()));
}

template <typename Value>
Value Must(StatusOr<Value> value) {
  Must(value.status());
  return *std::move(value);
}

/// Value `i` of a site's contribution, within +-0.01: a hash (splitmix64) of both.
float ValueAt(int64_t site, int64_t i) {
  uint64_t x = (static_cast<uint64_t>(site) << 40) + static_cast<uint64_t>(i) + 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  constexpr float kScale = 0.02F / static_cast<float>(1 << 24);
  return static_cast<float>((x ^ (x >> 31)) >> 40) * kScale - 0.01F;
}

at::Tensor ContributionOf(int64_t site, int64_t values) {
  at::Tensor contribution = at::empty({values}, at::kFloat);
  float* const to = contribution.data_ptr<float>();
  for (int64_t i = 0; i < values; ++i) to[i] = ValueAt(site, i);
  return contribution;
}

/// Of its training examples, which are its weight.
int64_t ExamplesOf(int64_t site) {
  return 1 + site % 3;
}

double WeightOf(int64_t site) {
  return static_cast<double>(ExamplesOf(site));
}

/// Whether the sum is right at every 4,099th value: computed once more on the grid of 2^-40.
bool IsSum(const Published& published, const std::vector<int64_t>& places, int64_t values) {
  if (published.contributors != static_cast<int64_t>(places.size()) || published.values.numel() != values) return false;
  constexpr int64_t kEvery = 4099;
  const float* const sum = published.values.data_ptr<float>();
  for (int64_t i = 0; i < values; i += kEvery) {
    int64_t expected = 0;
    for (const int64_t site : places)
      expected += std::llrint(std::ldexp(WeightOf(site) * static_cast<double>(ValueAt(site, i)), 40));
    if (sum[i] != static_cast<float>(std::ldexp(static_cast<double>(expected), -40))) return false;
  }
  return true;
}

ServerOptions OptionsOf(const Load& load, const Keys& keys) {
  ServerOptions options;
  options.run = kRun;
  options.agreement = kAgreement;
  for (const RosterSite& site : keys.roster.sites) options.sites.push_back(site.name);
  options.exchange_rounds = {kRound};
  options.values = load.values;
  options.ledger_policy = LedgerPolicy::kKeepAbsent;
  options.participation.count = load.sites;
  options.minimum_cohort = load.sites;
  options.weight = [](int64_t train_examples) { return static_cast<double>(train_examples); };
  return options;
}

std::unique_ptr<ServerStore> OpenStore(const std::filesystem::path& directory, std::vector<std::string> sites) {
  auto key = std::make_shared<SigningKey>(SigningKey::Generate());
  return Must(ServerStore::Open(directory, {kRun, std::move(sites), [] { return SystemClock().NowMs(); },
                                            [key](std::string_view message) {
                                              const Ed25519Signature signature = key->Sign(message);
                                              return std::string(signature.begin(), signature.end());
                                            }}));
}

std::string AddressOf(const std::string& port) {
  return "127.0.0.1:" + port;
}

CheckPeer Pinned(const Keys& keys) {
  return [pin = keys.roster.server->fingerprint](const std::string& certificate) -> Status {
    const auto facts = ParseCertificate(certificate);
    return facts.ok() && facts->fingerprint == pin ? absl::OkStatus() : absl::PermissionDeniedError("another server");
  };
}

/// A site that enrols and then waits in Poll, without a thread of its own.
class IdleSite {
 public:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    int64_t enrolled = 0, ended = 0, failed = 0;
  };

  IdleSite(const std::string& address, const TlsIdentity& identity, Shared& shared) : shared_(shared) {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = identity.authority;
    ssl.pem_private_key = identity.private_key;
    ssl.pem_cert_chain = identity.certificate;
    stub_ = v1::Federation::NewStub(grpc::CreateCustomChannel(address, grpc::SslCredentials(ssl), ClientArguments()));
  }

  void Enrol() {
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_wait_for_ready(true);
    enrol_.set_oldest_protocol(kOldestProtocol);
    enrol_.set_newest_protocol(kNewestProtocol);
    enrol_.set_agreement(kAgreement);
    enrol_.set_train_examples(1);
    stub_->async()->Enrol(context_.get(), &enrol_, &enrolled_, [this](const grpc::Status& status) {
      state_ = enrolled_.state();
      Count(status.ok() ? &Shared::enrolled : &Shared::failed);
      if (status.ok()) Poll();
    });
  }

 private:
  void Count(int64_t Shared::*what) {
    const std::lock_guard<std::mutex> lock(shared_.mutex);
    ++(shared_.*what);
    shared_.changed.notify_all();
  }

  void Poll() {
    context_ = std::make_unique<grpc::ClientContext>();
    poll_.set_run(kRun);
    poll_.set_known_version(state_.version());
    poll_.set_wait_ms(20'000);
    stub_->async()->Poll(context_.get(), &poll_, &state_, [this](const grpc::Status& status) {
      if (!status.ok()) return Count(&Shared::failed);
      if (state_.phase() == v1::PHASE_ENDED) return Count(&Shared::ended);
      Poll();
    });
  }

  Shared& shared_;
  std::unique_ptr<v1::Federation::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  v1::EnrolRequest enrol_;
  v1::EnrolReply enrolled_;
  v1::PollRequest poll_;
  v1::RunState state_;
};

}  // namespace

Keys MakeKeys(int64_t sites) {
  Keys keys;
  const Validity validity = ValidForDays(static_cast<int64_t>(std::time(nullptr)), 60);  // far from the warning that they end
  const CertifiedKey authority = Must(MakeAuthority("load", validity));
  const auto issue = [&](CertificateUse use, const std::string& name, PartyKeys& of) {
    std::vector<std::string> hosts;
    if (use == CertificateUse::kServer) hosts = {"127.0.0.1"};
    const CertifiedKey key = Must(IssueCertificate(authority, {use, name, hosts, validity, ""}));
    of.fingerprint = Must(ParseCertificate(key.certificate_pem)).fingerprint;
    return TlsIdentity{key.certificate_pem, key.private_key_pem, authority.certificate_pem};
  };
  keys.roster.federation = "load";
  keys.server = issue(CertificateUse::kServer, "server", keys.roster.server.emplace());
  for (int64_t site = 0; site < sites; ++site) {
    keys.roster.sites.push_back({absl::StrCat("site-", site), {}, false});
    keys.sites.push_back(issue(CertificateUse::kSite, keys.roster.sites.back().name, keys.roster.sites.back().keys));
  }
  return keys;
}

std::vector<int64_t> Uploaders(const Load& load) {
  ParticipationOptions participation;
  participation.count = load.sites;
  std::vector<std::string> names;
  for (int64_t place = 0; place < load.sites + load.idle; ++place) names.push_back(absl::StrCat("site-", place));
  return CohortOf(participation, names, kRound, 0);
}

std::string Lines::Read() const {
  char line[256];
  if (std::fgets(line, sizeof(line), from) == nullptr) return "";
  std::string text = line;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void Lines::Write(const std::string& line) const {
  std::fprintf(to, "%s\n", line.c_str());
  std::fflush(to);
}

void BeServer(const Load& load, const Keys& keys, const std::filesystem::path& directory, const Lines& lines) {
  KeepTensorMemory();  // as the program does
  const SystemClock clock;
  const ServerOptions options = OptionsOf(load, keys);
  const auto store = OpenStore(directory, options.sites);
  const auto method = Must(MakeMethod({}));
  const ServerRoundOptions round{method.get(), {{}, 1, UploadFormat::kFloat32}, options.values, options.sites};
  ServerCore core(options, *store, clock);
  Must(core.Recover());
  const auto port = Must(GrpcServer::Start(AddressOf("0"), keys.server, IdentifyBy(keys.roster), core, clock));
  lines.Write(absl::StrCat(port->port()));
  // The loop of `fedalt server`.
  int64_t begun_ms = 0;
  double aggregation_s = 0.0;
  pollfd told{::fileno(lines.from), POLLIN, 0};
  constexpr int kPieceMs = 20;
  for (bool closed = false; ::poll(&told, 1, kPieceMs) <= 0;) {
    if (const auto closing = Must(core.Tick())) {
      aggregation_s += SecondsOf([&] { Must(core.Finish(*closing, Aggregate(*closing, round, *store))); });
    }
    const v1::RunState state = core.state();
    if (begun_ms == 0 && state.phase() == v1::PHASE_COLLECTING) begun_ms = clock.NowMs();
    if (closed || state.closed_round() < kRound) continue;
    closed = true;
    lines.Write(absl::StrCat(static_cast<double>(clock.NowMs() - begun_ms) / 1e3, " ", aggregation_s));
  }
}

void BeIdle(const Load& load, const Keys& keys, const Lines& lines) {
  const std::vector<int64_t> uploaders = Uploaders(load);
  const std::string address = AddressOf(lines.Read());
  SilenceGrpc();
  IdleSite::Shared shared;
  std::vector<std::unique_ptr<IdleSite>> sites;
  for (int64_t place = 0; place < static_cast<int64_t>(keys.sites.size()); ++place)
    if (!std::binary_search(uploaders.begin(), uploaders.end(), place))
      sites.push_back(std::make_unique<IdleSite>(address, keys.sites[static_cast<size_t>(place)], shared));
  for (const auto& site : sites) site->Enrol();
  std::unique_lock<std::mutex> lock(shared.mutex);
  shared.changed.wait(lock, [&] { return shared.enrolled + shared.failed == load.idle; });
  lines.Write("ready");
  shared.changed.wait(lock, [&] { return shared.ended + shared.failed == load.idle; });
  lines.Write(absl::StrCat(shared.failed));
  lock.unlock();
  lines.Read();
}

void BeUploaders(const Load& load, const Keys& keys, const std::vector<int64_t>& places, const Lines& lines) {
  const std::vector<int64_t> all = Uploaders(load);
  const std::string address = AddressOf(lines.Read());
  std::atomic<int64_t> failed{0}, repeated{0};
  const auto be = [&](int64_t place) -> Status {
    Upload upload{kRound, place, WeightOf(place), ContributionOf(place, load.values)};
    GrpcConnection connection(address, keys.sites[static_cast<size_t>(place)], Pinned(keys));
    SystemClock clock;
    SiteSessionOptions options;
    options.agreement = kAgreement;
    options.train_examples = ExamplesOf(place);
    SiteSession session(options, connection, clock, [&](const std::string& told) {
      if (told.find("waits for the server") == std::string::npos) return;
      if (repeated++ == 0) std::fprintf(stderr, "site-%ld %s\n", static_cast<long>(place), told.c_str());
    });
    RETURN_IF_ERROR(session.Enrol(false));
    RETURN_IF_ERROR(session.Send(std::move(upload)));
    ASSIGN_OR_RETURN(const Published published, session.CloseRound(kRound));
    return IsSum(published, all, load.values) ? absl::OkStatus() : FederationError("read another sum than expected");
  };
  std::vector<std::thread> threads;
  for (const int64_t place : places)
    threads.emplace_back([&, place] {
      const Status status = be(place);
      if (status.ok()) return;
      ++failed;
      std::fprintf(stderr, "site-%ld %s\n", static_cast<long>(place), std::string(status.message()).c_str());
    });
  for (std::thread& thread : threads) thread.join();
  lines.Write(absl::StrCat(failed.load(), " ", repeated.load()));
}

void BeProber(const Keys& keys, const Lines& lines) {
  const std::string address = AddressOf(lines.Read());
  GrpcConnection connection(address, keys.sites.back(), Pinned(keys));
  const SystemClock clock;
  v1::PollRequest request;
  request.set_run(kRun);
  v1::RunState state;
  std::vector<double> ms;
  while (state.closed_round() < kRound) {
    constexpr auto kPause = std::chrono::milliseconds(20);
    std::this_thread::sleep_for(kPause);
    constexpr int64_t kLongestMs = 60'000;
    StatusOr<std::string> answer = absl::UnknownError("");
    const double seconds = SecondsOf([&] { answer = connection.Call(Rpc::kPoll, request.SerializeAsString(), kLongestMs); });
    if (absl::IsPermissionDenied(answer.status())) continue;  // its site has not enrolled yet
    state.ParseFromString(Must(std::move(answer)));
    if (state.phase() == v1::PHASE_COLLECTING) ms.push_back(seconds * 1e3);
  }
  FEDALT_CHECK(!ms.empty(), "the round is longer than a call");
  lines.Write(absl::StrCat(Median(ms), " ", *std::max_element(ms.begin(), ms.end())));
}

void BeCopy(const Load& load, const std::filesystem::path& directory, const Lines& lines) {
  KeepTensorMemory();
  const std::vector<int64_t> places = Uploaders(load);
  std::vector<std::string> names;
  for (int64_t place = 0; place < load.sites + load.idle; ++place) names.push_back(absl::StrCat("site-", place));
  const auto store = OpenStore(directory, names);
  Must(store->OpenAttempt(kRound, 1, 1, places));
  const auto method = Must(MakeMethod({}));
  ClosingRound closing;
  closing.round = kRound;
  const size_t together = static_cast<size_t>(at::get_num_threads());
  double seconds = 0.0, cpu_seconds = 0.0;
  const auto timed = [&](const std::function<void()>& work) {
    const std::clock_t begin = std::clock();
    seconds += SecondsOf(work);
    cpu_seconds += static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  for (size_t at = 0; at < places.size(); at += together) {
    std::vector<std::pair<at::Tensor, ChunkList>> contents;
    for (size_t k = at; k < std::min(at + together, places.size()); ++k) {
      const at::Tensor values = ContributionOf(places[k], load.values);
      contents.emplace_back(values, ChunksOf(values));
      closing.received.push_back({places[k], kRound, 1, WeightOf(places[k]), contents.back().second});
    }
    timed([&] {
      std::vector<std::thread> threads;
      for (size_t k = 0; k < contents.size(); ++k)
        threads.emplace_back([&, k] {
          const auto& [values, chunks] = contents[k];
          for (size_t i = 0; i < chunks.digests.size(); ++i)
            Must(store->PutChunk(chunks.digests[i], ChunkOf(values, static_cast<int64_t>(i))));
          Must(store->SaveContribution(closing.received[at + k]));
        });
      for (std::thread& thread : threads) thread.join();
    });
  }
  timed([&] {
    const PublishedObject published =
        Must(Aggregate(closing, {method.get(), {{}, 1, UploadFormat::kFloat32}, load.values, names}, *store));
    Must(store->CloseRound(published, RecordOf(closing, published, kRun, names)));
  });
  lines.Write(absl::StrCat(seconds, " ", cpu_seconds));
}

}  // namespace fedalt::bench
