// fedalt keys: the authority, the certificates and signing keys of all parties, and the roster that names them.
#include <CLI/CLI.hpp>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/text_table.h"
#include "base/log.h"
#include "base/site_name.h"
#include "net/key_folder.h"

namespace fedalt {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt keys init keys --federation clinics       the authority, on a machine that stays offline\n"
    "  fedalt keys server keys --host fl.example.org    what belongs on the server\n"
    "  fedalt keys site keys clinic-a                   what belongs on one site's machine\n"
    "  fedalt keys show keys\n"
    "  fedalt keys revoke keys clinic-a\n"
    "Who gets which file, and what to do when a key is lost: docs/keys.md.";
constexpr char kInitExamples[] =
    "Examples:\n"
    "  fedalt keys init keys --federation clinics\n"
    "  fedalt keys init keys --federation clinics --days 1825";
constexpr char kServerExamples[] =
    "Examples:\n"
    "  fedalt keys server keys --host fl.example.org --host 10.0.0.7\n"
    "  fedalt keys server keys --renew                       before it expires: same key, same roster\n"
    "  fedalt keys server keys --host fl.example.org --replace  after a loss: new keys, new roster";
constexpr char kSiteExamples[] =
    "Examples:\n"
    "  fedalt keys site keys clinic-a\n"
    "  fedalt keys site keys clinic-a --renew                before it expires: same key, same roster\n"
    "  fedalt keys revoke keys clinic-a && fedalt keys site keys clinic-a    after a loss: new keys, same index";
constexpr char kRevokeExamples[] =
    "Examples:\n"
    "  fedalt keys revoke keys clinic-a";
constexpr char kShowExamples[] =
    "Examples:\n"
    "  fedalt keys show keys\n"
    "  fedalt keys show keys --format json";

constexpr int64_t kMostDays = 36500;
constexpr int64_t kWarnBefore_s = int64_t{30} * 86400;

struct KeysArguments {
  std::string directory, federation = "federation", name;
  std::vector<std::string> hosts;
  int64_t days = 730;
  bool renew = false, replace = false, json = false;
};

int64_t Now() {
  return static_cast<int64_t>(std::time(nullptr));
}

Status WriteJson(const Json& object) {
  return WriteResult(object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string StateText(const PartyState& party) {
  if (party.revoked) return "revoked";
  if (!party.certificate) return "unknown";
  return party.certificate->validity.not_after_s < Now() ? "expired" : "active";
}

Json PartyJson(const PartyState& party) {
  Json json;
  if (party.index) {
    json["name"] = party.name;
    json["index"] = *party.index;
  }
  json["folder"] = party.folder.string();
  json["fingerprint"] = party.keys.fingerprint;
  json["signing_key"] = party.keys.signing_key;
  json["expires"] = party.certificate ? Json(DateOf(party.certificate->validity.not_after_s)) : Json(nullptr);
  if (!party.index) json["hosts"] = party.certificate ? Json(party.certificate->hosts) : Json(nullptr);
  json["state"] = StateText(party);
  if (!party.problem.empty()) json["problem"] = party.problem;
  return json;
}

Json FolderJson(const KeyFolderState& state, const std::string& directory) {
  Json json;
  json["directory"] = directory;
  json["federation"] = state.roster.federation;
  json["roster_sha256"] = RosterHash(state.roster);
  json["authority"] = {{"fingerprint", state.authority.fingerprint}, {"expires", DateOf(state.authority.validity.not_after_s)}};
  json["server"] = state.server ? PartyJson(*state.server) : Json(nullptr);
  json["sites"] = Json::array();
  for (const PartyState& site : state.sites) json["sites"].push_back(PartyJson(site));
  return json;
}

// What to do after the roster has changed.
std::string RosterAdvice(const KeyFolderState& state, const std::string& directory) {
  return absl::StrCat("the roster has changed: ", directory, "/", kRosterFile,
                      " and the copy in each party's folder there\n  hash ", RosterHash(state.roster),
                      "\n  hand it to every party again, not through the server, and let each compare the hash by telephone or in "
                      "person\n");
}

std::string FolderAdvice(const std::string& folder, const std::string& whose) {
  return absl::StrCat("  copy this folder to ", whose, " over a channel that nobody else reads, and delete ", folder, "/",
                      kPrivateKeyFile, " and ", folder, "/", kSigningKeyFile, " here once they are there\n");
}

std::string AuthorityAdvice(const std::string& directory) {
  return absl::StrCat("keep ", directory,
                      "/authority offline, and never on the server: who has its key can enrol sites of his own\n");
}

Status ExecuteInit(const KeysArguments& arguments) {
  const std::string& directory = arguments.directory;
  RETURN_IF_ERROR(MakeKeyFolder(directory, arguments.federation, ValidForDays(Now(), arguments.days)));
  ASSIGN_OR_RETURN(const KeyFolderState state, ReadKeyFolder(directory));
  if (arguments.json) return WriteJson(FolderJson(state, directory));
  return WriteResult(absl::StrCat("federation ", state.roster.federation, ": ", directory, "/authority signs certificates until ",
                                  DateOf(state.authority.validity.not_after_s), "\n", AuthorityAdvice(directory),
                                  "next: fedalt keys server ", directory, " --host NAME, and for each site: fedalt keys site ",
                                  directory, " NAME\n"));
}

// After `keys server` (an empty name) and `keys site`.
Status ReportParty(const KeysArguments& arguments) {
  ASSIGN_OR_RETURN(const KeyFolderState state, ReadKeyFolder(arguments.directory));
  const std::optional<size_t> index = FindSiteByName(state.roster, arguments.name);
  const PartyState& party = index ? state.sites[*index] : *state.server;
  if (arguments.json) {
    Json json = PartyJson(party);
    json["roster_sha256"] = RosterHash(state.roster);
    json["roster_changed"] = !arguments.renew;
    return WriteJson(json);
  }
  const std::string folder = party.folder.string();
  const std::string whose = index ? absl::StrCat("the machine of site ", party.name) : "the server";
  const std::string expires = party.certificate ? DateOf(party.certificate->validity.not_after_s) : "?";
  if (arguments.renew)
    return WriteResult(absl::StrCat(folder, "/", kCertificateFile, " is renewed until ", expires, "; copy it to ", whose,
                                    ". Key and roster stay as they are, nobody else needs anything\n"));
  return WriteResult(absl::StrCat(folder, " belongs on ", whose, ", and nowhere else; its certificate expires on ", expires, "\n",
                                  FolderAdvice(folder, whose), RosterAdvice(state, arguments.directory),
                                  AuthorityAdvice(arguments.directory)));
}

Status ExecuteIssue(const KeysArguments& arguments) {
  const bool serves = arguments.name.empty();
  if (arguments.renew && arguments.replace) return UsageError("--renew and --replace are both given; expected one of the two");
  if (serves && !arguments.renew && arguments.hosts.empty())
    return UsageError("--host is missing; expected the name or address by which the sites reach the server");
  RETURN_IF_ERROR(IssueKeys(arguments.directory, {.site = arguments.name,
                                                  .hosts = arguments.hosts,
                                                  .validity = ValidForDays(Now(), arguments.days),
                                                  .renew = arguments.renew,
                                                  .replace = arguments.replace}));
  return ReportParty(arguments);
}

Status ExecuteRevoke(const KeysArguments& arguments) {
  RETURN_IF_ERROR(RevokeSite(arguments.directory, arguments.name));
  ASSIGN_OR_RETURN(const KeyFolderState state, ReadKeyFolder(arguments.directory));
  if (arguments.json) {
    Json json = PartyJson(state.sites[*FindSiteByName(state.roster, arguments.name)]);
    json["roster_sha256"] = RosterHash(state.roster);
    return WriteJson(json);
  }
  return WriteResult(absl::StrCat("site ", arguments.name,
                                  " is revoked: who has the new roster refuses it, so the server gets it first\n",
                                  RosterAdvice(state, arguments.directory)));
}

void WarnOf(const PartyState& party) {
  const std::string who = party.index ? absl::StrCat("site ", party.name) : "the server";
  if (!party.problem.empty()) return LogWarning(absl::StrCat(who, ": ", party.problem));
  const int64_t end_s = party.certificate->validity.not_after_s;
  if (!party.revoked && end_s < Now() + kWarnBefore_s)
    LogWarning(absl::StrCat(who, ": the certificate ", end_s < Now() ? "expired on " : "expires on ", DateOf(end_s),
                            "; renew it: fedalt keys ", party.index ? "site DIR " + party.name : "server DIR", " --renew"));
}

Status ExecuteShow(const KeysArguments& arguments) {
  ASSIGN_OR_RETURN(const KeyFolderState state, ReadKeyFolder(arguments.directory));
  if (arguments.json) return WriteJson(FolderJson(state, arguments.directory));
  std::vector<TableRow> rows = {{"party", "index", "state", "expires", "fingerprint"}};
  rows.push_back({"authority", "-", state.authority.validity.not_after_s < Now() ? "expired" : "active",
                  DateOf(state.authority.validity.not_after_s), state.authority.fingerprint});
  const auto add = [&rows](const std::string& name, const PartyState& party) {
    rows.push_back({name, party.index ? absl::StrCat(*party.index) : "-", StateText(party),
                    party.certificate ? DateOf(party.certificate->validity.not_after_s) : "?", party.keys.fingerprint});
  };
  if (state.server) add("server", *state.server);
  for (const PartyState& site : state.sites) add(absl::StrCat("site ", site.name), site);
  RETURN_IF_ERROR(WriteResult(
      absl::StrCat("federation ", state.roster.federation, ", roster hash ", RosterHash(state.roster), "\n", AlignTable(rows))));
  if (const int64_t end_s = state.authority.validity.not_after_s; end_s < Now() + kWarnBefore_s)
    LogWarning(absl::StrCat("the authority ends on ", DateOf(end_s), ", and all certificates with it; make a new one in time"));
  if (state.server) WarnOf(*state.server);
  for (const PartyState& site : state.sites) WarnOf(site);
  return absl::OkStatus();
}

using Execute = Status (*)(const KeysArguments&);

// What all the commands have in common; `execute` does the work.
CLI::App* AddPart(CLI::App& keys, Command& command, const char* name, const char* what, Execute execute,
                  const std::shared_ptr<KeysArguments>& arguments) {
  CLI::App* app = keys.add_subcommand(name, what);
  app->add_option("dir", arguments->directory, "The folder of keys")->required()->type_name("DIR");
  AddFormatOption(*app, arguments->json);
  app->callback([arguments, execute, &command] { command.run = [arguments, execute] { return execute(*arguments); }; });
  return app;
}

void AddDays(CLI::App& app, KeysArguments& arguments, const char* what) {
  app.add_option("--days", arguments.days, what)->type_name("N")->check(CLI::Range(int64_t{1}, kMostDays));
}

void AddSiteName(CLI::App& app, KeysArguments& arguments) {
  app.add_option("name", arguments.name, "The site: letters, digits, '-', '_' and '.', at most 64")->required()->type_name("NAME");
}

void AddInit(CLI::App& keys, Command& command) {
  auto arguments = std::make_shared<KeysArguments>();
  arguments->days = 3650;
  CLI::App* app = AddPart(keys, command, "init", "Make an authority and an empty roster", ExecuteInit, arguments);
  app->add_option("--federation", arguments->federation, "Name of the federation (default: federation)")->type_name("NAME");
  AddDays(*app, *arguments, "Days until the authority expires (default: 3650)");
  app->footer(kInitExamples);
}

void AddServer(CLI::App& keys, Command& command) {
  auto arguments = std::make_shared<KeysArguments>();
  CLI::App* app = AddPart(keys, command, "server", "Make the server's keys and its certificate", ExecuteIssue, arguments);
  app->add_option("--host", arguments->hosts, "Name or address by which the sites reach the server; may be given again")
      ->type_name("NAME")
      ->allow_extra_args(false);
  AddDays(*app, *arguments, "Days until the certificate expires (default: 730)");
  app->add_flag("--renew", arguments->renew, "Only another certificate, for the same key; the roster stays as it is");
  app->add_flag("--replace", arguments->replace, "New keys in place of those that it has");
  app->footer(kServerExamples);
}

// CLI11 would take an empty name, which stands for the server here.
Status ExecuteSite(const KeysArguments& arguments) {
  if (arguments.name.empty()) return UsageError(absl::StrCat("the site's name ", SiteNameFault("")));
  return ExecuteIssue(arguments);
}

void AddSite(CLI::App& keys, Command& command) {
  auto arguments = std::make_shared<KeysArguments>();
  CLI::App* app = AddPart(keys, command, "site", "Make the keys of a site and its certificate", ExecuteSite, arguments);
  AddSiteName(*app, *arguments);
  AddDays(*app, *arguments, "Days until the certificate expires (default: 730)");
  app->add_flag("--renew", arguments->renew, "Only another certificate, for the same key; the roster stays as it is");
  app->footer(kSiteExamples);
}

}  // namespace

void AddKeysCommand(CLI::App& program, Command& command) {
  CLI::App* app = program.add_subcommand("keys", "Make the authority, certificates and signing keys of a federation");
  app->require_subcommand(1);
  AddInit(*app, command);
  AddServer(*app, command);
  AddSite(*app, command);
  auto revoked = std::make_shared<KeysArguments>(), shown = std::make_shared<KeysArguments>();
  CLI::App* revoke = AddPart(*app, command, "revoke", "Mark a site revoked in the roster", ExecuteRevoke, revoked);
  AddSiteName(*revoke, *revoked);
  revoke->footer(kRevokeExamples);
  AddPart(*app, command, "show", "List the parties, their fingerprints and when they expire", ExecuteShow, shown)
      ->footer(kShowExamples);
  app->footer(kExamples);
}

}  // namespace fedalt
