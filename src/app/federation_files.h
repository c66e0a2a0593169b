// The files of a party in a federation across machines: server.yaml or site.yaml, the configuration that all share, the folder of
// keys; and what of it all parties must have in common.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "app/config.h"
#include "base/status.h"
#include "net/roster.h"
#include "net/signatures.h"
#include "net/tls.h"

namespace fedalt {

/// What server.yaml and site.yaml say. Paths are absolute.
struct PartyConfig {
  std::filesystem::path file;        ///< that says so
  std::filesystem::path federation;  ///< the configuration that all share
  std::filesystem::path model;       ///< empty: as `federation` says
  std::filesystem::path keys;        ///< the party's folder (docs/keys.md)
  std::filesystem::path directory;   ///< what the party keeps
  // Of a server.
  std::string listen;  ///< host:port
  int64_t minimum_cohort = 3, deadline_s = 3600, linger_s = 600;
  // Of a site.
  std::string server;  ///< host:port
  std::string site;    ///< its name in the roster
  std::filesystem::path train, test, validation;
  FieldNames fields;  ///< of these files; empty: as `federation` says
  int64_t patience_s = 86'400;
  std::optional<int64_t> pinned_round;  ///< nothing that later rounds publish is read
  bool share_metrics = false;           ///< the server is told losses and times of each round
};

enum class Party { kServer, kSite };

/// Errors: kConfig (unknown or missing keys, with the place), kData.
StatusOr<PartyConfig> LoadPartyConfig(const std::filesystem::path& file, Party party);

/// The party's keys, checked against each other, the authority and the roster.
struct PartyKeysOnDisk {
  TlsIdentity identity;
  Roster roster;
  std::filesystem::path signing_key;
};
/// Errors: kConfig.
StatusOr<PartyKeysOnDisk> LoadPartyKeys(const PartyConfig& config, Party party);

/// Signs with the party's key and checks with those of the roster. Errors: kConfig.
StatusOr<Signatures> LoadSignatures(const PartyKeysOnDisk& keys);

/// From now on what this process makes is its owner's alone, and so is the party's directory if it is there already: adapters and
/// records are nobody else's on the machine.
void KeepPrivate(const std::filesystem::path& directory);

/// 12 hex digits that nobody else draws.
std::string RandomName();

/// kMemory where a limit of this process leaves too little for the threads of a connection: gRPC waits for ever for threads that
/// could not be started. For the first moment of a server or site.
Status CheckRoomForConnections();

/// The shared configuration as a run of this party: of a site with its own data, of a server with none.
StatusOr<RunConfig> LoadSharedConfig(const PartyConfig& party, const Roster& roster);

/// What all parties must have in common, one fact per line: sites and their order, model, and every key that is not a matter of one
/// machine. Not their keys, which may be renewed while a run goes on: the roster decides about those.
StatusOr<std::string> AgreementOf(const RunConfig& config, const Roster& roster);

}  // namespace fedalt
