// fedalt pause, resume, stop, erase: asks something of the server that works in a directory, or of the next one that does.
#include <absl/strings/str_join.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/text_table.h"
#include "base/directory_lock.h"
#include "net/clock.h"
#include "store/run_view.h"
#include "store/schema.h"
#include "store/server_store.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using Kind = OperatorRequest::Kind;

struct OperatorOptions {
  OperatorRequest request;
  std::string directory;
  int64_t wait_s = 10;
  bool json = false;
};

/// What the server will have done then.
std::string Done(const OperatorRequest& request) {
  switch (request.kind) {
    case Kind::kPause:
      return "the run is paused; go on with fedalt resume";
    case Kind::kResume:
      return "the run goes on; an open attempt has its whole time again";
    case Kind::kStop:
      return "the run has ended";
    case Kind::kErase:
      return absl::StrCat(request.site, " has left the run; nothing that it sent counts in what is published from now on");
  }
  return "";
}

/// Errors: kUsage (it makes no sense), kFederation (the run has ended).
Status Check(RunView& view, const RunState& state, const OperatorOptions& options) {
  const OperatorRequest& request = options.request;
  if (request.kind == Kind::kErase && std::find(view.sites().begin(), view.sites().end(), request.site) == view.sites().end())
    return UsageError(absl::StrCat(options.directory, ": the run has no site \"", request.site.substr(0, 80),
                                   "\"; expected one of ", absl::StrJoin(view.sites(), ", ")));
  if (state.phase == RunPhase::kEnded)
    return FederationError(
        absl::StrCat("the run has ended already (", Printable(state.cause), "); there is nothing to ", RequestName(request.kind)));
  if (request.kind != Kind::kResume || state.phase == RunPhase::kPaused) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<RequestView> requests, view.Requests());
  for (const RequestView& asked : requests)
    if (!asked.outcome && asked.kind == RequestName(Kind::kPause)) return absl::OkStatus();
  return UsageError(absl::StrCat(options.directory, ": the run is not paused; to go on with fedalt run use fedalt run --resume"));
}

/// The outcome, or nothing if nobody is at work or the time is over.
StatusOr<std::optional<std::string>> AwaitOutcome(Database& database, int64_t id, const OperatorOptions& options) {
  constexpr int64_t kPieceMs = 20;
  SystemClock clock;
  const int64_t end_ms = clock.NowMs() + options.wait_s * 1000;
  for (;;) {
    ASSIGN_OR_RETURN(const bool at_work, DirectoryLock::IsTaken(options.directory));
    ASSIGN_OR_RETURN(auto outcome, OutcomeOf(database, id));
    if (outcome || !at_work || clock.NowMs() >= end_ms) return outcome;
    RETURN_IF_ERROR(clock.Sleep(kPieceMs));
  }
}

Status Ask(const OperatorOptions& options) {
  {
    ASSIGN_OR_RETURN(const auto view, RunView::Open(options.directory));
    ASSIGN_OR_RETURN(const RunState state, view->State());
    RETURN_IF_ERROR(Check(*view, state, options));
  }
  ASSIGN_OR_RETURN(const auto database, Database::Open(fs::path(options.directory) / kStoreName, StoreMigrations()));
  ASSIGN_OR_RETURN(const int64_t id, AskOperator(*database, options.request, SystemClock().NowMs()));
  ASSIGN_OR_RETURN(const auto outcome, AwaitOutcome(*database, id, options));
  ASSIGN_OR_RETURN(const bool at_work, DirectoryLock::IsTaken(options.directory));
  if (outcome && *outcome != "done") return FederationError(absl::StrCat("the server did not do it: ", Printable(*outcome)));
  if (!outcome && at_work && options.wait_s > 0)
    return FederationError(absl::StrCat("the server has not done it within ", options.wait_s,
                                        " s, perhaps because it closes a round; it "
                                        "stays asked for as request ",
                                        id, ", see fedalt list --what requests"));
  if (options.json)
    return WriteResult(JsonLine({{"request", id},
                                 {"kind", RequestName(options.request.kind)},
                                 {"site", options.request.site},
                                 {"cause", options.request.cause},
                                 {"server_at_work", at_work},
                                 {"done", outcome.has_value()}}));
  if (outcome) return WriteResult(Done(options.request) + "\n");
  return WriteResult(at_work ? absl::StrCat("asked for as request ", id, "\n")
                             : absl::StrCat("no server is at work in ", options.directory,
                                            ": it will be done when the server is started "
                                            "again\n"));
}

struct OperatorCommand {
  Kind kind;
  const char* what;
  const char* examples;
};

constexpr OperatorCommand kCommands[] = {
    {Kind::kStop, "End the run of a federation's server for good",
     "Examples:\n"
     "  fedalt stop server/run --cause \"good enough\"\n"
     "What was published stays, and sites can read it while the server lingers. Nothing goes on after this: to hold a run up use\n"
     "fedalt pause; to stop only the program use Ctrl-C, and the same command goes on."},
    {Kind::kPause, "Hold the run of a federation's server up until fedalt resume",
     "Examples:\n"
     "  fedalt pause server/run --cause \"maintenance until noon\"\n"
     "Uploads into the open attempt are still taken; no round is closed and no deadline passes."},
    {Kind::kResume, "Let a paused run of a federation's server go on",
     "Examples:\n"
     "  fedalt resume server/run\n"
     "This is about a run that fedalt pause has paused. To go on with an interrupted run of one machine: fedalt run --resume DIR.\n"
     "A server or site that was stopped or killed goes on by its own command."},
    {Kind::kErase, "Take a site out of the run of a federation's server, with all that it has sent",
     "Examples:\n"
     "  fedalt erase server/run --site osaka --cause \"consent withdrawn\"\n"
     "Its contributions leave the server's disk and the next publication. Versions that were published before still hold their "
     "share;\n"
     "the site may take part again later unless its keys are revoked (fedalt keys revoke)."}};

}  // namespace

void AddOperatorCommands(CLI::App& program, Command& command) {
  for (const OperatorCommand& entry : kCommands) {
    const auto options = std::make_shared<OperatorOptions>();
    options->request.kind = entry.kind;
    CLI::App* const app = program.add_subcommand(RequestName(entry.kind), entry.what);
    app->add_option("dir", options->directory, "The server's directory, as server.yaml names it")
        ->required()
        ->type_name("SERVER_DIR");
    if (entry.kind == Kind::kErase)
      app->add_option("--site", options->request.site, "Name of the site")->required()->type_name("NAME");
    if (entry.kind != Kind::kResume)
      app->add_option("--cause", options->request.cause, "Why, for the audit log and the sites")->type_name("TEXT");
    constexpr int64_t kMostS = 86'400;
    app->add_option("--wait", options->wait_s, "Seconds to wait for the server to do it (default: 10)")
        ->check(CLI::Range(int64_t{0}, kMostS))
        ->type_name("S");
    AddFormatOption(*app, options->json);
    app->footer(entry.examples);
    app->callback([options, &command] { command.run = [options] { return Ask(*options); }; });
  }
}

}  // namespace fedalt
