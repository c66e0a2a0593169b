#include "app/config.h"

#include <algorithm>
#include <set>
#include <system_error>

#include "app/config_fields.h"
#include "app/config_keys.h"
#include "app/config_paths.h"
#include "app/key_advice.h"
#include "app/presets.h"
#include "app/yaml_tree.h"
#include "base/file.h"
#include "base/site_name.h"
#include "text/prompt_template.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxSites = 100'000;
constexpr size_t kMaxConfigBytes = size_t{1} << 20;

Status WrongValue(const YamlNode& node, const std::string& name, const std::string& expected) {
  if (node.kind == YamlNode::Kind::kNull)
    return ConfigError(absl::StrCat(node.where, ": ", name, " has no value; expected ", expected));
  const bool leading_zero = node.kind == YamlNode::Kind::kScalar && node.text.size() > 1 && node.text[0] == '0' &&
                            node.text.find_first_not_of("0123456789") == std::string::npos;
  return ConfigError(absl::StrCat(node.where, ": ", name, " is ", node.Describe(), "; expected ", expected,
                                  leading_zero ? ", without a leading zero, which some readers take for octal" : ""));
}

/// An unknown key, or what in its map says more than its name: other tools have groups of their own. At most `left` are looked at.
std::pair<const YamlNode*, std::string> MostTelling(const YamlNode& node, const std::string& name, int& left) {
  for (const auto& [key, value] : node.entries) {
    if (--left < 0) break;
    auto inside = MostTelling(value, absl::StrCat(name, ".", key), left);
    if (FindKeyAdvice(inside.second, SettingsFile::kConfiguration, KnownKeyNames())) return inside;
  }
  return {&node, name};
}

Status UnknownKey(const YamlNode& node, const std::string& name) {
  constexpr size_t kShown = 80;
  int left = 100;
  const auto [place, key] = MostTelling(node, name, left);
  return ConfigError(absl::StrCat(place->where, ": unknown key \"", key.substr(0, kShown), "\"; ",
                                  KeyAdvice(key, SettingsFile::kConfiguration, KnownKeyNames())));
}

bool IsGroup(std::string_view name) {
  const std::vector<std::string>& names = KnownKeyNames();
  return std::any_of(names.begin(), names.end(), [&](const std::string& known) {
    return known.size() > name.size() && known.starts_with(name) && known[name.size()] == '.';
  });
}

bool IsKnown(std::string_view name) {
  const std::vector<std::string>& names = KnownKeyNames();
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The first key of a group.
std::string FirstOf(const std::string& group) {
  const std::vector<std::string>& names = KnownKeyNames();
  return *std::find_if(names.begin(), names.end(), [&](const std::string& known) { return known.starts_with(group + "."); });
}

// The node at a dotted name, or null.
const YamlNode* FindKey(const YamlNode& root, std::string_view name) {
  const YamlNode* node = &root;
  while (node != nullptr && !name.empty()) {
    const size_t dot = name.find('.');
    node = node->Find(name.substr(0, dot));
    name = dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1);
  }
  return node;
}

/// Dotted names of the keys of a map and of the groups in it.
void AddKeys(const YamlNode& map, const std::string& prefix, std::set<std::string>& keys);

void AddKey(const std::string& name, const YamlNode& node, std::set<std::string>& keys) {
  if (node.kind == YamlNode::Kind::kMap && IsGroup(name)) return AddKeys(node, name + ".", keys);
  if (node.kind != YamlNode::Kind::kNull) keys.insert(name);
}

void AddKeys(const YamlNode& map, const std::string& prefix, std::set<std::string>& keys) {
  for (const auto& [name, node] : map.entries) AddKey(prefix + name, node, keys);
}

/// Keys of `data` for which every site has a file of its own.
void NoteReplaced(const YamlNode& root, ParsedConfig& parsed) {
  const YamlNode* sites = root.Find("sites");
  if (sites == nullptr || sites->items.empty()) return;
  for (const char* key : {"train", "test", "validation"}) {
    const bool all =
        std::all_of(sites->items.begin(), sites->items.end(), [key](const YamlNode& site) { return site.Find(key) != nullptr; });
    if (const std::string name = absl::StrCat("data.", key); all && parsed.given.count(name) > 0) parsed.replaced.insert(name);
  }
}

Status CheckKeysAreKnown(const YamlNode& root) {
  for (const auto& [name, node] : root.entries) {
    if (IsKnown(name)) continue;
    if (!IsGroup(name)) return UnknownKey(node, name);
    if (node.kind == YamlNode::Kind::kNull) continue;  // a group whose keys are all commented out
    if (node.kind != YamlNode::Kind::kMap)
      return WrongValue(node, name, absl::StrCat("a map of keys, such as \"", FirstOf(name), "\""));
    for (const auto& [key, value] : node.entries) {
      if (const std::string full = absl::StrCat(name, ".", key); !IsKnown(full)) return UnknownKey(value, full);
    }
  }
  return absl::OkStatus();
}

Status ApplyOverride(YamlNode& root, const std::string& text) {
  constexpr size_t kShown = 80;
  const std::string where = absl::StrCat("override ", text.substr(0, kShown));
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return ConfigError(
        absl::StrCat("\"", text.substr(0, kShown), "\" is not an override; expected key=value, such as train.rounds=5"));
  }
  std::string_view name = std::string_view(text).substr(0, equals);
  ASSIGN_OR_RETURN(YamlNode value, ParseYaml(text.substr(equals + 1), where, /*number_lines=*/false));
  value.where = where;
  if (!IsKnown(name) && !IsGroup(name)) return UnknownKey(value, std::string(name));
  YamlNode* node = &root;
  while (true) {
    const size_t dot = name.find('.');
    if (node->kind != YamlNode::Kind::kMap) {
      node->kind = YamlNode::Kind::kMap;
      node->text.clear();
      node->items.clear();
      node->where = where;
    }
    const std::string_view key = name.substr(0, dot);
    YamlNode* child = node->Find(key);
    if (child == nullptr) child = &node->entries.emplace_back(std::string(key), YamlNode{}).second;
    if (dot == std::string_view::npos) {
      *child = std::move(value);
      return absl::OkStatus();
    }
    node = child;
    name = name.substr(dot + 1);
  }
}

Status ReadKey(const YamlNode& root, const ConfigKey& key, RunConfig& config) {
  const YamlNode* node = FindKey(root, key.name);
  if (node == nullptr || key.read(*node, config)) return absl::OkStatus();
  return WrongValue(*node, key.name, key.expected);
}

// A key that holds a path: empty if it is not given.
StatusOr<std::string> PathText(const YamlNode& root, const std::string& name, const std::string& expected) {
  const YamlNode* node = FindKey(root, name);
  if (node == nullptr) return std::string();
  if (node->kind != YamlNode::Kind::kScalar || node->text.empty()) return WrongValue(*node, name, expected);
  return node->text;
}

Status CheckSiteName(const YamlNode& place, const std::string& name, std::set<std::string>& taken) {
  if (const std::string fault = SiteNameFault(name); !fault.empty())
    return ConfigError(absl::StrCat(place.where, ": the name of a site ", fault));
  if (!taken.insert(name).second)
    return ConfigError(absl::StrCat(place.where, ": two sites are named \"", name, "\"; names must differ"));
  return absl::OkStatus();
}

Status ReadNamedSite(const YamlNode& node, SiteFiles& site) {
  static const std::vector<std::string> kKeys = {"name", "train", "test", "validation", "r", "fields"};
  if (node.kind != YamlNode::Kind::kMap)
    return WrongValue(node, "an entry of sites", "a map such as {name: osaka, train: FILE, test: FILE}");
  for (const auto& [key, value] : node.entries) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      return ConfigError(absl::StrCat(value.where, ": unknown key \"", key.substr(0, 80), "\" of a site; ",
                                      KeyAdvice(key, SettingsFile::kConfiguration, kKeys)));
    }
    if (key == "r") {
      if (!ReadInteger(value, site.r) || site.r < 1 || site.r > kMaxRank)
        return WrongValue(value, "the r of a site", absl::StrCat("an integer from 1 to ", kMaxRank));
      continue;
    }
    if (key == "fields") {
      if (!ReadFieldNames(value, site.fields)) return WrongValue(value, "the fields of a site", kExpectedFieldNames);
      continue;
    }
    if (value.kind != YamlNode::Kind::kScalar || value.text.empty())
      return WrongValue(value, absl::StrCat("the ", key, " of a site"), "a text");
    if (key == "name") site.name = value.text;
    if (key == "train") site.train = value.text;
    if (key == "test") site.test = value.text;
    if (key == "validation") site.validation = value.text;
  }
  return absl::OkStatus();
}

// Sites with their file names, {site} filled in, not yet looked up.
StatusOr<std::vector<SiteFiles>> ReadSites(const YamlNode& root) {
  ASSIGN_OR_RETURN(const std::string train, PathText(root, "data.train", "a file name"));
  ASSIGN_OR_RETURN(const std::string test, PathText(root, "data.test", "a file name"));
  ASSIGN_OR_RETURN(const std::string validation, PathText(root, "data.validation", "a file name"));
  FieldNames fields;
  if (const YamlNode* given = FindKey(root, "data.fields"); given != nullptr && !ReadFieldNames(*given, fields))
    return WrongValue(*given, "data.fields", kExpectedFieldNames);
  const std::string expected = "a number of sites from 1 to 100000, or a list such as [{name: osaka, train: FILE, test: FILE}]";
  const YamlNode* node = root.Find("sites");
  if (node == nullptr) return ConfigError(absl::StrCat(root.where, ": sites is missing; expected ", expected));
  int64_t count = static_cast<int64_t>(node->items.size());
  const bool named = node->kind == YamlNode::Kind::kList;
  if (!named && !ReadInteger(*node, count)) return WrongValue(*node, "sites", expected);
  if (count < 1 || count > kMaxSites) return WrongValue(*node, "sites", expected);

  std::vector<SiteFiles> sites(static_cast<size_t>(count));
  std::set<std::string> names;
  for (int64_t i = 0; i < count; ++i) {
    SiteFiles& site = sites[static_cast<size_t>(i)];
    site = {absl::StrCat("site-", i), train, test, validation, 0, fields};
    const YamlNode& place = named ? node->items[static_cast<size_t>(i)] : *node;
    if (named) RETURN_IF_ERROR(ReadNamedSite(place, site));
    RETURN_IF_ERROR(CheckSiteName(place, site.name, names));
    if (site.train.empty() || site.test.empty()) {
      return ConfigError(absl::StrCat(place.where, ": ", site.name, " has no ", site.train.empty() ? "train" : "test",
                                      " file; give data.", site.train.empty() ? "train" : "test",
                                      " with {site} in it, or name the file in sites"));
    }
    if (count > 1 && site.train == train && train.find("{site}") == std::string::npos) {
      return ConfigError(absl::StrCat(FindKey(root, "data.train")->where, ": data.train is \"", train.substr(0, 200), "\" for all ",
                                      count, " sites; expected {site} in it, which counts from 0"));
    }
    for (fs::path* path : {&site.train, &site.test, &site.validation}) *path = FillSite(path->string(), i);
  }
  return sites;
}

Status FindFiles(const ConfigSource& source, RunConfig& config) {
  for (size_t i = 0; i < config.sites.size(); ++i) {
    SiteFiles& site = config.sites[i];
    const std::pair<const char*, fs::path*> files[] = {
        {"train", &site.train}, {"test", &site.test}, {"validation", &site.validation}};
    for (const auto& [what, path] : files) {
      if (path->empty()) continue;
      ASSIGN_OR_RETURN(*path, FindInput(source.folder, path->string(), InputKind::kFile, absl::StrCat(what, " file of ", site.name),
                                        ErrorKind::kData));
    }
  }
  if (config.initial_adapter.empty() || !source.needs_model) return absl::OkStatus();
  const std::string pattern = config.initial_adapter.string();
  ASSIGN_OR_RETURN(config.initial_adapter, FindPattern(source.folder, pattern, config.sites.size()));
  return absl::OkStatus();
}

Status ReadHashes(const YamlNode& root, FileHashes& hashes) {
  const YamlNode* node = root.Find("hashes");
  if (node == nullptr || node->kind == YamlNode::Kind::kNull) return absl::OkStatus();
  if (node->kind != YamlNode::Kind::kMap) return WrongValue(*node, "hashes", "a map from files to SHA-256 values");
  for (const auto& [file, value] : node->entries) {
    constexpr size_t kHexDigits = 64;
    const bool valid = value.kind == YamlNode::Kind::kScalar && value.text.size() == kHexDigits &&
                       value.text.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!valid) return WrongValue(value, absl::StrCat("the hash of ", file.substr(0, 200)), "64 lower-case hexadecimal digits");
    hashes[file] = value.text;
  }
  return absl::OkStatus();
}

Status CheckTogether(const YamlNode& root, const RunConfig& config) {
  const FederationOptions& federation = config.federation;
  const int64_t sites = static_cast<int64_t>(config.sites.size());
  if (const YamlNode* rounds = FindKey(root, "train.rounds"); rounds != nullptr && !federation.round_steps.empty()) {
    const int64_t listed = static_cast<int64_t>(federation.round_steps.size());
    int64_t given = 0;
    if (ReadInteger(*rounds, given) && given != listed) {
      return ConfigError(absl::StrCat(rounds->where, ": train.rounds is ", given, ", but train.steps lists ", listed,
                                      " rounds; leave out train.rounds or make them agree"));
    }
  }
  if (federation.participation.count > sites) {
    return ConfigError(absl::StrCat(FindKey(root, "participation")->where, ": participation is ", federation.participation.count,
                                    " sites, but there are ", sites, "; expected at most ", sites));
  }
  if (const auto made = PromptTemplate::Named(config.prompt_template); !made.ok())
    return Annotate(made.status(), FindKey(root, "data.template")->where);
  const int64_t new_tokens = federation.eval.options.generate.max_new_tokens;
  if (federation.eval.options.generate_answers && new_tokens >= config.max_length) {
    return ConfigError(absl::StrCat(root.where, ": eval.max_new_tokens is ", new_tokens, " and train.max_length is ",
                                    config.max_length,
                                    "; expected fewer new tokens than the length, so that there is room for the prompt"));
  }
  const bool own_file =
      std::any_of(config.sites.begin(), config.sites.end(), [](const SiteFiles& site) { return !site.validation.empty(); });
  if (own_file && config.validation > 0.0) {
    return ConfigError(absl::StrCat(
        root.where, ": validation holds out a share of train, but validation files are given too; expected one of the two"));
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<ParsedConfig> ParseConfig(std::string_view yaml, const std::vector<std::string>& overrides, const ConfigSource& source) {
  ASSIGN_OR_RETURN(YamlNode root, ParseYaml(yaml, source.name));
  if (root.kind == YamlNode::Kind::kNull) root.kind = YamlNode::Kind::kMap;
  if (root.kind != YamlNode::Kind::kMap) return WrongValue(root, "the configuration", "a map of keys, such as \"model: PATH\"");
  root.where = source.name;
  ParsedConfig parsed;
  if (root.Find("hashes") == nullptr) AddKeys(root, "", parsed.given);
  for (const std::string& text : overrides) {
    RETURN_IF_ERROR(ApplyOverride(root, text));
    const std::string key = text.substr(0, text.find('='));
    if (const YamlNode* given = FindKey(root, key); given != nullptr && !source.own_overrides) AddKey(key, *given, parsed.given);
  }
  RETURN_IF_ERROR(CheckKeysAreKnown(root));

  RunConfig& config = parsed.config;
  config = DefaultRunConfig();
  ASSIGN_OR_RETURN(const std::string model, PathText(root, "model", "the path of a model directory"));
  if (model.empty() && source.needs_model)
    return ConfigError(absl::StrCat(root.where, ": model is missing; expected the path of a model directory"));
  if (source.check_files && !model.empty()) {
    auto found = FindInput(source.folder, model, InputKind::kDirectory, "model directory", ErrorKind::kModel);
    if (!found.ok() && source.needs_model) return std::move(found).status();
    config.model = found.ok() ? *std::move(found) : fs::path(model);
    config.federation.adapter.target_modules = PublishedTargetModules(config.model);
  }
  ASSIGN_OR_RETURN(config.sites, ReadSites(root));
  NoteReplaced(root, parsed);
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.name == "preset") RETURN_IF_ERROR(ReadKey(root, key, config));
  }
  ApplyPreset(config.federation.method.preset, static_cast<int64_t>(config.sites.size()), config);
  for (const ConfigKey& key : ConfigKeys()) RETURN_IF_ERROR(ReadKey(root, key, config));
  if (std::any_of(config.sites.begin(), config.sites.end(), [](const SiteFiles& site) { return site.r > 0; }))
    for (const SiteFiles& site : config.sites)
      config.federation.method.site_ranks.push_back(site.r > 0 ? site.r : config.federation.adapter.r);
  if (!source.check_files) config.model = model;
  RETURN_IF_ERROR(CheckTogether(root, config));
  RETURN_IF_ERROR(ReadHashes(root, parsed.hashes));
  if (source.check_files) RETURN_IF_ERROR(FindFiles(source, config));
  return parsed;
}

StatusOr<ParsedConfig> LoadConfig(const fs::path& file, const std::vector<std::string>& overrides, bool needs_model) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, ErrorKind::kConfig, kMaxConfigBytes));
  ConfigSource source;
  source.name = file.string();
  std::error_code error;
  source.folder = fs::absolute(file, error).parent_path();
  source.needs_model = needs_model;
  return ParseConfig(text, overrides, source);
}

}  // namespace fedalt
