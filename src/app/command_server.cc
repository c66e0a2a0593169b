// fedalt server: one party of a federation across machines runs it; sites dial in.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <memory>

#include "app/command.h"
#include "app/federation_files.h"
#include "app/program_version.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "fed/cohort.h"
#include "fed/federation.h"
#include "net/certificates.h"
#include "net/grpc_server.h"
#include "net/server_core.h"
#include "run/run.h"
#include "store/server_now.h"
#include "store/server_store.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt server server.yaml\n"
    "server.yaml: federation, keys, directory, listen; minimum_cohort, deadline_s, linger_s, model (docs/operations.md). The same\n"
    "command goes on after a stop or a crash.";

/// Made once per directory, so that a second run with the same configuration is another run.
StatusOr<std::string> RunIdentifier(const fs::path& directory, const std::string& federation) {
  const fs::path file = directory / "run.txt";
  std::error_code error;
  if (fs::exists(file, error)) {
    constexpr size_t kMostBytes = 256;
    return ReadFile(file, ErrorKind::kOutput, kMostBytes);
  }
  RETURN_IF_ERROR(MakeDirectories(directory));
  const std::string run = absl::StrCat(federation, "-", DateOf(std::time(nullptr)), "-", RandomName());
  RETURN_IF_ERROR(WriteFileAtomic(file, run));
  return run;
}

/// What a server must know of model and method.
struct Shape {
  std::unique_ptr<Method> method;
  std::vector<AdaptedModule> modules;
  int64_t values = 0;  ///< of a contribution
};

StatusOr<Shape> ShapeOf(const RunConfig& config) {
  const FederationOptions& options = config.federation;
  RETURN_IF_ERROR(CheckMethod(options));
  ASSIGN_OR_RETURN(const LoadedRun loaded, LoadModel(config));
  Shape shape;
  ASSIGN_OR_RETURN(shape.method, MakeMethod(options.method));
  if (shape.method->needs() == TransportNeed::kNothing || shape.method->pools_data())
    return ConfigError(
        absl::StrCat("method ", shape.method->name(), " exchanges nothing between sites; choose another, such as fedalt"));
  ASSIGN_OR_RETURN(shape.modules, FindAdaptedModules(*loaded.model, options.adapter));
  const FederationInputs inputs{loaded.model.get(), loaded.tokenizer.get(), nullptr, nullptr};
  ASSIGN_OR_RETURN(const auto site, MakeSite(inputs, options, *shape.method, 0, {"", 1}));
  shape.values = shape.method->Contribution(1, *site).numel();
  return shape;
}

ServerOptions OptionsOf(const PartyConfig& party, const RunConfig& config, const Roster& roster, const Shape& shape) {
  ServerOptions options;
  for (const RosterSite& site : roster.sites) {
    if (site.revoked) options.revoked.insert(static_cast<int64_t>(options.sites.size()));
    options.sites.push_back(site.name);
  }
  for (int64_t round = 1; round <= config.federation.rounds; ++round)
    if (shape.method->ExchangesIn(round, config.federation.rounds)) options.exchange_rounds.push_back(round);
  options.values = shape.values;
  options.upload = config.federation.upload;
  options.ledger_policy = shape.method->ledger_policy();
  options.participation = config.federation.participation;
  options.seed = config.federation.seed;
  options.weight = [method = shape.method.get()](int64_t train_examples) { return method->Weight(train_examples); };
  options.program = kProgramVersion;
  options.roster_sha256 = RosterHash(roster);
  options.warn = [](const std::string& what) { LogWarning(what); };
  options.tell = [](const std::string& what) { LogInfo(what); };
  options.minimum_cohort = party.minimum_cohort;
  options.deadline_ms = party.deadline_s * 1000;
  return options;
}

/// Keeps the file of store/server_now.h as the server goes on. One thread.
class NowKeeper {
 public:
  /// What an earlier server heard stays. Borrows core and port.
  NowKeeper(fs::path directory, std::vector<std::string> sites, const ServerCore& core, const GrpcServer& port)
      : directory_(std::move(directory)),
        sites_(std::move(sites)),
        core_(core),
        port_(port),
        start_(core.state().start()),
        written_(ReadServerNow(directory_)) {}

  /// Writes what has changed: at once if the server begins or ends to add up or `is_last`, else every five seconds.
  void Keep(int64_t aggregating_round, bool is_last = false) {
    ServerNow now = written_;
    now.start = start_;
    now.aggregating_round = aggregating_round;
    const bool at_once = !failed_ && (now.start != written_.start || now.aggregating_round != written_.aggregating_round);
    const int64_t monotonic_ms = clock_.MonotonicMs();
    if (!at_once && !is_last && monotonic_ms < next_ms_) return;
    constexpr int64_t kEveryMs = 5'000;
    next_ms_ = monotonic_ms + kEveryMs;
    for (const auto& [site, called_ms] : core_.LastCalls()) now.heard_ms[sites_[static_cast<size_t>(site)]] = called_ms;
    for (const auto& [whose, not_after_s] : port_.CertificateEnds()) now.not_after_s[whose] = not_after_s;
    if (now == written_) return;
    const Status written = WriteServerNow(directory_, now);
    if (!written.ok() && !failed_)
      LogWarning(absl::StrCat("fedalt status does not tell whom the server hears: ", written.message()));
    failed_ = !written.ok();
    if (written.ok()) written_ = std::move(now);
  }

 private:
  const fs::path directory_;
  const std::vector<std::string> sites_;
  const ServerCore& core_;
  const GrpcServer& port_;
  const int64_t start_;
  SystemClock clock_;
  ServerNow written_;
  int64_t next_ms_ = 0;
  bool failed_ = false;
};

/// What is to be done now. Errors: kOutput (nothing of it is lost, it can be done again).
Status Step(ServerCore& core, ServerJournal& journal, const ServerRoundOptions& round, NowKeeper& now) {
  ASSIGN_OR_RETURN(const std::optional<ClosingRound> closing, core.Tick());
  now.Keep(closing ? closing->round : 0);
  if (!closing) return absl::OkStatus();
  LogInfo(absl::StrCat("round ", closing->round, ": ", closing->received.size(), " contributions, ", closing->absent.size(),
                       " of absent sites"));
  const StatusOr<PublishedObject> published = Aggregate(*closing, round, journal);
  // Stopped in the middle: the round stays open, and the next start adds up again.
  if (!published.ok() && KindOf(published.status()) == ErrorKind::kInterrupted) return published.status();
  return core.Finish(*closing, published);
}

/// Until the run has ended and everybody has had time to read its last result.
Status Serve(ServerCore& core, ServerJournal& journal, const ServerRoundOptions& round, int64_t linger_ms, NowKeeper& now) {
  constexpr int64_t kPieceMs = 20, kFirstPauseMs = 250, kLongestPauseMs = 8'000;
  SystemClock clock;
  std::string told;
  int64_t ended_ms = 0, pause_ms = 0;  // pause_ms: between tries, while the disk takes nothing
  for (;;) {
    Status step = Step(core, journal, round, now);
    if (!step.ok() && KindOf(step) != ErrorKind::kOutput) return step;
    if (!step.ok() && pause_ms == 0)
      LogWarning(absl::StrCat("the server can record nothing and only answers what it knows (", step.message(),
                              "); it tries again and goes on when it can"));
    if (step.ok() && pause_ms > 0) LogInfo("the server can record again and goes on");
    pause_ms = step.ok() ? 0 : std::clamp(2 * pause_ms, kFirstPauseMs, kLongestPauseMs);
    const v1::RunState state = core.state();
    const std::string waits =
        absl::StrCat("round ", state.round(), ", attempt ", state.attempt(), ": waits for ", state.waiting_for());
    if (state.phase() != v1::PHASE_ENDED && waits != told) LogInfo(waits);
    told = waits;
    if (state.phase() == v1::PHASE_ENDED && ended_ms == 0) {
      ended_ms = clock.MonotonicMs();
      LogInfo(absl::StrCat("the run has ended: ", state.cause()));
    }
    if (ended_ms > 0 && (core.everybody_has_read() || clock.MonotonicMs() >= ended_ms + linger_ms)) return absl::OkStatus();
    if (!clock.Sleep(std::max(kPieceMs, pause_ms)).ok())
      return InterruptedError("the server was stopped; nothing is lost, go on with the same command");
  }
}

Status Execute(const std::string& file) {
  SetLogTimes(true);
  RETURN_IF_ERROR(CheckRoomForConnections());
  ASSIGN_OR_RETURN(const PartyConfig party, LoadPartyConfig(file, Party::kServer));
  KeepPrivate(party.directory);
  ASSIGN_OR_RETURN(const PartyKeysOnDisk keys, LoadPartyKeys(party, Party::kServer));
  ASSIGN_OR_RETURN(const RunConfig config, LoadSharedConfig(party, keys.roster));
  ASSIGN_OR_RETURN(const Shape shape, ShapeOf(config));
  ServerOptions options = OptionsOf(party, config, keys.roster, shape);
  const auto able = static_cast<int64_t>(options.sites.size() - options.revoked.size());
  if (party.minimum_cohort > able)
    return ConfigError(absl::StrCat("minimum_cohort is ", party.minimum_cohort, ", but the roster has ", able,
                                    " sites that are not revoked; expected at most that many"));
  const FederationOptions& agreed = config.federation;
  const auto cohort = static_cast<int64_t>(CohortOf(agreed.participation, options.sites, 1, agreed.seed).size());
  if (party.minimum_cohort > cohort)
    return ConfigError(absl::StrCat("minimum_cohort is ", party.minimum_cohort, ", but participation asks ", cohort,
                                    " of the roster's sites to train in a round, so none could ever close; expected at most ",
                                    cohort));
  ASSIGN_OR_RETURN(options.run, RunIdentifier(party.directory, keys.roster.federation));
  ASSIGN_OR_RETURN(options.agreement, AgreementOf(config, keys.roster));
  SystemClock clock;
  ASSIGN_OR_RETURN(options.signatures, LoadSignatures(keys));
  options.instance = RandomName();
  ASSIGN_OR_RETURN(const auto store,
                   ServerStore::Open(party.directory, {options.run, options.sites, [&clock] { return clock.NowMs(); },
                                                       options.signatures.sign, options.deadline_ms}));
  const FederationOptions& federation = config.federation;
  const ServerRoundOptions round{shape.method.get(),
                                 {shape.modules, LargestRank(federation.method, federation.adapter), federation.upload},
                                 shape.values,
                                 options.sites,
                                 federation.max_norm};
  ServerCore core(options, *store, clock);
  RETURN_IF_ERROR(core.Recover());
  ASSIGN_OR_RETURN(const auto port, GrpcServer::Start(party.listen, keys.identity, IdentifyBy(keys.roster), core, clock));
  LogInfo(absl::StrCat("run ", options.run, ", listens on port ", port->port()));
  NowKeeper now(party.directory, options.sites, core, *port);
  const Status served = Serve(core, *store, round, party.linger_s * 1000, now);
  now.Keep(/*aggregating_round=*/0, /*is_last=*/true);
  if (const Status sealed = store->Seal(); !sealed.ok())
    LogWarning(absl::StrCat("the end of the audit log is not signed (", sealed.message(), ")"));
  RETURN_IF_ERROR(served);
  if (core.state().round() != 0) return FederationError(absl::StrCat("the run has ended: ", core.state().cause()));
  return absl::OkStatus();
}

}  // namespace

void AddServerCommand(CLI::App& program, Command& command) {
  auto file = std::make_shared<std::string>();
  CLI::App* app = program.add_subcommand("server", "Run a federation across machines: sites dial in");
  app->add_option("config", *file, "The server's configuration")->required()->type_name("SERVER.yaml");
  app->footer(kExamples);
  app->callback([file, &command] { command.run = [file] { return Execute(*file); }; });
}

}  // namespace fedalt
