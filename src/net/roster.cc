#include "net/roster.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/hash.h"
#include "base/signature.h"
#include "base/site_name.h"
#include "base/strict_json.h"

namespace fedalt {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostBytes = size_t{16} << 20;

bool IsFingerprint(std::string_view text) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == 64 && std::all_of(text.begin(), text.end(), is_digit);
}

Status CheckName(const std::string& fault, std::string_view whose) {
  return fault.empty() ? absl::OkStatus() : ConfigError(absl::StrCat("the name of ", std::string(whose), " ", fault));
}

// What must not be there twice, whoever has it.
class Seen {
 public:
  Status Fingerprint(const std::string& fingerprint, const std::string& whose) {
    if (!IsFingerprint(fingerprint))
      return ConfigError(
          absl::StrCat(whose, ": the fingerprint ", QuoteForMessage(fingerprint), " is not of 64 lower-case hex digits"));
    return Once(fingerprint, absl::StrCat(whose, ": the fingerprint ", fingerprint));
  }
  Status Keys(const PartyKeys& keys, const std::string& whose) {
    RETURN_IF_ERROR(Fingerprint(keys.fingerprint, whose));
    RETURN_IF_ERROR(Annotate(VerifyingKey::FromHex(keys.signing_key).status(), whose));
    return Once(keys.signing_key, absl::StrCat(whose, ": the signing key ", keys.signing_key));
  }
  Status Name(const std::string& name) { return Once(absl::StrCat("name ", name), absl::StrCat("a site called ", name)); }

 private:
  Status Once(const std::string& value, const std::string& what) {
    if (values_.insert(value).second) return absl::OkStatus();
    return ConfigError(absl::StrCat(what, " is there twice; expected every party once, with keys of its own"));
  }
  std::set<std::string> values_;
};

Status CheckMembers(const Json& object, std::initializer_list<const char*> names, const std::string& where) {
  if (!object.is_object()) return ConfigError(absl::StrCat(where, " is ", object.type_name(), "; expected an object"));
  for (const char* name : names) {
    if (!object.contains(name)) return ConfigError(absl::StrCat(where, " has no member \"", name, "\""));
  }
  for (const auto& [name, value] : object.items()) {
    const auto is_name = [&found = name](const char* known) { return found == known; };
    if (std::none_of(names.begin(), names.end(), is_name))
      return ConfigError(absl::StrCat(where, " has an unknown member ", QuoteForMessage(name)));
  }
  return absl::OkStatus();
}

// Precondition: the member is there.
StatusOr<std::string> TextMember(const Json& object, const char* name, const std::string& where) {
  const Json& value = object[name];
  if (!value.is_string()) return ConfigError(absl::StrCat(where, ": \"", name, "\" is ", value.type_name(), "; expected a string"));
  return value.get<std::string>();
}

StatusOr<PartyKeys> KeysMembers(const Json& object, const std::string& where) {
  PartyKeys keys;
  ASSIGN_OR_RETURN(keys.fingerprint, TextMember(object, "fingerprint", where));
  ASSIGN_OR_RETURN(keys.signing_key, TextMember(object, "signing_key", where));
  return keys;
}

StatusOr<RosterSite> SiteFromJson(const Json& object, const std::string& where) {
  RETURN_IF_ERROR(CheckMembers(object, {"name", "fingerprint", "signing_key", "revoked"}, where));
  RosterSite site;
  ASSIGN_OR_RETURN(site.name, TextMember(object, "name", where));
  ASSIGN_OR_RETURN(site.keys, KeysMembers(object, where));
  if (!object["revoked"].is_boolean())
    return ConfigError(absl::StrCat(where, ": \"revoked\" is ", object["revoked"].type_name(), "; expected true or false"));
  site.revoked = object["revoked"].get<bool>();
  return site;
}

}  // namespace

Status CheckRoster(const Roster& roster) {
  Seen seen;
  RETURN_IF_ERROR(CheckName(NameFault(roster.federation), "the federation"));
  RETURN_IF_ERROR(seen.Fingerprint(roster.authority, "the authority"));
  if (roster.server) RETURN_IF_ERROR(seen.Keys(*roster.server, "the server"));
  for (const RosterSite& site : roster.sites) {
    RETURN_IF_ERROR(CheckName(SiteNameFault(site.name), "a site"));
    RETURN_IF_ERROR(seen.Name(site.name));
    RETURN_IF_ERROR(seen.Keys(site.keys, absl::StrCat("site ", site.name)));
  }
  return absl::OkStatus();
}

std::string RosterText(const Roster& roster) {
  using Ordered = nlohmann::ordered_json;
  Ordered sites = Ordered::array();
  for (const RosterSite& site : roster.sites) {
    sites.push_back({{"name", site.name},
                     {"fingerprint", site.keys.fingerprint},
                     {"signing_key", site.keys.signing_key},
                     {"revoked", site.revoked}});
  }
  Ordered server;
  if (roster.server) server = {{"fingerprint", roster.server->fingerprint}, {"signing_key", roster.server->signing_key}};
  const Ordered object = {{"federation", roster.federation}, {"authority", roster.authority}, {"server", server}, {"sites", sites}};
  return object.dump(2, ' ', false, Ordered::error_handler_t::replace) + "\n";
}

StatusOr<Roster> ParseRoster(std::string_view text) {
  ASSIGN_OR_RETURN(const Json object, ParseJson(text, {.kind = ErrorKind::kConfig, .max_depth = 4}));
  RETURN_IF_ERROR(CheckMembers(object, {"federation", "authority", "server", "sites"}, "the roster"));
  Roster roster;
  ASSIGN_OR_RETURN(roster.federation, TextMember(object, "federation", "the roster"));
  ASSIGN_OR_RETURN(roster.authority, TextMember(object, "authority", "the roster"));
  if (const Json& server = object["server"]; !server.is_null()) {
    RETURN_IF_ERROR(CheckMembers(server, {"fingerprint", "signing_key"}, "the server"));
    ASSIGN_OR_RETURN(roster.server, KeysMembers(server, "the server"));
  }
  const Json& sites = object["sites"];
  if (!sites.is_array()) return ConfigError(absl::StrCat("\"sites\" is ", sites.type_name(), "; expected a list"));
  for (const Json& entry : sites) {
    ASSIGN_OR_RETURN(RosterSite site, SiteFromJson(entry, absl::StrCat("entry ", roster.sites.size(), " of \"sites\"")));
    roster.sites.push_back(std::move(site));
  }
  RETURN_IF_ERROR(CheckRoster(roster));
  return roster;
}

StatusOr<Roster> LoadRoster(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kConfig, kMostBytes));
  StatusOr<Roster> roster = ParseRoster(text);
  if (!roster.ok()) return Annotate(roster.status(), path.string());
  return roster;
}

Status SaveRoster(const Roster& roster, const std::filesystem::path& path) {
  RETURN_IF_ERROR(CheckRoster(roster));
  return WriteFileAtomic(path, RosterText(roster));
}

std::optional<size_t> FindSiteByFingerprint(const Roster& roster, std::string_view fingerprint) {
  const auto found = std::find_if(roster.sites.begin(), roster.sites.end(),
                                  [fingerprint](const RosterSite& site) { return site.keys.fingerprint == fingerprint; });
  if (found == roster.sites.end()) return std::nullopt;
  return static_cast<size_t>(found - roster.sites.begin());
}

std::optional<size_t> FindSiteByName(const Roster& roster, std::string_view name) {
  const auto found =
      std::find_if(roster.sites.begin(), roster.sites.end(), [name](const RosterSite& site) { return site.name == name; });
  if (found == roster.sites.end()) return std::nullopt;
  return static_cast<size_t>(found - roster.sites.begin());
}

std::string RosterHash(const Roster& roster) {
  std::string lines =
      absl::StrCat("fedalt-roster-1\nfederation ", roster.federation, "\nauthority ", roster.authority, "\nserver ");
  absl::StrAppend(&lines, roster.server ? absl::StrCat(roster.server->fingerprint, " ", roster.server->signing_key) : "-", "\n");
  for (const RosterSite& site : roster.sites) {
    absl::StrAppend(&lines, "site ", site.name, " ", site.keys.fingerprint, " ", site.keys.signing_key,
                    site.revoked ? " revoked\n" : " active\n");
  }
  return HexOf(Sha256(lines));
}

}  // namespace fedalt
