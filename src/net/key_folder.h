// The folder that `fedalt keys` keeps: the authority, the roster, and a folder for each party with what belongs on its machine.
//
//     DIR/authority/{authority.pem, authority.key}    signs certificates; stays offline
//     DIR/roster.json                                 who takes part; what is true where two files differ
//     DIR/server/, DIR/sites/NAME/                    certificate.pem, private.key, signing.key, authority.pem, roster.json
//
// Keys are files of mode 0600, folders of mode 0700. Functions that change something hold a lock on DIR, and what they change is
// there as a whole or not at all: the folder of a party is renamed into place, then DIR/roster.json names its keys. A process that
// is killed between the two leaves keys that no roster names; the same call makes them again. Copies of the roster that a killed
// process left behind are brought up to date by the next change.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "net/certificates.h"
#include "net/roster.h"

namespace fedalt {

inline constexpr char kCertificateFile[] = "certificate.pem";
inline constexpr char kPrivateKeyFile[] = "private.key";
inline constexpr char kSigningKeyFile[] = "signing.key";
inline constexpr char kAuthorityFile[] = "authority.pem";
inline constexpr char kRosterFile[] = "roster.json";

/// A new folder. `directory`: absent or empty. Errors: kUsage (the federation's name), kOutput (there is something already).
Status MakeKeyFolder(const std::filesystem::path& directory, std::string_view federation, const Validity& validity);

struct IssueRequest {
  std::string site;                ///< empty: the server
  std::vector<std::string> hosts;  ///< of the server; to renew, empty stands for those of its certificate
  Validity validity;
  bool renew = false;    ///< another certificate for the same key; the roster stays as it is
  bool replace = false;  ///< the server: new keys in place of those that it has
};

/// Makes keys and a certificate, or with `renew` a certificate. A site that was revoked gets new keys and keeps its index.
/// Errors: kUsage (a name, a host; renewing who has no keys), kConfig (the folder is damaged or has no authority; the authority
/// ends before the certificate would), kOutput (there are keys already, or nothing can be written).
Status IssueKeys(const std::filesystem::path& directory, const IssueRequest& request);

/// Marks the site revoked in every roster; once more changes nothing. Errors: kUsage (no such site), kConfig, kOutput.
Status RevokeSite(const std::filesystem::path& directory, std::string_view name);

struct PartyState {
  std::string name;             ///< of a site; empty: the server
  std::optional<size_t> index;  ///< of a site in the federation
  PartyKeys keys;
  bool revoked = false;
  std::filesystem::path folder;
  std::optional<CertificateFacts> certificate;  ///< the one in `folder`
  std::string problem;                          ///< why there is none, or what is wrong with it; empty: nothing
};

struct KeyFolderState {
  Roster roster;
  CertificateFacts authority;
  std::optional<PartyState> server;
  std::vector<PartyState> sites;
};

/// What the folder holds; reads no secret and changes nothing. Errors: kConfig.
StatusOr<KeyFolderState> ReadKeyFolder(const std::filesystem::path& directory);

}  // namespace fedalt
