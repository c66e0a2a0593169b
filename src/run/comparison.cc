#include "run/comparison.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <nlohmann/json.hpp>
#include <system_error>

#include "base/file.h"
#include "base/hash.h"
#include "base/strict_json.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;  // of the file's layout

fs::path SpecPath(const fs::path& directory) {
  return directory / "comparison-spec.json";
}

Json SettingsToJson(const Settings& settings) {
  Json json = Json::array();
  for (const auto& [key, value] : settings) json.push_back({key, value});
  return json;
}

Settings SettingsFromJson(const nlohmann::json& json) {
  Settings settings;
  for (const auto& pair : json) settings.emplace_back(pair.at(0).get<std::string>(), pair.at(1).get<std::string>());
  return settings;
}

Json ChoiceToJson(const std::optional<SearchChoice>& choice) {
  if (!choice) return nullptr;
  return {{"row", choice->row}, {"settings", SettingsToJson(choice->settings)}, {"validation_loss", choice->validation_loss}};
}

Json SourceToJson(const std::optional<SearchSource>& source) {
  if (!source) return nullptr;
  return {{"directory", source->directory}, {"spec_sha256", source->spec_sha256}};
}

/// Whether `json` has something there; specs of older versions lack what concerns searches.
bool Has(const nlohmann::json& json, const char* name) {
  return json.contains(name) && !json.at(name).is_null();
}

Json VariantToJson(const Variant& variant) {
  return {{"name", variant.name},
          {"folder", variant.folder},
          {"method", variant.method},
          {"preset", variant.preset},
          {"overrides", SettingsToJson(variant.overrides)},
          {"depends_on_seed", variant.depends_on_seed},
          {"freeze_a", variant.freeze_a},
          {"trains_mixer", variant.trains_mixer},
          {"examples_per_step", variant.examples_per_step},
          {"config", variant.config},
          {"word", variant.word},
          {"named", variant.named},
          {"searched", SettingsToJson(variant.searched)},
          {"choice", ChoiceToJson(variant.choice)}};
}

Variant VariantFromJson(const nlohmann::json& json) {
  Variant variant;
  json.at("name").get_to(variant.name);
  json.at("folder").get_to(variant.folder);
  json.at("method").get_to(variant.method);
  json.at("preset").get_to(variant.preset);
  variant.overrides = SettingsFromJson(json.at("overrides"));
  json.at("depends_on_seed").get_to(variant.depends_on_seed);
  json.at("freeze_a").get_to(variant.freeze_a);
  json.at("trains_mixer").get_to(variant.trains_mixer);
  json.at("examples_per_step").get_to(variant.examples_per_step);
  json.at("config").get_to(variant.config);
  if (!Has(json, "word")) return variant;
  json.at("word").get_to(variant.word);
  json.at("named").get_to(variant.named);
  variant.searched = SettingsFromJson(json.at("searched"));
  if (Has(json, "choice")) {
    const nlohmann::json& choice = json.at("choice");
    variant.choice = SearchChoice{choice.at("row").get<std::string>(), SettingsFromJson(choice.at("settings")),
                                  choice.at("validation_loss").get<double>()};
  }
  return variant;
}

/// Throws nlohmann's exceptions where a field is absent or of another type.
ComparisonSpec SpecFromJson(const nlohmann::json& json) {
  ComparisonSpec spec;
  json.at("config").get_to(spec.config);
  json.at("metric").get_to(spec.metric);
  json.at("sites").get_to(spec.sites);
  json.at("seeds").get_to(spec.seeds);
  json.at("inputs").get_to(spec.inputs);
  for (const auto& variant : json.at("variants")) spec.variants.push_back(VariantFromJson(variant));
  json.at("reference").get_to(spec.reference);
  json.at("bootstrap").get_to(spec.resamples);
  if (Has(json, "chosen_by")) {
    const nlohmann::json& source = json.at("chosen_by");
    spec.chosen_by = SearchSource{source.at("directory").get<std::string>(), source.at("spec_sha256").get<std::string>()};
  }
  return spec;
}

/// SHA-256 of a spec without its digest, whatever the order of its members.
std::string DigestOf(const nlohmann::json& spec) {
  nlohmann::json counted = spec;
  counted.erase("sha256");
  return HexOf(Sha256(counted.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
}

std::string VariantNames(const ComparisonSpec& spec) {
  return absl::StrJoin(spec.variants, ", ",
                       [](std::string* out, const Variant& variant) { absl::StrAppend(out, "\"", variant.name, "\""); });
}

/// The lines of a resolved configuration, each with the group that it is in: "train: lr: 0.01".
std::vector<std::string> ConfigLines(const std::string& yaml) {
  std::vector<std::string> lines;
  std::string group;
  for (absl::string_view line : absl::StrSplit(yaml, '\n', absl::SkipEmpty())) {
    const bool nested = line.front() == ' ';
    if (!nested) group = std::string(line);
    lines.push_back(nested ? absl::StrCat(group, " ", absl::StripAsciiWhitespace(line)) : std::string(line));
  }
  return lines;
}

std::string ConfigDifference(const Variant& existing, const Variant& given) {
  const std::vector<std::string> a = ConfigLines(existing.config), b = ConfigLines(given.config);
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string in_a = i < a.size() ? a[i] : "nothing", in_b = i < b.size() ? b[i] : "nothing";
    if (in_a != in_b) return absl::StrCat("its ", existing.name, " has \"", in_a, "\", given is \"", in_b, "\"");
  }
  return {};
}

std::string SourceText(const ComparisonSpec& spec) {
  constexpr size_t kHashDigits = 12;
  if (!spec.chosen_by) return "no search";
  return absl::StrCat(spec.chosen_by->directory, " (spec ", spec.chosen_by->spec_sha256.substr(0, kHashDigits), "...)");
}

std::string SourceDifference(const ComparisonSpec& existing, const ComparisonSpec& given) {
  const auto hash = [](const ComparisonSpec& spec) { return spec.chosen_by ? spec.chosen_by->spec_sha256 : std::string(); };
  if (hash(existing) == hash(given)) return {};
  return absl::StrCat("its settings were chosen by ", SourceText(existing), ", given is ", SourceText(given));
}

}  // namespace

StatusOr<ComparisonSpec> ReadComparisonSpec(const fs::path& directory) {
  const fs::path path = SpecPath(directory);
  std::error_code error;
  if (!fs::is_regular_file(path, error))
    return UsageError(absl::StrCat(directory.string(), ": holds no comparison (it has no ", path.filename().string(),
                                   "); give the directory that --out named"));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kOutput));
  auto json = ParseJson(text, {.kind = ErrorKind::kOutput});
  if (!json.ok()) return Annotate(json.status(), path.string());
  try {
    if (Has(*json, "sha256") && json->at("sha256") != DigestOf(*json))
      return OutputError(absl::StrCat(path.string(),
                                      ": was changed since the comparison began, and what it says is no longer what its "
                                      "runs did; put the old file back, or start the comparison in another directory"));
    if (json->at("version") == kVersion) return SpecFromJson(*json);
  } catch (const nlohmann::json::exception& e) {
    return OutputError(absl::StrCat(path.string(), ": is damaged (", e.what(), "); start the comparison in another directory"));
  }
  return OutputError(absl::StrCat(path.string(), ": was written by another version of this program; expected version ", kVersion,
                                  "; start the comparison in another directory"));
}

Status WriteComparisonSpec(const fs::path& directory, const ComparisonSpec& spec) {
  Json variants = Json::array();
  for (const Variant& variant : spec.variants) variants.push_back(VariantToJson(variant));
  Json json = {{"version", kVersion},         {"config", spec.config}, {"metric", spec.metric},
               {"sites", spec.sites},         {"seeds", spec.seeds},   {"reference", spec.reference},
               {"bootstrap", spec.resamples}, {"inputs", spec.inputs}, {"chosen_by", SourceToJson(spec.chosen_by)},
               {"variants", variants}};
  json["sha256"] = DigestOf(nlohmann::json::parse(json.dump(-1, ' ', false, Json::error_handler_t::replace)));
  return WriteFileAtomic(SpecPath(directory), json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string DifferenceOf(const ComparisonSpec& existing, const ComparisonSpec& given) {
  if (existing.seeds != given.seeds)
    return absl::StrCat("its seeds are ", absl::StrJoin(existing.seeds, ", "), ", given are ", absl::StrJoin(given.seeds, ", "));
  if (VariantNames(existing) != VariantNames(given))
    return absl::StrCat("it compares ", VariantNames(existing), ", given are ", VariantNames(given));
  if (std::string difference = SourceDifference(existing, given); !difference.empty()) return difference;
  for (size_t v = 0; v < existing.variants.size(); ++v) {
    if (std::string difference = ConfigDifference(existing.variants[v], given.variants[v]); !difference.empty()) return difference;
  }
  return {};
}

std::vector<ComparisonRun> RunsOf(const ComparisonSpec& spec) {
  std::vector<ComparisonRun> runs;
  for (size_t s = 0; s < spec.seeds.size(); ++s)
    for (size_t v = 0; v < spec.variants.size(); ++v)
      if (s == 0 || spec.variants[v].depends_on_seed) runs.push_back({v, spec.seeds[s]});
  return runs;
}

fs::path RunPath(const ComparisonSpec& spec, const ComparisonRun& run) {
  return fs::path("runs") / spec.variants[run.variant].folder / absl::StrCat("seed-", run.seed);
}

fs::path FailurePath(const ComparisonSpec& spec, const ComparisonRun& run) {
  return RunPath(spec, run).string() + ".failed.json";
}

}  // namespace fedalt
