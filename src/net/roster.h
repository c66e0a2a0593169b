// The roster: who takes part in a federation, and with which keys. Every party has the same file, handed out beside the network, so
// that the server cannot invent sites of its own. Who somebody is, is decided by the fingerprint of the certificate's key alone.
//
// A site's place in the list is its index in the federation, so that no entry is ever removed: one is marked revoked, or gets new
// keys. A value; any thread may read it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fedalt {

/// What a party is known by.
struct PartyKeys {
  std::string fingerprint;  ///< CertificateFacts::fingerprint of its certificate: 64 lower-case hex digits
  std::string signing_key;  ///< VerifyingKey::Hex of its signing key (base/signature.h)
  bool operator==(const PartyKeys&) const = default;
};

struct RosterSite {
  std::string name;
  PartyKeys keys;
  bool revoked = false;
  bool operator==(const RosterSite&) const = default;
};

struct Roster {
  std::string federation;
  std::string authority;            ///< fingerprint of the authority's key
  std::optional<PartyKeys> server;  ///< absent until it has keys
  std::vector<RosterSite> sites;
  bool operator==(const Roster&) const = default;
};

/// OK if all names, fingerprints and signing keys are well formed and none is there twice. Errors: kConfig.
Status CheckRoster(const Roster& roster);

/// The file's text, JSON: {"federation", "authority", "server": null or {"fingerprint", "signing_key"}, "sites": [{"name",
/// "fingerprint", "signing_key", "revoked"}]}. The same roster gives the same bytes.
std::string RosterText(const Roster& roster);

/// Refuses unknown, missing and repeated members, and what CheckRoster refuses. Errors: kConfig.
StatusOr<Roster> ParseRoster(std::string_view text);

/// ParseRoster of a file of at most 16 MiB. Errors: kConfig, with the path.
StatusOr<Roster> LoadRoster(const std::filesystem::path& path);

/// Replaces the file as a whole. Errors: kConfig (CheckRoster), kOutput.
Status SaveRoster(const Roster& roster, const std::filesystem::path& path);

/// Index of the site whose certificate has this fingerprint; it may be revoked.
std::optional<size_t> FindSiteByFingerprint(const Roster& roster, std::string_view fingerprint);
std::optional<size_t> FindSiteByName(const Roster& roster, std::string_view name);

/// SHA-256, lower-case hex, of these lines, each with its newline: "fedalt-roster-1"; "federation" and the name; "authority" and
/// the fingerprint; "server" and its fingerprint and signing key, or "server -"; for each site "site", name, fingerprint, signing
/// key and "active" or "revoked". Words are one space apart; none holds a space, so two rosters never give the same lines.
std::string RosterHash(const Roster& roster);

}  // namespace fedalt
