#include "app/federation_files.h"

#include <sys/stat.h>

#include <absl/strings/str_join.h>

#include <chrono>
#include <map>

#include "app/config_keys.h"
#include "app/config_paths.h"
#include "app/host_port.h"
#include "app/idle_settings.h"
#include "app/key_advice.h"
#include "app/yaml_tree.h"
#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/private_file.h"
#include "base/signature.h"
#include "base/site_name.h"
#include "net/certificates.h"
#include "net/key_folder.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// One key of server.yaml or site.yaml.
struct PartyKey {
  std::string name;
  bool required = false;
  std::function<std::string(const YamlNode& value, const fs::path& folder)> read;  ///< what is wrong; empty: it is read
  std::string expected;                                                            ///< where it is required
};

std::string Unexpected(const YamlNode& value, std::string_view expected) {
  return absl::StrCat("is ", value.Describe(), "; expected ", std::string(expected));
}

PartyKey PathKey(const std::string& name, bool required, fs::path& to) {
  return {name, required,
          [&to](const YamlNode& value, const fs::path& folder) {
            to = (folder / ExpandHome(value.text)).lexically_normal();
            return value.text.empty() ? Unexpected(value, "a path") : std::string();
          },
          "a path"};
}

PartyKey TextKey(const std::string& name, bool required, std::string& to) {
  return {name, required,
          [&to](const YamlNode& value, const fs::path&) {
            to = value.text;
            return to.empty() ? Unexpected(value, "a text") : std::string();
          },
          "a text"};
}

PartyKey AddressKey(const std::string& name, AddressUse use, std::string& to) {
  return {name, true,
          [&to, use](const YamlNode& value, const fs::path&) {
            to = value.text;
            return AddressFault(to, use);
          },
          "host:port"};
}

PartyKey SiteKey(std::string& to) {
  return {"site", true,
          [&to](const YamlNode& value, const fs::path&) {
            to = value.text;
            return SiteNameFault(to);
          },
          "the name for which its keys were made"};
}

PartyKey CountKey(const std::string& name, int64_t least, int64_t& to) {
  return {name, false,
          [&to, least](const YamlNode& value, const fs::path&) {
            constexpr int64_t kMost = 1'000'000'000;
            const bool valid = ReadInteger(value, to) && to >= least && to <= kMost;
            return valid ? std::string() : Unexpected(value, absl::StrCat("an integer from ", least, " to ", kMost));
          },
          "a count"};
}

PartyKey PinKey(std::optional<int64_t>& to) {
  return {"rest_of_world.pin", false,
          [&to](const YamlNode& value, const fs::path&) {
            int64_t round = 0;
            bool on = true;
            if (ReadBoolean(value, on) && !on) return std::string();
            if (!ReadInteger(value, round) || round < 0) return Unexpected(value, "off or a round");
            to = round;
            return std::string();
          },
          "off or a round"};
}

PartyKey FlagKey(const std::string& name, bool& to) {
  return {name, false,
          [&to](const YamlNode& value, const fs::path&) {
            return ReadBoolean(value, to) ? std::string() : Unexpected(value, "true or false");
          },
          "true or false"};
}

std::vector<PartyKey> KeysOf(Party party, PartyConfig& config) {
  std::vector<PartyKey> keys = {PathKey("federation", true, config.federation), PathKey("model", false, config.model),
                                PathKey("keys", true, config.keys), PathKey("directory", true, config.directory)};
  if (party == Party::kServer) {
    keys.push_back(AddressKey("listen", AddressUse::kListen, config.listen));
    keys.push_back(CountKey("minimum_cohort", 1, config.minimum_cohort));
    keys.push_back(CountKey("deadline_s", 1, config.deadline_s));
    keys.push_back(CountKey("linger_s", 0, config.linger_s));
    return keys;
  }
  keys.push_back(AddressKey("server", AddressUse::kDial, config.server));
  keys.push_back(SiteKey(config.site));
  keys.push_back(PathKey("data.train", true, config.train));
  keys.push_back(PathKey("data.test", true, config.test));
  keys.push_back(PathKey("data.validation", false, config.validation));
  for (const auto& [part, name] : {std::pair{"instruction", &config.fields.instruction},
                                   {"input", &config.fields.input},
                                   {"output", &config.fields.output},
                                   {"tag", &config.fields.tag}}) {
    keys.push_back(TextKey(absl::StrCat("data.fields.", part), /*required=*/false, *name));
  }
  keys.push_back(CountKey("patience_s", 1, config.patience_s));
  keys.push_back(PinKey(config.pinned_round));
  keys.push_back(FlagKey("share_metrics", config.share_metrics));
  return keys;
}

/// The scalars of a map and of the maps in it, by dotted names.
Status Flatten(const YamlNode& node, const std::string& prefix, std::map<std::string, const YamlNode*>& values) {
  for (const YamlEntry& entry : node.entries) {
    const std::string name = prefix + entry.first;
    if (entry.second.kind == YamlNode::Kind::kMap) {
      RETURN_IF_ERROR(Flatten(entry.second, name + ".", values));
    } else if (entry.second.kind != YamlNode::Kind::kScalar) {
      return ConfigError(absl::StrCat(entry.second.where, ": ", name, " is ", entry.second.Describe(), "; expected one value"));
    } else {
      values[name] = &entry.second;
    }
  }
  return absl::OkStatus();
}

std::string QuotedList(const std::vector<std::string>& names) {
  std::vector<std::string> entries;
  entries.reserve(names.size());
  for (const std::string& name : names) entries.push_back(absl::StrCat("{name: ", YamlQuote(name), ", train: -, test: -}"));
  return absl::StrCat("[", absl::StrJoin(entries, ", "), "]");
}

}  // namespace

StatusOr<PartyConfig> LoadPartyConfig(const fs::path& file, Party party) {
  constexpr size_t kMostBytes = 1 << 20;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, ErrorKind::kConfig, kMostBytes));
  ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(text, file.string()));
  if (root.kind != YamlNode::Kind::kMap)
    return ConfigError(absl::StrCat(file.string(), ": is ", root.Describe(), "; expected a map of keys"));
  std::map<std::string, const YamlNode*> values;
  RETURN_IF_ERROR(Flatten(root, "", values));
  PartyConfig config;
  config.file = file;
  const std::vector<PartyKey> keys = KeysOf(party, config);
  std::vector<std::string> names;
  names.reserve(keys.size());
  for (const PartyKey& key : keys) names.push_back(key.name);
  for (const auto& [name, node] : values)
    if (std::find(names.begin(), names.end(), name) == names.end())
      return ConfigError(
          absl::StrCat(node->where, ": unknown key \"", name.substr(0, 80), "\"; ",
                       KeyAdvice(name, party == Party::kServer ? SettingsFile::kServer : SettingsFile::kSite, names)));
  std::error_code error;
  const fs::path folder = fs::absolute(file, error).parent_path();
  for (const PartyKey& key : keys) {
    const auto value = values.find(key.name);
    if (value == values.end() && key.required)
      return ConfigError(absl::StrCat(file.string(), ": ", key.name, " is missing; expected ", key.expected));
    if (value == values.end()) continue;
    if (const std::string fault = key.read(*value->second, folder); !fault.empty())
      return ConfigError(absl::StrCat(value->second->where, ": ", key.name, " ", fault));
  }
  return config;
}

Status CheckRoomForConnections() {
  // 12 to 18 threads with stacks of 8 MB, the heap's step of 64 MB, and what is sent and received.
  constexpr int64_t kRoom = 300'000'000;
  const Machine machine = DescribeMachine();
  const bool of_process = machine.memory_bound == MemoryBound::kAddressSpace || machine.memory_bound == MemoryBound::kData;
  if (!of_process || machine.memory_available_bytes >= kRoom) return absl::OkStatus();
  return MemoryError(
      absl::StrFormat("%d MB %s are left for this process, its connections need %d MB; raise that limit by the difference",
                      machine.memory_available_bytes / 1'000'000, MemoryBoundName(machine.memory_bound), kRoom / 1'000'000));
}

StatusOr<PartyKeysOnDisk> LoadPartyKeys(const PartyConfig& config, Party party) {
  const fs::path& folder = config.keys;
  constexpr size_t kMostBytes = 1 << 20;
  PartyKeysOnDisk keys;
  keys.signing_key = folder / kSigningKeyFile;
  ASSIGN_OR_RETURN(keys.identity.certificate, ReadFile(folder / kCertificateFile, ErrorKind::kConfig, kMostBytes));
  ASSIGN_OR_RETURN(keys.identity.private_key, ReadPrivateFile(folder / kPrivateKeyFile, kMostBytes));
  ASSIGN_OR_RETURN(keys.identity.authority, ReadFile(folder / kAuthorityFile, ErrorKind::kConfig, kMostBytes));
  ASSIGN_OR_RETURN(keys.roster, LoadRoster(folder / kRosterFile));
  const auto use = party == Party::kServer ? CertificateUse::kServer : CertificateUse::kSite;
  const int64_t now_s =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  RETURN_IF_ERROR(Annotate(CheckCertificate(keys.identity.certificate, keys.identity.authority, use, now_s), folder.string()));
  RETURN_IF_ERROR(Annotate(CheckPrivateKey({keys.identity.certificate, keys.identity.private_key}), folder.string()));
  const std::string roster = (folder / kRosterFile).string();
  if (!keys.roster.server) return ConfigError(absl::StrCat(roster, ": has no server; make its keys first"));
  if (keys.roster.sites.empty()) return ConfigError(absl::StrCat(roster, ": has no sites; make their keys first"));
  ASSIGN_OR_RETURN(const CertificateFacts facts, ParseCertificate(keys.identity.certificate));
  std::string expected = keys.roster.server->fingerprint;
  if (party == Party::kSite) {
    const auto place = FindSiteByName(keys.roster, config.site);
    if (!place)
      return ConfigError(
          absl::StrCat(roster, ": has no site \"", config.site, "\"; expected the name that its keys were made for"));
    expected = keys.roster.sites[*place].keys.fingerprint;
  }
  if (facts.fingerprint != expected)
    return ConfigError(absl::StrCat(folder.string(), ": holds keys of \"", facts.common_name,
                                    "\" that are not those which the roster names for ",
                                    party == Party::kSite ? config.site : "the server", "; put the right folder there"));
  return keys;
}

StatusOr<Signatures> LoadSignatures(const PartyKeysOnDisk& keys) {
  ASSIGN_OR_RETURN(SigningKey loaded, SigningKey::Load(keys.signing_key));
  const auto key = std::make_shared<const SigningKey>(std::move(loaded));
  Signatures signatures;
  signatures.sign = [key](std::string_view message) {
    const Ed25519Signature signature = key->Sign(message);
    return std::string(signature.begin(), signature.end());
  };
  signatures.verifies = [roster = keys.roster](int64_t signer, std::string_view message, std::string_view signature) {
    const std::string& of =
        signer == Signatures::kServer ? roster.server->signing_key : roster.sites.at(static_cast<size_t>(signer)).keys.signing_key;
    return VerifySignature(of, message, signature);
  };
  return signatures;
}

void KeepPrivate(const fs::path& directory) {
  ::umask(S_IRWXG | S_IRWXO);
  std::error_code error;  // of a directory that is not there yet
  fs::permissions(directory, fs::perms::owner_all, error);
}

std::string RandomName() {
  constexpr size_t kDigits = 12;
  return SigningKey::Generate().public_key().Hex().substr(0, kDigits);
}

StatusOr<RunConfig> LoadSharedConfig(const PartyConfig& party, const Roster& roster) {
  // Some defaults depend on how many sites there are, so everybody reads it with all of them.
  std::vector<std::string> names;
  for (const RosterSite& site : roster.sites) names.push_back(site.name);
  std::vector<std::string> overrides = {"sites=" + QuotedList(names)};
  if (!party.model.empty()) overrides.push_back(absl::StrCat("model=", YamlQuote(party.model.string())));
  constexpr size_t kMostBytes = 1 << 22;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(party.federation, ErrorKind::kConfig, kMostBytes));
  ConfigSource source;
  source.name = party.federation.string();
  source.check_files = false;  // the other sites' data are elsewhere
  source.own_overrides = true;
  ASSIGN_OR_RETURN(ParsedConfig parsed, ParseConfig(text, overrides, source));
  WarnOfIdleSettings(parsed, ConfigPlace::kFederation);
  RunConfig& config = parsed.config;
  if (!party.validation.empty() && config.validation > 0.0)
    LogWarning(absl::StrCat("validation has no effect at this site: data.validation of ", party.file.string(), " names a file"));
  config.model = (party.federation.parent_path() / ExpandHome(config.model.string())).lexically_normal();
  if (party.site.empty()) return config;
  config.all_sites = names;
  const FieldNames& fields = party.fields == FieldNames() ? config.fields : party.fields;
  config.sites = {{party.site, party.train, party.test, party.validation, 0, fields}};
  return config;
}

StatusOr<std::string> AgreementOf(const RunConfig& config, const Roster& roster) {
  RunConfig shared = config;
  shared.model.clear();
  shared.initial_adapter.clear();
  shared.sites.clear();
  shared.all_sites.clear();
  shared.fields = {};
  shared.threads = 0;
  shared.device = "auto";
  shared.sites_at_once_auto = true;
  shared.federation.sites_at_once = 1;
  shared.keep = {};
  std::string agreement = absl::StrCat("federation ", roster.federation, "\nrun_format ", kRunFormat, "\n");
  for (const RosterSite& site : roster.sites) absl::StrAppend(&agreement, "site ", site.name, "\n");
  RunConfig model;
  model.model = config.model;
  ASSIGN_OR_RETURN(const FileHashes hashes, HashInputs(model));
  for (const auto& [file, hash] : hashes)
    absl::StrAppend(&agreement, "model ", fs::path(file).filename().string(), " ", hash, "\n");
  for (const ConfigKey& key : ConfigKeys())
    if (const std::string value = key.write(shared); !value.empty()) absl::StrAppend(&agreement, key.name, ": ", value, "\n");
  return agreement;
}

}  // namespace fedalt
