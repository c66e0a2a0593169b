#include "net/key_folder.h"

#include <algorithm>
#include <system_error>

#include "base/directory_lock.h"
#include "base/file.h"
#include "base/private_file.h"
#include "base/signature.h"
#include "base/site_name.h"
#include "base/strict_json.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kAuthorityFolder[] = "authority";
constexpr char kAuthorityKeyFile[] = "authority.key";
constexpr size_t kMostPemBytes = 65536;

fs::path FolderOf(const fs::path& directory, const std::string& site) {
  return site.empty() ? directory / "server" : directory / "sites" / site;
}

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

Status OnlyForOwner(const fs::path& directory) {
  std::error_code error;
  fs::permissions(directory, fs::perms::owner_all, error);
  if (!error) return absl::OkStatus();
  return OutputError(absl::StrCat(directory.string(), ": cannot be kept from other users (", error.message(), ")"));
}

Status RemoveFolder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (!error) return absl::OkStatus();
  return OutputError(absl::StrCat(folder.string(), ": cannot be removed (", error.message(), "); remove it by hand"));
}

Status RenameFolder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) return OutputError(absl::StrCat(to.string(), ": cannot be put in place (", error.message(), ")"));
  return SyncDirectory(to.parent_path());
}

StatusOr<std::string> ReadPem(const fs::path& path) {
  return ReadFile(path, ErrorKind::kConfig, kMostPemBytes);
}

// The roster, and the authority that it names.
struct OpenFolder {
  fs::path directory;
  Roster roster;
  std::string authority_pem;
  CertificateFacts authority;
};

StatusOr<OpenFolder> Open(const fs::path& directory) {
  if (!Exists(directory / kRosterFile))
    return ConfigError(absl::StrCat(directory.string(), ": there are no keys here (no ", kRosterFile,
                                    "); expected a folder that fedalt keys init made"));
  OpenFolder folder;
  folder.directory = directory;
  ASSIGN_OR_RETURN(folder.roster, LoadRoster(directory / kRosterFile));
  const fs::path certificate = directory / kAuthorityFolder / kAuthorityFile;
  ASSIGN_OR_RETURN(folder.authority_pem, ReadPem(certificate));
  StatusOr<CertificateFacts> facts = ParseCertificate(folder.authority_pem);
  if (!facts.ok()) return Annotate(facts.status(), certificate.string());
  if (facts->fingerprint != folder.roster.authority)
    return ConfigError(absl::StrCat(certificate.string(), " has the fingerprint ", facts->fingerprint, ", but ", kRosterFile,
                                    " names ", folder.roster.authority,
                                    "; put back the authority or the roster that belongs here"));
  folder.authority = *std::move(facts);
  return folder;
}

// Every copy of the roster in a party's folder that is not the newest.
Status RenewRosters(const OpenFolder& open) {
  const std::string text = RosterText(open.roster);
  const auto renew = [&](const fs::path& folder) -> Status {
    std::error_code error;
    if (!fs::is_directory(folder, error)) return absl::OkStatus();  // it was moved to its machine
    const StatusOr<std::string> there = ReadFile(folder / kRosterFile, ErrorKind::kConfig);
    if (there.ok() && *there == text) return absl::OkStatus();
    return SaveRoster(open.roster, folder / kRosterFile);
  };
  if (open.roster.server) RETURN_IF_ERROR(renew(FolderOf(open.directory, "")));
  for (const RosterSite& site : open.roster.sites) RETURN_IF_ERROR(renew(FolderOf(open.directory, site.name)));
  return absl::OkStatus();
}

StatusOr<CertifiedKey> IssueFor(const OpenFolder& open, const IssueRequest& request, const std::string& renewed_pem,
                                const std::vector<std::string>& hosts) {
  CertifiedKey authority{open.authority_pem, ""};
  const fs::path key = open.directory / kAuthorityFolder / kAuthorityKeyFile;
  ASSIGN_OR_RETURN(authority.private_key_pem, ReadPrivateFile(key, kMostPemBytes));
  if (Status status = CheckPrivateKey(authority); !status.ok()) return Annotate(status, key.string());
  const bool serves = request.site.empty();
  return IssueCertificate(authority, {.use = serves ? CertificateUse::kServer : CertificateUse::kSite,
                                      .name = serves ? "server" : request.site,
                                      .hosts = hosts,
                                      .validity = request.validity,
                                      .renewed_pem = renewed_pem});
}

// The certificate in a party's folder, which must be for the key that the roster names.
StatusOr<std::string> OwnCertificate(const fs::path& folder, const PartyKeys& keys) {
  const fs::path path = folder / kCertificateFile;
  ASSIGN_OR_RETURN(std::string pem, ReadPem(path));
  const StatusOr<CertificateFacts> facts = ParseCertificate(pem);
  if (!facts.ok()) return Annotate(facts.status(), path.string());
  if (facts->fingerprint != keys.fingerprint)
    return ConfigError(absl::StrCat(path.string(), " has the fingerprint ", facts->fingerprint, ", but the roster names ",
                                    keys.fingerprint, "; put back the certificate that belongs here, or make new keys"));
  return pem;
}

Status RenewCertificate(const OpenFolder& open, const IssueRequest& request, const PartyKeys& keys) {
  const fs::path folder = FolderOf(open.directory, request.site);
  ASSIGN_OR_RETURN(const std::string old_pem, OwnCertificate(folder, keys));
  std::vector<std::string> hosts = request.hosts;
  if (hosts.empty()) {
    ASSIGN_OR_RETURN(const CertificateFacts facts, ParseCertificate(old_pem));
    hosts = facts.hosts;
  }
  ASSIGN_OR_RETURN(const CertifiedKey made, IssueFor(open, request, old_pem, hosts));
  return WriteFileAtomic(folder / kCertificateFile, made.certificate_pem);
}

Status FillPartyFolder(const fs::path& folder, const CertifiedKey& made, const SigningKey& signing_key, const OpenFolder& open) {
  RETURN_IF_ERROR(OnlyForOwner(folder));
  RETURN_IF_ERROR(WriteFileAtomic(folder / kCertificateFile, made.certificate_pem));
  RETURN_IF_ERROR(WritePrivateFileAtomic(folder / kPrivateKeyFile, made.private_key_pem));
  RETURN_IF_ERROR(signing_key.Save(folder / kSigningKeyFile));
  RETURN_IF_ERROR(WriteFileAtomic(folder / kAuthorityFile, open.authority_pem));
  return SaveRoster(open.roster, folder / kRosterFile);
}

// New keys. An older folder under this name holds keys that the roster does not name, or that are being replaced.
Status MakeParty(OpenFolder open, const IssueRequest& request) {
  ASSIGN_OR_RETURN(const CertifiedKey made, IssueFor(open, request, "", request.hosts));
  ASSIGN_OR_RETURN(const CertificateFacts facts, ParseCertificate(made.certificate_pem));
  const SigningKey signing_key = SigningKey::Generate();
  const PartyKeys keys = {facts.fingerprint, signing_key.public_key().Hex()};
  if (request.site.empty()) {
    open.roster.server = keys;
  } else if (const auto index = FindSiteByName(open.roster, request.site)) {
    open.roster.sites[*index] = {request.site, keys, /*revoked=*/false};
  } else {
    open.roster.sites.push_back({request.site, keys, /*revoked=*/false});
  }
  const fs::path folder = FolderOf(open.directory, request.site);
  const fs::path staged = folder.parent_path() / absl::StrCat(".", folder.filename().string(), ".new");  // no site's name
  RETURN_IF_ERROR(RemoveFolder(staged));
  RETURN_IF_ERROR(
      WriteDirectoryAtomic(staged, [&](const fs::path& temporary) { return FillPartyFolder(temporary, made, signing_key, open); }));
  Status status = RemoveFolder(folder);
  if (status.ok()) status = RenameFolder(staged, folder);
  if (status.ok()) status = SaveRoster(open.roster, open.directory / kRosterFile);
  if (status.ok()) return RenewRosters(open);
  for (const fs::path& useless : {staged, folder}) (void)RemoveFolder(useless);  // the first error is the one to tell
  return status;
}

// The keys that the party has and may go on using.
std::optional<PartyKeys> ValidKeys(const Roster& roster, const std::string& site) {
  if (site.empty()) return roster.server;
  const std::optional<size_t> index = FindSiteByName(roster, site);
  if (!index || roster.sites[*index].revoked) return std::nullopt;
  return roster.sites[*index].keys;
}

PartyState StateOf(const fs::path& directory, const std::string& site, const PartyKeys& keys) {
  PartyState state;
  state.name = site;
  state.keys = keys;
  state.folder = FolderOf(directory, site);
  if (!Exists(state.folder / kCertificateFile)) {
    state.problem = "its certificate is not here";
    return state;
  }
  const StatusOr<std::string> pem = OwnCertificate(state.folder, keys);
  if (pem.ok())
    state.certificate = *ParseCertificate(*pem);
  else
    state.problem = std::string(pem.status().message());
  return state;
}

}  // namespace

Status MakeKeyFolder(const fs::path& directory, std::string_view federation, const Validity& validity) {
  if (const std::string fault = NameFault(federation); !fault.empty())
    return UsageError(absl::StrCat("the federation's name ", fault));
  if (Exists(directory / kAuthorityFolder) || Exists(directory / kRosterFile))
    return OutputError(
        absl::StrCat(directory.string(),
                     ": there is an authority already, and a new one would make all its certificates useless; choose "
                     "another folder"));
  if (!CheckNewOrEmpty(directory).ok())
    return OutputError(absl::StrCat(directory.string(), " exists and is not an empty directory; choose another folder"));
  ASSIGN_OR_RETURN(const CertifiedKey authority, MakeAuthority(federation, validity));
  ASSIGN_OR_RETURN(const CertificateFacts facts, ParseCertificate(authority.certificate_pem));
  const Roster roster = {.federation = std::string(federation), .authority = facts.fingerprint, .server = {}, .sites = {}};
  return WriteDirectoryAtomic(directory, [&](const fs::path& temporary) -> Status {
    RETURN_IF_ERROR(OnlyForOwner(temporary));
    RETURN_IF_ERROR(MakeDirectories(temporary / kAuthorityFolder));
    RETURN_IF_ERROR(OnlyForOwner(temporary / kAuthorityFolder));
    RETURN_IF_ERROR(WriteFileAtomic(temporary / kAuthorityFolder / kAuthorityFile, authority.certificate_pem));
    RETURN_IF_ERROR(WritePrivateFileAtomic(temporary / kAuthorityFolder / kAuthorityKeyFile, authority.private_key_pem));
    return SaveRoster(roster, temporary / kRosterFile);
  });
}

Status IssueKeys(const fs::path& directory, const IssueRequest& request) {
  if (const std::string fault = request.site.empty() ? "" : SiteNameFault(request.site); !fault.empty())
    return UsageError(absl::StrCat("the site's name ", fault));
  RETURN_IF_ERROR(Open(directory).status());  // its errors say more than those of the lock
  ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Take(directory, "folder of keys"));
  ASSIGN_OR_RETURN(OpenFolder open, Open(directory));
  RETURN_IF_ERROR(RenewRosters(open));
  const std::string who = request.site.empty() ? "the server" : absl::StrCat("site ", request.site);
  const std::optional<PartyKeys> keys = ValidKeys(open.roster, request.site);
  if (request.renew) {
    if (!keys) return UsageError(absl::StrCat(who, " has no keys, or they were revoked; leave out --renew, and it gets new ones"));
    return RenewCertificate(open, request, *keys);
  }
  if (keys && !request.replace)
    return OutputError(absl::StrCat(
        who, " has keys already; --renew makes another certificate for them; for new keys ",
        request.site.empty() ? "give --replace" : absl::StrCat("revoke it first: fedalt keys revoke DIR ", request.site)));
  return MakeParty(std::move(open), request);
}

Status RevokeSite(const fs::path& directory, std::string_view name) {
  RETURN_IF_ERROR(Open(directory).status());
  ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Take(directory, "folder of keys"));
  ASSIGN_OR_RETURN(OpenFolder open, Open(directory));
  const std::optional<size_t> index = FindSiteByName(open.roster, name);
  if (!index)
    return UsageError(
        absl::StrCat("no site of the roster is called ", QuoteForMessage(name),
                     "; fedalt keys show lists them (the server's keys are changed by fedalt keys server --replace)"));
  if (!open.roster.sites[*index].revoked) {
    open.roster.sites[*index].revoked = true;
    RETURN_IF_ERROR(SaveRoster(open.roster, directory / kRosterFile));
  }
  return RenewRosters(open);
}

StatusOr<KeyFolderState> ReadKeyFolder(const fs::path& directory) {
  ASSIGN_OR_RETURN(OpenFolder open, Open(directory));
  KeyFolderState state;
  state.authority = std::move(open.authority);
  state.roster = std::move(open.roster);
  if (state.roster.server) state.server = StateOf(directory, "", *state.roster.server);
  for (const RosterSite& site : state.roster.sites) {
    PartyState party = StateOf(directory, site.name, site.keys);
    party.index = state.sites.size();
    party.revoked = site.revoked;
    state.sites.push_back(std::move(party));
  }
  return state;
}

}  // namespace fedalt
