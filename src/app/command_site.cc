// fedalt site: a site of a federation across machines. The run directory is that of fedalt run, with one site.
#include <CLI/CLI.hpp>
#include <memory>
#include <tuple>

#include "app/command.h"
#include "app/config_started.h"
#include "app/federation_files.h"
#include "app/result_table.h"
#include "base/log.h"
#include "net/certificates.h"
#include "net/grpc_connection.h"
#include "net/sign_of_life.h"
#include "net/site_session.h"
#include "run/run.h"
#include "run/run_directory.h"
#include "store/schema.h"
#include "store/site_store.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt site site.yaml\n"
    "  fedalt site site.yaml --leave --cause \"the contract has ended\"\n"
    "site.yaml: federation, keys, directory, server, site, data.train, data.test; data.validation, model, patience_s,\n"
    "rest_of_world.pin, share_metrics (docs/operations.md). The same command goes on after a stop or a crash.";

struct SiteArguments {
  std::string config;
  bool json = false;
  bool quiet = false;
  bool leave = false;
  std::string cause;
};

CheckPeer PinTo(const std::string& fingerprint) {
  return [fingerprint](const std::string& certificate) -> Status {
    const auto facts = ParseCertificate(certificate);
    if (facts.ok() && facts->fingerprint == fingerprint) return absl::OkStatus();
    return absl::PermissionDeniedError(
        "the server shows another certificate than the roster names; ask who runs it before going on");
  };
}

/// What a session stands on; made before it.
struct SessionParts {
  SystemClock clock;
  GrpcConnection connection;
  SiteStore record;
};

class RemoteSession : private SessionParts, public SiteSession {
 public:
  /// After Enrol: the server hears of this site while it trains.
  void ShowSignsOfLife() { signs_ = std::make_unique<SignsOfLife>(connection, SignOfLife()); }

  RemoteSession(const PartyConfig& party, const PartyKeysOnDisk& keys, SiteSessionOptions options)
      : SessionParts{{},
                     {party.server, keys.identity, PinTo(keys.roster.server->fingerprint)},
                     {party.directory / kStoreName, {party.site, [] { return SystemClock().NowMs(); }, options.signatures.sign}}},
        SiteSession(WithRecord(std::move(options)), connection, clock, [](const std::string& what) { LogInfo(what); }) {}

 private:
  SiteSessionOptions WithRecord(SiteSessionOptions options) {
    options.record = &record;
    return options;
  }

  std::unique_ptr<SignsOfLife> signs_;
};

/// Whether the run directory holds nothing of a run yet.
bool IsNew(const fs::path& directory) {
  const auto opened = RunDirectory::Open(directory);
  std::error_code error;
  return !opened.ok() || !fs::exists(opened->journal(), error) || fs::file_size(opened->journal(), error) == 0;
}

StatusOr<std::unique_ptr<RemoteSession>> Enrolled(const PartyConfig& party, const PartyKeysOnDisk& keys, const RunConfig& config,
                                                  int64_t train_examples) {
  SiteSessionOptions options;
  ASSIGN_OR_RETURN(options.agreement, AgreementOf(config, keys.roster));
  ASSIGN_OR_RETURN(options.signatures, LoadSignatures(keys));
  options.train_examples = train_examples;
  options.patience_ms = party.patience_s * 1000;
  options.upload = config.federation.upload;
  options.reports = party.share_metrics;
  options.process = RandomName();
  options.site = party.site;
  options.progress = ProgressOutput::Standard();
  for (const RosterSite& site : keys.roster.sites) options.sites.push_back(site.name);
  auto session = std::make_unique<RemoteSession>(party, keys, std::move(options));
  RETURN_IF_ERROR(session->Enrol(IsNew(party.directory)));
  session->ShowSignsOfLife();
  return session;
}

/// The site's last word to the run.
Status LeaveRun(const PartyConfig& party, const PartyKeysOnDisk& keys, const RunConfig& config, const std::string& cause) {
  if (FirstInvalidUtf8(cause)) return UsageError("--cause is not valid UTF-8; expected words");
  if (IsNew(party.directory))
    return UsageError(
        absl::StrCat(party.directory.string(), " holds no run that could be left; check the configuration's directory"));
  ASSIGN_OR_RETURN(LoadedRun run, LoadModel(config));
  RETURN_IF_ERROR(LoadSites(run));
  ASSIGN_OR_RETURN(const auto session, Enrolled(party, keys, config, run.sites->sites().front().train_examples));
  RETURN_IF_ERROR(session->JoinsAfter().status());
  RETURN_IF_ERROR(session->Leave(cause));
  return WriteResult(
      absl::StrCat(party.site, " has left ", session->run(), "; nothing that it sent counts in what is published from now on\n"));
}

/// What the files say now must be what the run in the directory was begun with.
Status CheckAsBegun(const PartyConfig& party, const RunConfig& now, const std::string& agreement, const Roster& roster,
                    const RunConfig& begun) {
  const auto refused = [&](const fs::path& file, const std::string& difference) {
    return ConfigError(absl::StrCat(file.string(), ": ", difference, " when the run in ", party.directory.string(),
                                    " began; put the old value back, or choose another directory"));
  };
  ASSIGN_OR_RETURN(const std::string then, AgreementOf(begun, roster));
  if (then != agreement) return refused(party.federation, FirstDifference(agreement, then));
  const SiteFiles &is = now.sites.front(), &was = begun.sites.front();
  for (const auto& [key, file, before] : {std::tuple{"data.train", is.train, was.train},
                                          {"data.test", is.test, was.test},
                                          {"data.validation", is.validation, was.validation}})
    if (file != before)
      return refused(party.file, absl::StrCat(key, " is ", file.empty() ? "not given" : file.string(), " and was ",
                                              before.empty() ? "not given" : before.string()));
  return absl::OkStatus();
}

Status Execute(const SiteArguments& arguments) {
  SetLogTimes(true);
  if (arguments.quiet) SetLogLevel(LogLevel::kWarning);
  RETURN_IF_ERROR(CheckRoomForConnections());
  ASSIGN_OR_RETURN(const PartyConfig party, LoadPartyConfig(arguments.config, Party::kSite));
  KeepPrivate(party.directory);
  ASSIGN_OR_RETURN(const PartyKeysOnDisk keys, LoadPartyKeys(party, Party::kSite));
  ASSIGN_OR_RETURN(const RunConfig config, LoadSharedConfig(party, keys.roster));
  RETURN_IF_ERROR(CheckMemoryBefore(config));  // before files are hashed
  ASSIGN_OR_RETURN(const std::string agreement, AgreementOf(config, keys.roster));
  if (arguments.leave) return LeaveRun(party, keys, config, arguments.cause);
  const ConnectTransport connect = [&](const LoadedRun& run) -> StatusOr<Elsewhere> {
    ASSIGN_OR_RETURN(auto session, Enrolled(party, keys, config, run.sites->sites().front().train_examples));
    return Elsewhere{std::move(session), party.pinned_round};
  };
  std::error_code error;
  RunOutcome outcome;
  if (fs::exists(party.directory / "config.yaml", error)) {
    ASSIGN_OR_RETURN(ParsedConfig begun, LoadConfig(party.directory / "config.yaml", {}));
    RETURN_IF_ERROR(CheckAsStarted(party.directory, begun));
    RETURN_IF_ERROR(VerifyHashes(begun.config, begun.hashes));
    RETURN_IF_ERROR(CheckAsBegun(party, config, agreement, keys.roster, begun.config));
    TakeMachineSettings(config, begun.config);
    ASSIGN_OR_RETURN(outcome, ResumeRun(begun.config, party.directory, connect));
  } else {
    ASSIGN_OR_RETURN(const FileHashes hashes, HashInputs(config));
    ASSIGN_OR_RETURN(outcome, StartRun(config, RunConfigToYaml(config, hashes), party.directory, connect));
  }
  if (outcome.was_finished) LogInfo(absl::StrCat("the run in ", party.directory.string(), " is finished; nothing is left to do"));
  outcome.summary["run_dir"] = party.directory.string();
  if (arguments.json) return WriteResult(outcome.summary.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  RETURN_IF_ERROR(WriteResult(ResultTable(outcome.summary, config.metrics)));
  return WriteResult(absl::StrCat("everything is in ", party.directory.string(), "\n"));
}

}  // namespace

void AddSiteCommand(CLI::App& program, Command& command) {
  auto arguments = std::make_shared<SiteArguments>();
  CLI::App* app = program.add_subcommand("site", "Take part in a federation across machines, with this site's own data");
  app->add_option("config", arguments->config, "The site's configuration")->required()->type_name("SITE.yaml");
  AddFormatOption(*app, arguments->json);
  app->add_flag("--quiet", arguments->quiet, "Only warnings and errors on stderr");
  CLI::Option* const leave =
      app->add_flag("--leave", arguments->leave, "Leave the run: nothing that this site sent counts from the next publication on");
  app->add_option("--cause", arguments->cause, "Why it leaves, for the audit logs")->needs(leave)->type_name("TEXT");
  app->footer(kExamples);
  app->callback([arguments, &command] { command.run = [arguments] { return Execute(*arguments); }; });
}

}  // namespace fedalt
