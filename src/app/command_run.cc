// fedalt run: federate on this machine, or go on with an interrupted run.
#include <CLI/CLI.hpp>
#include <ctime>
#include <filesystem>
#include <memory>
#include <system_error>

#include "app/command.h"
#include "app/config.h"
#include "app/config_started.h"
#include "app/idle_settings.h"
#include "app/result_table.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/machine.h"
#include "model/device.h"
#include "run/run.h"
#include "run/run_directory.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt run config.yaml\n"
    "  fedalt run config.yaml method=local train.rounds=5 --out runs/local\n"
    "  fedalt run config.yaml --format json --quiet > result.json\n"
    "  fedalt run --resume runs/local\n"
    "Keys are those of docs/configuration.md.";

struct RunArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::string out;
  std::string resume;
  bool json = false;
  bool quiet = false;
};

// runs/2026-11-23-fedalt-3f2a, or with -2, -3, ... behind it where that is taken.
fs::path DefaultDirectory(const RunConfig& config, const std::string& resolved) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  constexpr size_t kHashDigits = 4;
  const std::string hash = HexOf(Sha256(resolved)).substr(0, kHashDigits);
  const std::string name = absl::StrFormat("%04d-%02d-%02d-%s-%s", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday,
                                           config.federation.method.name, hash);
  fs::path path = fs::path("runs") / name;
  std::error_code error;
  for (int i = 2; fs::exists(path, error); ++i) path = fs::path("runs") / absl::StrCat(name, "-", i);
  return path;
}

Status Announce(const RunConfig& config, const fs::path& directory) {
  const MethodOptions& method = config.federation.method;
  LogInfo(absl::StrCat("model    ", config.model.string()));
  LogInfo(absl::StrCat("sites    ", config.sites.size(), " (", config.sites.front().name,
                       config.sites.size() > 1 ? " ... " + config.sites.back().name : "", ")"));
  LogInfo(absl::StrCat("method   ", method.name, ", preset ", method.preset, ", ", config.federation.rounds, " rounds"));
  LogInfo(absl::StrCat("threads  ", config.threads > 0 ? static_cast<int>(config.threads) : DescribeMachine().cores));
  const CudaReport cuda = DescribeCuda();
  ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(config.device, cuda));
  LogInfo(absl::StrCat("device   ", DeviceName(device, cuda)));
  LogInfo(absl::StrCat("output   ", directory.string()));
  if (const std::string warning = SlowBlasWarning(); !warning.empty()) LogWarning(warning);
  return absl::OkStatus();
}

Status PrintOutcome(RunOutcome outcome, const RunConfig& config, const fs::path& directory, bool json) {
  std::error_code error;
  outcome.summary["run_dir"] = fs::absolute(directory, error).lexically_normal().string();
  if (json) return WriteResult(outcome.summary.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  RETURN_IF_ERROR(WriteResult(ResultTable(outcome.summary, config.metrics)));
  return WriteResult(absl::StrCat("everything is in ", directory.string(), "\n"));
}

Status StartNew(const RunArguments& arguments) {
  if (!arguments.out.empty()) RETURN_IF_ERROR(RunDirectory::CheckUnused(arguments.out));  // before model and data are loaded
  ASSIGN_OR_RETURN(const ParsedConfig parsed, LoadConfig(arguments.config, arguments.overrides));
  WarnOfIdleSettings(parsed, ConfigPlace::kOneMachine);
  RETURN_IF_ERROR(CheckMemoryBefore(parsed.config));  // before files are hashed
  if (!parsed.hashes.empty()) RETURN_IF_ERROR(VerifyHashes(parsed.config, parsed.hashes));
  ASSIGN_OR_RETURN(const FileHashes hashes, HashInputs(parsed.config));
  const std::string resolved = RunConfigToYaml(parsed.config, hashes);
  const fs::path directory = arguments.out.empty() ? DefaultDirectory(parsed.config, resolved) : fs::path(arguments.out);
  RETURN_IF_ERROR(Announce(parsed.config, directory));
  ASSIGN_OR_RETURN(RunOutcome outcome, StartRun(parsed.config, resolved, directory));
  return PrintOutcome(std::move(outcome), parsed.config, directory, arguments.json);
}

Status Resume(const RunArguments& arguments) {
  const fs::path root = arguments.resume;
  fs::path config_file, summary_file;
  {
    ASSIGN_OR_RETURN(const RunDirectory directory, RunDirectory::Open(root));
    config_file = directory.config();
    summary_file = directory.summary();
  }
  ASSIGN_OR_RETURN(const ParsedConfig parsed, LoadConfig(config_file, {}));
  RETURN_IF_ERROR(CheckAsStarted(root, parsed));
  std::error_code error;
  const bool finished = fs::exists(summary_file, error);
  if (!finished) {
    RETURN_IF_ERROR(CheckMemoryBefore(parsed.config));
    RETURN_IF_ERROR(VerifyHashes(parsed.config, parsed.hashes));
    RETURN_IF_ERROR(Announce(parsed.config, root));
  }
  ASSIGN_OR_RETURN(RunOutcome outcome, ResumeRun(parsed.config, root));
  if (outcome.was_finished) LogInfo(absl::StrCat("the run in ", root.string(), " is finished; nothing is left to do"));
  return PrintOutcome(std::move(outcome), parsed.config, root, arguments.json);
}

Status Execute(const RunArguments& arguments) {
  if (arguments.quiet) SetLogLevel(LogLevel::kWarning);
  const bool given = !arguments.config.empty() || !arguments.overrides.empty() || !arguments.out.empty();
  if (!arguments.resume.empty()) {
    if (given)
      return UsageError(
          "--resume goes on with a run as its own config.yaml says; expected no CONFIG, key=value or --out beside it");
    return Resume(arguments);
  }
  if (arguments.config.empty()) return UsageError("run needs a configuration file, or --resume DIR (see fedalt run --help)");
  return StartNew(arguments);
}

}  // namespace

void AddRunCommand(CLI::App& program, Command& command) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* app = program.add_subcommand("run", "Federate on this machine, or go on with an interrupted run");
  app->add_option("config", arguments->config, "The YAML configuration")->type_name("CONFIG.yaml");
  app->add_option("overrides", arguments->overrides, "Keys that win over the file, such as train.rounds=5")->type_name("key=value");
  app->add_option("--out", arguments->out, "Directory for the run, new or empty (default: runs/<date>-<method>-<hash>)")
      ->type_name("DIR");
  app->add_option("--resume", arguments->resume, "Go on with the run in this directory")->type_name("DIR");
  AddFormatOption(*app, arguments->json);
  app->add_flag("--quiet", arguments->quiet, "Only warnings and errors on stderr");
  app->footer(kExamples);
  app->callback([arguments, &command] { command.run = [arguments] { return Execute(*arguments); }; });
}

}  // namespace fedalt
