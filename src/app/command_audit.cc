// fedalt audit: the audit log of a server's or a site's directory, shown and verified.
#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/text_table.h"
#include "base/log.h"
#include "base/signature.h"
#include "base/strict_json.h"
#include "net/key_folder.h"
#include "net/roster.h"
#include "store/audit_evidence.h"
#include "store/audit_log.h"
#include "store/audit_verify.h"
#include "store/database.h"
#include "store/schema.h"

namespace fedalt {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr char kShowExamples[] =
    "Examples:\n"
    "  fedalt audit show server                     every entry, one a line\n"
    "  fedalt audit show server --kind refusal      only those of a kind\n"
    "  fedalt audit show site-3 --format json";
constexpr char kVerifyExamples[] =
    "Examples:\n"
    "  fedalt audit verify server --trust roster.json                keys from your own copy of the roster\n"
    "  fedalt audit verify server --run r7 --signed-at-least 420     what you know from elsewhere\n"
    "  fedalt audit verify server --format json\n"
    "Exit code 9: a recorded fact was changed, and is named. docs/audit.md says what is proven and what is not.";

struct AuditOptions {
  std::string directory;
  std::string kind;
  std::string trust;
  std::string run;
  uint64_t signed_at_least = 0;
  bool json = false;
};

/// Public keys in hex by signer: "server", and the names of the sites.
using SignerKeys = std::map<std::string, std::string>;

StatusOr<std::unique_ptr<Database>> OpenStore(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error))
    return UsageError(absl::StrCat(directory.string(), ": there is no such directory; name that of a server or a site"));
  if (!fs::exists(directory / kStoreName, error)) {
    return UsageError(absl::StrCat(directory.string(), ": holds no ", kStoreName, "; name the directory of a server or a site"));
  }
  return Database::OpenReadOnly(directory / kStoreName, StoreMigrations());
}

StatusOr<SignerKeys> ReadSignerKeys(const fs::path& path) {
  ASSIGN_OR_RETURN(const Roster roster, LoadRoster(path));
  SignerKeys keys;
  if (roster.server) keys["server"] = roster.server->signing_key;
  for (const RosterSite& site : roster.sites)
    if (!keys.emplace(site.name, site.keys.signing_key).second)
      return ConfigError(absl::StrCat(path.string(), ": a site is called ", QuoteForMessage(site.name),
                                      ", which stands for the server in the log; give it another name"));
  return keys;
}

Status Show(const AuditOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, OpenStore(options.directory));
  ASSIGN_OR_RETURN(const std::string run, RunOfAuditLog(*database));
  ordered_json entries = ordered_json::array();
  RETURN_IF_ERROR(ReadEntries(*database, INT64_MIN, options.kind, [&](const AuditEntry& entry) {
    if (!options.json) {
      return WriteResult(Printable(absl::StrCat(entry.sequence, "  ", TimeText(entry.time_ms), "  ", entry.kind, "  ",
                                                entry.subject.empty() ? "-" : entry.subject, "  ", entry.body)) +
                         "\n");
    }
    ordered_json body = ordered_json::parse(entry.body, nullptr, false);
    if (body.is_discarded()) body = entry.body;
    entries.push_back({{"sequence", entry.sequence},
                       {"time_ms", entry.time_ms},
                       {"kind", entry.kind},
                       {"subject", entry.subject},
                       {"body", std::move(body)},
                       {"leaf", HexOf(entry.leaf)}});
    return absl::OkStatus();
  }));
  if (!options.json) return absl::OkStatus();
  return WriteResult(JsonLine({{"run", run}, {"entries", std::move(entries)}}));
}

std::string ReportText(const AuditReport& report, const SignerKeys& keys) {
  std::string text = absl::StrCat("run ", QuoteForMessage(report.run), ": ", report.entries, " entries, ", report.signed_entries,
                                  " of them signed\n");
  for (const auto& [signer, key] : keys) {
    const auto found = report.signed_by.find(signer);
    absl::StrAppend(&text, "  ", Printable(signer), ": ",
                    found == report.signed_by.end() ? "nothing" : absl::StrCat(found->second, " entries"), "\n");
  }
  const uint64_t not_covered = report.entries - report.signed_entries;
  if (not_covered > 0)
    absl::StrAppend(&text, "not covered: ", not_covered, not_covered == 1 ? " entry" : " entries", " after entry ",
                    report.signed_entries, ", which no signature covers yet\n");
  for (const AuditFinding& finding : report.findings) absl::StrAppend(&text, "changed: ", Printable(finding.text), "\n");
  if (report.findings.empty() && report.signed_entries > 0)
    absl::StrAppend(&text, "the first ", report.signed_entries,
                    " entries are as they were signed, and all tables agree with them\n");
  text += "not found by any verification:\n";
  for (const std::string& what : NotFoundByAudit()) absl::StrAppend(&text, "  - ", what, "\n");
  return text;
}

std::string ReportJson(const AuditReport& report) {
  ordered_json findings = ordered_json::array();
  for (const AuditFinding& finding : report.findings)
    findings.push_back({{"first", finding.first}, {"last", finding.last}, {"text", finding.text}});
  return JsonLine({{"run", report.run},
                   {"verified", report.findings.empty()},
                   {"entries", report.entries},
                   {"signed_entries", report.signed_entries},
                   {"not_covered_entries", report.entries - report.signed_entries},
                   {"signed_by", report.signed_by},
                   {"findings", std::move(findings)},
                   {"does_not_find", NotFoundByAudit()}});
}

/// The roster to check signatures with. The directory's own is as good as the log's owner.
StatusOr<fs::path> TrustFile(const AuditOptions& options) {
  if (!options.trust.empty()) return fs::path(options.trust);
  const fs::path own = fs::path(options.directory) / kRosterFile;
  std::error_code error;
  if (!fs::exists(own, error))
    return UsageError(absl::StrCat("the public keys of the server and the sites are needed: give your copy of ", kRosterFile,
                                   " with --trust; each party has one in its folder of keys"));
  LogWarning(
      absl::StrCat("the keys are those in ", own.string(), ", beside the log itself; for a proof give your own copy with --trust"));
  return own;
}

Status Verify(const AuditOptions& options) {
  const fs::path directory = options.directory;
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, OpenStore(directory));
  ASSIGN_OR_RETURN(const fs::path trust, TrustFile(options));
  ASSIGN_OR_RETURN(const SignerKeys keys, ReadSignerKeys(trust));
  std::string run = options.run;
  if (run.empty()) {
    ASSIGN_OR_RETURN(run, RunOfAuditLog(*database));
  }
  const auto check = [&](std::string_view signer, std::string_view message, std::string_view signature) {
    const auto key = keys.find(std::string(signer));
    return key != keys.end() && VerifySignature(key->second, message, signature);
  };
  ASSIGN_OR_RETURN(const Transaction state, Transaction::BeginRead(*database));
  RETURN_IF_ERROR(CheckSchema(*database));
  ASSIGN_OR_RETURN(AuditEvidence evidence, EvidenceIn(*database, run, check));
  ASSIGN_OR_RETURN(AuditReport report, VerifyAuditLog(*database, run, check, std::move(evidence)));
  if (report.signed_entries < options.signed_at_least) {
    const auto expected = static_cast<int64_t>(options.signed_at_least);
    report.findings.push_back({static_cast<int64_t>(report.signed_entries) + 1, expected,
                               absl::StrCat("a signed head of at least ", expected,
                                            " entries was expected, and there is none; heads "
                                            "or entries were removed, or this is an old copy")});
  }
  RETURN_IF_ERROR(WriteResult(options.json ? ReportJson(report) : ReportText(report, keys)));
  if (report.findings.empty()) return absl::OkStatus();
  return IntegrityError(
      Printable(absl::StrCat(database->path().string(), ": the audit log does not verify, ", report.findings.size(),
                             report.findings.size() == 1 ? " finding: " : " findings, the first: ", report.findings.front().text)));
}

}  // namespace

void AddAuditCommand(CLI::App& program, Command& command) {
  auto options = std::make_shared<AuditOptions>();
  CLI::App* app = program.add_subcommand("audit", "Show the audit log of a server or site, or find out whether it was changed");
  app->require_subcommand(1);

  CLI::App* show = app->add_subcommand("show", "Print the entries");
  show->add_option("dir", options->directory, "Directory of the server or the site")->required()->type_name("DIR");
  show->add_option("--kind", options->kind, "Only the entries of this kind")->type_name("KIND");
  AddFormatOption(*show, options->json);
  show->footer(kShowExamples);
  show->callback([options, &command] { command.run = [options] { return Show(*options); }; });

  CLI::App* verify = app->add_subcommand("verify", "Check every entry and every signature; names what was changed");
  verify->add_option("dir", options->directory, "Directory of the server or the site")->required()->type_name("DIR");
  verify->add_option("--trust", options->trust, "Roster with the public keys of server and sites (needed unless DIR has one)")
      ->type_name("FILE");
  verify->add_option("--run", options->run, "The run that it must be (default: the one that the log names)")->type_name("ID");
  verify
      ->add_option("--signed-at-least", options->signed_at_least,
                   "Entries that must be signed, as you know from a site's copy of a head")
      ->check(CLI::Range(uint64_t{0}, static_cast<uint64_t>(kMaxAuditSequence)))
      ->type_name("N");
  AddFormatOption(*verify, options->json);
  verify->footer(kVerifyExamples);
  verify->callback([options, &command] { command.run = [options] { return Verify(*options); }; });
}

}  // namespace fedalt
