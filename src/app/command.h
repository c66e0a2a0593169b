// What every command of the program shares: how it is added to the command line, and where its results go.
//
// A command parses its options, and leaves a function that does the work in Command::run; main calls it once and turns its status
// into the exit code. Results go to stdout through WriteResult, everything else to stderr through base/log.h.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace CLI {
class App;
}

namespace fedalt {

struct Command {
  std::function<Status()> run;  ///< set by the command that the line names
};

void AddRunCommand(CLI::App& program, Command& command);
void AddCompareCommand(CLI::App& program, Command& command);
void AddEvalCommand(CLI::App& program, Command& command);
void AddGenerateCommand(CLI::App& program, Command& command);
void AddExportCommand(CLI::App& program, Command& command);
void AddReportCommand(CLI::App& program, Command& command);
void AddDataCommand(CLI::App& program, Command& command);
void AddDoctorCommand(CLI::App& program, Command& command);
#ifdef FEDALT_NET
void AddServerCommand(CLI::App& program, Command& command);
void AddSiteCommand(CLI::App& program, Command& command);
void AddKeysCommand(CLI::App& program, Command& command);
void AddAuditCommand(CLI::App& program, Command& command);
/// status, list, show, pull: what a server's directory holds.
void AddViewCommands(CLI::App& program, Command& command);
/// stop, pause, resume, erase: what the server of a directory should do.
void AddOperatorCommands(CLI::App& program, Command& command);
#endif

/// The whole program: parses the line, runs the command, reports an error as one line on stderr. Returns the exit code.
int RunProgram(int argc, const char* const* argv);

/// Adds --format text|json. `json` is set after parsing.
void AddFormatOption(CLI::App& app, bool& json);

/// Adds --device auto|cpu|cuda. `device` stays empty where it is not given.
void AddDeviceOption(CLI::App& app, std::string& device);

/// Text to stdout at once. A reader who has left is no error; a full disk is (kOutput).
Status WriteResult(std::string_view text);

/// "512 MB", "13.5 GB".
std::string BytesText(int64_t bytes);

/// A warning if libtorch multiplies with a slow BLAS; empty if there is nothing to warn about.
std::string SlowBlasWarning();

}  // namespace fedalt
