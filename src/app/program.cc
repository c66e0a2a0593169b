#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "app/command.h"
#include "app/config_keys.h"
#include "app/config_paths.h"
#include "app/key_advice.h"
#include "app/program_version.h"
#include "base/log.h"
#include "train/library_errors.h"

namespace fedalt {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt doctor config.yaml                    is everything in order? memory, BLAS, model, data\n"
    "  fedalt run config.yaml train.rounds=5        federate on this machine\n"
    "  fedalt run --resume runs/2026-11-23-fedalt-3f2a\n"
    "  fedalt compare config.yaml --methods local,fedit,fedalt --seeds 3 --out comparison\n"
    "  fedalt eval RUN_DIR --site site-0            one site's personalised model on its test data\n"
    "  fedalt generate RUN_DIR --site site-0 --prompt \"Who wrote Faust?\"\n"
    "  fedalt export RUN_DIR --site site-0 --out adapter\n"
    "  fedalt report RUN_DIR                        the HTML report again\n"
    "  fedalt data split dolly.jsonl --by label --sites 8 --out data\n"
#ifdef FEDALT_NET
    "  fedalt server server.yaml | fedalt site site.yaml   the same method across machines: docs/operations.md\n"
    "  fedalt keys init keys --federation clinics   certificates for a federation across machines: docs/keys.md\n"
    "  fedalt audit verify SERVER_DIR               was any recorded fact changed?\n"
    "  fedalt status SERVER_DIR                     where the run is; list, show and pull tell more, pause, resume, stop and\n"
    "                                               erase steer it (fedalt run --resume goes on with a run of one machine)\n"
#endif
    "Each command has its own --help. Exit codes: docs/exit-codes.md.";

std::string OneLine(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return absl::StrReplaceAll(text, {{"\n", "; "}});
}

int Report(const Status& status) {
  SetStatusLine("");
  const std::string line = absl::StrCat("fedalt: ", OneLine(std::string(status.message())), "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
  return static_cast<int>(KindOf(status));
}

// The first word, if it is not a command; CLI11 would only call it unexpected.
Status CheckCommandName(const CLI::App& program, int argc, const char* const* argv) {
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands({})) names.push_back(command->get_name());
  if (argc < 2) {
    return UsageError(
        absl::StrCat("no command is given; expected one of ", absl::StrJoin(names, ", "), " (fedalt --help has examples)"));
  }
  const std::string word = argv[1];
  if (word == "-h" || word == "--help" || word == "--version" || std::find(names.begin(), names.end(), word) != names.end())
    return absl::OkStatus();
  if (word.starts_with('-')) {
    return UsageError(
        absl::StrCat("unknown option ", word.substr(0, 80), "; expected a command, --help or --version (see fedalt --help)"));
  }
  const std::string close = CloseName(word, names);
  return UsageError(
      absl::StrCat("unknown command \"", word.substr(0, 80), "\"; ",
                   close.empty() ? "expected one of " + absl::StrJoin(names, ", ") : "the nearest is \"" + close + "\"",
                   " (see fedalt --help)"));
}

/// A setting that is written as an option, as other tools want it: the first of the line's that the command does not know, or
/// nothing.
std::string SettingAsOption(const CLI::App& command, int argc, const char* const* argv) {
  for (int i = 2; i < argc; ++i) {
    std::string name = argv[i];
    name = name.substr(0, name.find('='));
    if (!name.starts_with("--") || command.get_option_no_throw(name) != nullptr) continue;
    name.erase(0, 2);
    const std::vector<std::string>& keys = KnownKeyNames();
    if (std::find(keys.begin(), keys.end(), name) != keys.end())
      return absl::StrCat("unknown option --", name, "; a setting has no dashes: ", name, "=VALUE");
    const auto advice = FindKeyAdvice(name, SettingsFile::kConfiguration, keys);
    return advice ? absl::StrCat("unknown option --", name, "; settings are given as key=value, and ", *advice) : std::string();
  }
  return {};
}

/// Whatever an option calls a directory or a file may begin with "~".
void ExpandHomeInPaths(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    const auto is = [&type](const char* word) { return type.find(word) != std::string::npos; };
    if (is("DIR") || is("FILE") || is("INPUT") || is(".yaml"))
      option->transform([](const std::string& text) { return ExpandHome(text); }, "", "home");
  }
  for (CLI::App* command : app.get_subcommands({})) ExpandHomeInPaths(*command);
}

}  // namespace

void AddFormatOption(CLI::App& app, bool& json) {
  app.add_option_function<std::string>(
         "--format", [&json](const std::string& format) { json = format == "json"; },
         "text, or json: one JSON object on stdout and nothing else")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("text|json");
}

void AddDeviceOption(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "Where the model runs (default: as the run; auto with --model): auto is CUDA if there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->type_name("auto|cpu|cuda");
}

std::string BytesText(int64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes < 1'000'000'000) return absl::StrFormat("%.0f MB", value / 1e6);
  return absl::StrFormat("%.1f GB", value / 1e9);
}

Status WriteResult(std::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  if (written || errno == EPIPE) return absl::OkStatus();
  return OutputError(absl::StrCat("stdout cannot be written (", std::string(std::strerror(errno)), ")"));
}

int RunProgram(int argc, const char* const* argv) {
  CLI::App program("Personalised federated fine-tuning of language models (FedALT).", "fedalt");
  program.set_version_flag("--version", kProgramVersion, "Print the version and exit");
  program.set_help_flag("-h,--help", "Print this help and exit");
  program.footer(kExamples);
  program.require_subcommand(1);
  Command command;
  AddRunCommand(program, command);
  AddCompareCommand(program, command);
  AddEvalCommand(program, command);
  AddGenerateCommand(program, command);
  AddExportCommand(program, command);
  AddReportCommand(program, command);
  AddDataCommand(program, command);
  AddDoctorCommand(program, command);
#ifdef FEDALT_NET
  AddServerCommand(program, command);
  AddSiteCommand(program, command);
  AddKeysCommand(program, command);
  AddAuditCommand(program, command);
  AddViewCommands(program, command);
  AddOperatorCommands(program, command);
#endif
  ExpandHomeInPaths(program);
  if (Status status = CheckCommandName(program, argc, argv); !status.ok()) return Report(status);
  try {
    program.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help or --version
    program.exit(request);
    return 0;
  } catch (const CLI::ParseError& error) {
    std::string name = argc > 1 && argv[1][0] != '-' ? absl::StrCat(" ", argv[1]) : "";
    if (!name.empty()) {
      for (const CLI::App* part : program.get_subcommand(argv[1])->get_subcommands()) absl::StrAppend(&name, " ", part->get_name());
    }
    std::string what = OneLine(error.what());
    if (name == " run" || name == " doctor" || name == " compare")  // the commands that take settings
      if (std::string setting = SettingAsOption(*program.get_subcommand(argv[1]), argc, argv); !setting.empty()) what = setting;
    return Report(UsageError(absl::StrCat(what, " (see fedalt", name, " --help)")));
  }
  const Status status = CatchLibraryErrors(absl::StrCat("fedalt ", argv[1]), command.run);
  return status.ok() ? 0 : Report(status);
}

}  // namespace fedalt
