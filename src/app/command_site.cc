// fedalt site: a site of a federation across machines. The run directory is that of fedalt run, with one site.
#include <CLI/CLI.hpp>
#include <memory>

#include "app/command.h"
#include "app/federation_files.h"
#include "app/result_table.h"
#include "base/log.h"
#include "net/certificates.h"
#include "net/grpc_connection.h"
#include "net/site_session.h"
#include "run/run.h"
#include "run/run_directory.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt site site.yaml\n"
    "site.yaml: federation, keys, directory, server, site, data.train, data.test; data.validation, model, patience_s\n"
    "(docs/operations.md). The same command goes on after a stop or a crash.";

struct SiteArguments {
  std::string config;
  bool json = false;
  bool quiet = false;
};

/// A session with what it stands on.
class RemoteTransport : public Transport {
 public:
  RemoteTransport(const PartyConfig& party, const PartyKeysOnDisk& keys, SiteSessionOptions options)
      : connection_(party.server, keys.identity, PinTo(keys.roster.server->fingerprint)),
        session_(std::move(options), connection_, clock_, [](const std::string& what) { LogInfo(what); }) {}

  Status Enrol() { return session_.Enrol(); }
  bool Offers(TransportNeed need) const override { return session_.Offers(need); }
  bool Aggregates() const override { return session_.Aggregates(); }
  Status Send(Upload upload) override { return session_.Send(std::move(upload)); }
  Status Keep(Upload last) override { return session_.Keep(std::move(last)); }
  StatusOr<Published> CloseRound(int64_t round) override { return session_.CloseRound(round); }
  StatusOr<std::vector<Upload>> CloseRoundWithUploads(int64_t round) override { return session_.CloseRoundWithUploads(round); }

 private:
  static CheckPeer PinTo(const std::string& fingerprint) {
    return [fingerprint](const std::string& certificate) -> Status {
      const auto facts = ParseCertificate(certificate);
      if (facts.ok() && facts->fingerprint == fingerprint) return absl::OkStatus();
      return absl::PermissionDeniedError(
          "the server shows another certificate than the roster names; ask who runs it before going on");
    };
  }

  SystemClock clock_;
  GrpcConnection connection_;
  SiteSession session_;
};

Status Execute(const SiteArguments& arguments) {
  if (arguments.quiet) SetLogLevel(LogLevel::kWarning);
  ASSIGN_OR_RETURN(const PartyConfig party, LoadPartyConfig(arguments.config, Party::kSite));
  ASSIGN_OR_RETURN(const PartyKeysOnDisk keys, LoadPartyKeys(party, Party::kSite));
  ASSIGN_OR_RETURN(const RunConfig config, LoadSharedConfig(party, keys.roster));
  ASSIGN_OR_RETURN(const std::string agreement, AgreementOf(config, keys.roster));
  const ConnectTransport connect = [&](const LoadedRun& run) -> StatusOr<std::unique_ptr<Transport>> {
    const SiteSessionOptions options{agreement, run.sites->sites().front().train_examples, party.patience_s * 1000};
    auto transport = std::make_unique<RemoteTransport>(party, keys, options);
    RETURN_IF_ERROR(transport->Enrol());
    return transport;
  };
  std::error_code error;
  RunOutcome outcome;
  if (fs::exists(party.directory / "config.yaml", error)) {
    ASSIGN_OR_RETURN(const ParsedConfig begun, LoadConfig(party.directory / "config.yaml", {}));
    RETURN_IF_ERROR(VerifyHashes(begun.config, begun.hashes));
    ASSIGN_OR_RETURN(const std::string then, AgreementOf(begun.config, keys.roster));
    if (then != agreement)
      return ConfigError(absl::StrCat(party.directory.string(), " belongs to a run with another configuration; put ",
                                      party.federation.string(), " back, or choose another directory"));
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
  app->footer(kExamples);
  app->callback([arguments, &command] { command.run = [arguments] { return Execute(*arguments); }; });
}

}  // namespace fedalt
