#include "app/compare_variants.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <map>
#include <set>

#include "app/config.h"
#include "app/config_keys.h"
#include "app/idle_settings.h"
#include "base/hash.h"
#include "base/log.h"
#include "fed/method_names.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kControl[] = "local-2r";
constexpr size_t kShown = 80;  // characters of an argument in a message

/// `text` cut at every `separator` that is not inside quotes, brackets or braces.
std::vector<std::string> SplitOutside(const std::string& text, char separator) {
  std::vector<std::string> pieces(1);
  int depth = 0;
  char quote = 0;
  for (char c : text) {
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == separator && depth <= 0) {
      pieces.emplace_back();
      continue;
    }
    pieces.back() += c;
  }
  for (std::string& piece : pieces) piece = std::string(absl::StripAsciiWhitespace(piece));
  return pieces;
}

std::vector<std::string> Words() {
  std::vector<std::string> words = MethodNames();
  words.insert(std::find(words.begin(), words.end(), "local") + 1, kControl);
  return words;
}

/// Keys that have to be the same in all variants: what is compared is scored on the same examples in the same way.
Status CheckMayDiffer(const std::string& key, const std::string& argument) {
  static const std::vector<std::string> kSame = {"model",        "sites",         "hashes",           "validation",
                                                 "eval.metrics", "eval.generate", "adapter.init_from"};
  const std::string what = absl::StrCat("\"", argument.substr(0, kShown), "\": ");
  if (key == "seed")
    return UsageError(absl::StrCat(what, "seed is not set per variant; expected --seeds N, which begins with seed"));
  if (key == "method") return UsageError(absl::StrCat(what, "method is not set per variant; expected it as a word of --methods"));
  const bool data = key == "data" || (key.starts_with("data.") && key != "data.template");
  if (data || key == "eval" || key == "adapter" || std::find(kSame.begin(), kSame.end(), key) != kSame.end())
    return UsageError(absl::StrCat(what, key,
                                   " has to be the same in all variants; give it as key=value behind the configuration, ",
                                   "or name single keys such as train.lr"));
  return absl::OkStatus();
}

StatusOr<std::pair<std::string, std::string>> ParseSetting(const std::string& text, const std::string& argument) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return UsageError(absl::StrCat("\"", argument.substr(0, kShown), "\": \"", text.substr(0, kShown),
                                   "\" is not a setting; expected key=value, such as train.lr=1e-3"));
  std::pair<std::string, std::string> setting = {text.substr(0, equals), text.substr(equals + 1)};
  RETURN_IF_ERROR(CheckMayDiffer(setting.first, argument));
  return setting;
}

StatusOr<VariantPlan> ParseWord(const std::string& text) {
  std::vector<std::string> pieces = SplitOutside(text, ':');
  VariantPlan plan;
  plan.word = pieces.front();
  const std::vector<std::string> words = Words();
  if (std::find(words.begin(), words.end(), plan.word) == words.end())
    return UsageError(absl::StrCat(
        "--methods: unknown method \"", plan.word.substr(0, kShown), "\"; expected some of ", absl::StrJoin(words, ", "),
        ", each with settings such as fedalt:preset=paper (a comma inside a ", "value stands in quotes or brackets)"));
  std::vector<std::string> settings;
  for (size_t i = 1; i < pieces.size(); ++i) {
    if (i > 1 && pieces[i].find('=') == std::string::npos)
      absl::StrAppend(&settings.back(), ":", pieces[i]);
    else
      settings.push_back(pieces[i]);
  }
  for (const std::string& piece : settings) {
    ASSIGN_OR_RETURN(auto setting, ParseSetting(piece, text));
    plan.settings.push_back(std::move(setting));
  }
  plan.own = plan.settings.size();
  return plan;
}

/// Every plan once with each value. base is not trained and stays as it is.
Status Combine(const std::string& set, std::vector<VariantPlan>& plans) {
  ASSIGN_OR_RETURN(const auto setting, ParseSetting(set, absl::StrCat("--set ", set)));
  std::vector<VariantPlan> combined;
  for (const VariantPlan& plan : plans) {
    if (plan.word == "base") {
      combined.push_back(plan);
      continue;
    }
    for (const std::string& value : SplitOutside(setting.second, ',')) {
      combined.push_back(plan);
      combined.back().settings.emplace_back(setting.first, value);
    }
  }
  plans = std::move(combined);
  return absl::OkStatus();
}

/// With those that a search chose.
Settings SettingsOf(const VariantPlan& plan) {
  Settings settings = plan.settings;
  if (plan.choice) settings.insert(settings.end(), plan.choice->settings.begin(), plan.choice->settings.end());
  return settings;
}

std::vector<std::string> OverridesOf(const VariantPlan& plan, const std::vector<std::string>& overrides) {
  std::vector<std::string> all = overrides;
  all.push_back(absl::StrCat("method=", plan.word == kControl ? "local" : plan.word));
  for (const auto& [key, value] : SettingsOf(plan)) all.push_back(absl::StrCat(key, "=", value));
  return all;
}

/// A folder's name for a variant's: what a path cannot hold well becomes "_", and long ones end in a hash.
std::string FolderOf(const std::string& name, std::set<std::string>& taken) {
  constexpr size_t kLongest = 80, kHashDigits = 8;
  std::string folder;
  for (char c : name) folder += absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '=' ? c : '_';
  if (folder.size() > kLongest || taken.count(folder) > 0)
    folder = absl::StrCat(folder.substr(0, kLongest), "-", HexOf(Sha256(name)).substr(0, kHashDigits));
  taken.insert(folder);
  return folder;
}

StatusOr<RunConfig> ConfigOf(const fs::path& file, const VariantPlan& plan, const std::vector<std::string>& overrides,
                             Variant& variant, std::vector<IdleSetting>& idle) {
  std::vector<std::string> all = OverridesOf(plan, overrides);
  ASSIGN_OR_RETURN(ParsedConfig parsed, LoadConfig(file, all));
  idle = FindIdleSettings(parsed, ConfigPlace::kOneMachine);
  variant.overrides = SettingsOf(plan);
  if (plan.word == kControl) {
    if (!parsed.config.initial_adapter.empty())
      return ConfigError("local-2r has twice the rank, so it cannot start from adapter.init_from; leave one of the two out");
    const AdapterConfig& adapter = parsed.config.federation.adapter;
    variant.overrides.emplace_back("adapter.r", absl::StrCat(2 * adapter.r));
    variant.overrides.emplace_back("adapter.lora_alpha", absl::StrFormat("%.17g", 2.0 * adapter.lora_alpha));
    for (size_t i = variant.overrides.size() - 2; i < variant.overrides.size(); ++i)
      all.push_back(absl::StrCat(variant.overrides[i].first, "=", variant.overrides[i].second));
    ASSIGN_OR_RETURN(parsed, LoadConfig(file, all));
  }
  return std::move(parsed.config);
}

/// `idle`: what is given and has no effect in it.
StatusOr<Variant> MakeVariant(const fs::path& file, const VariantPlan& plan, const std::vector<std::string>& overrides,
                              std::vector<IdleSetting>& idle) {
  Variant variant;
  variant.name = NameOf(plan);
  variant.word = WordOf(plan);
  variant.named = !plan.added;
  variant.searched.assign(plan.settings.begin() + static_cast<std::ptrdiff_t>(plan.own), plan.settings.end());
  variant.choice = plan.choice;
  auto config = ConfigOf(file, plan, overrides, variant, idle);
  if (!config.ok()) return Annotate(config.status(), variant.name);
  const FederationOptions& federation = config->federation;
  variant.method = federation.method.name;
  variant.preset = federation.method.preset;
  variant.depends_on_seed = variant.method != "base";
  variant.freeze_a = federation.adapter.freeze_a;
  variant.trains_mixer = federation.method.mixer_start_round <= federation.rounds;
  variant.examples_per_step = federation.train.batch_size * federation.train.accumulate;
  variant.config = RunConfigToYaml(*config, {});
  return variant;
}

/// What is given for all variants is told if it has an effect in none of those that were asked for; what is given for one, if it
/// has none there.
class IdleInComparison {
 public:
  void Add(const VariantPlan& plan, const std::vector<IdleSetting>& idle) {
    if (plan.added) return;
    ++variants_;
    for (const IdleSetting& setting : idle) {
      const bool own =
          std::any_of(plan.settings.begin(), plan.settings.end(), [&](const auto& s) { return s.first == setting.key; });
      if (own) LogWarning(absl::StrCat(NameOf(plan), ": ", setting.key, " has no effect: ", setting.why));
      if (!own) ++times_[setting.key];
    }
  }
  void Warn() const {
    for (const auto& [key, times] : times_)
      if (times == variants_) LogWarning(absl::StrCat(key, " has no effect in any of the variants"));
  }

 private:
  size_t variants_ = 0;
  std::map<std::string, size_t> times_;
};

Status CheckOverrides(const std::vector<std::string>& overrides) {
  for (const std::string& text : overrides) {
    if (text.starts_with("method=")) return CheckMayDiffer("method", text);
  }
  return absl::OkStatus();
}

/// In a resolved configuration every key is given, and keys that are given win over a preset.
Status CheckPreset(const VariantPlan& plan, const ParsedConfig& parsed, const fs::path& file) {
  const bool has_preset =
      std::any_of(plan.settings.begin(), plan.settings.end(), [](const auto& s) { return s.first == "preset"; });
  if (!has_preset || parsed.hashes.empty()) return absl::OkStatus();
  return UsageError(
      absl::StrCat("\"", NameOf(plan), "\": ", file.string(),
                   " is the resolved configuration of a run, which gives every key, so a preset would change nothing; ",
                   "give the configuration that the run was made from"));
}

Status DescribeConfig(const RunConfig& config, const fs::path& file, int64_t seeds, ComparisonSpec& spec) {
  spec.config = file.string();
  spec.metric = config.metrics.front();
  for (const SiteFiles& site : config.sites) spec.sites.push_back(site.name);
  for (int64_t i = 0; i < seeds; ++i) spec.seeds.push_back(config.federation.seed + static_cast<uint64_t>(i));
  if (!IsLoss(spec.metric) && !config.federation.eval.options.generate_answers)
    return ConfigError(
        absl::StrCat(file.string(), ": eval.metrics begins with ", spec.metric,
                     ", but eval.generate is false, so there are no answers to score; expected eval.metrics=[loss]"));
  return absl::OkStatus();
}

std::string TextOf(const VariantPlan& plan, size_t settings) {
  std::string text = plan.word;
  for (size_t i = 0; i < settings; ++i) absl::StrAppend(&text, " ", plan.settings[i].first, "=", plan.settings[i].second);
  return text;
}

}  // namespace

std::string WordOf(const VariantPlan& plan) {
  return TextOf(plan, plan.own);
}

std::string NameOf(const VariantPlan& plan) {
  return TextOf(plan, plan.settings.size());
}

StatusOr<std::vector<VariantPlan>> PlanVariants(const std::string& methods, const std::vector<std::string>& sets,
                                                bool with_controls) {
  std::vector<VariantPlan> plans;
  for (const std::string& word : SplitOutside(methods, ',')) {
    ASSIGN_OR_RETURN(VariantPlan plan, ParseWord(word));
    plans.push_back(std::move(plan));
  }
  for (const std::string& set : sets) RETURN_IF_ERROR(Combine(set, plans));
  if (!with_controls) return plans;
  const auto named = [&plans](const std::string& word) {
    return std::any_of(plans.begin(), plans.end(), [&](const VariantPlan& plan) { return plan.word == word; });
  };
  if (!named("base")) plans.insert(plans.begin(), {"base", {}, true, 0, std::nullopt});
  for (const char* control : {kControl, "pooled"})
    if (!named(control)) plans.push_back({control, {}, true, 0, std::nullopt});
  return plans;
}

Status ChooseReference(const std::string& reference, ComparisonSpec& spec) {
  const auto choose = [&spec](const auto& fits) {
    for (const Variant& variant : spec.variants) {
      if (!fits(variant)) continue;
      spec.reference = variant.name;
      return true;
    }
    return false;
  };
  if (!reference.empty()) {
    if (choose([&](const Variant& variant) { return variant.name == reference; })) return absl::OkStatus();
    return UsageError(absl::StrCat("--reference: \"", reference.substr(0, kShown), "\" is not compared; expected one of ",
                                   absl::StrJoin(spec.variants, ", ", [](std::string* out, const Variant& variant) {
                                     absl::StrAppend(out, "\"", variant.name, "\"");
                                   })));
  }
  if (choose([](const Variant& variant) { return variant.name == "local"; })) return absl::OkStatus();
  if (choose([](const Variant& variant) { return variant.method == "local" && !variant.name.starts_with(kControl); }))
    return absl::OkStatus();
  if (choose([](const Variant& variant) { return variant.method != "base"; })) return absl::OkStatus();
  (void)choose([](const Variant&) { return true; });
  return absl::OkStatus();
}

StatusOr<ComparisonSpec> MakeComparisonSpec(const fs::path& config, const std::vector<std::string>& overrides,
                                            const std::vector<VariantPlan>& plans, int64_t seeds, const std::string& reference) {
  RETURN_IF_ERROR(CheckOverrides(overrides));
  ASSIGN_OR_RETURN(const ParsedConfig parsed, LoadConfig(config, overrides));
  ComparisonSpec spec;
  RETURN_IF_ERROR(DescribeConfig(parsed.config, config, seeds, spec));
  std::set<std::string> names, folders;
  IdleInComparison idle_settings;
  for (const VariantPlan& plan : plans) {
    if (plan.added && plan.word == kControl && !parsed.config.initial_adapter.empty()) {
      LogInfo("local-2r is left out: with twice the rank it cannot start from adapter.init_from");
      continue;
    }
    RETURN_IF_ERROR(CheckPreset(plan, parsed, config));
    std::vector<IdleSetting> idle;
    ASSIGN_OR_RETURN(Variant variant, MakeVariant(config, plan, overrides, idle));
    idle_settings.Add(plan, idle);
    if (!names.insert(variant.name).second)
      return UsageError(absl::StrCat("\"", variant.name, "\" would be compared twice; expected every variant once"));
    variant.folder = FolderOf(variant.name, folders);
    spec.variants.push_back(std::move(variant));
  }
  idle_settings.Warn();
  RETURN_IF_ERROR(ChooseReference(reference, spec));
  return spec;
}

StatusOr<PreparedRun> PrepareComparisonRun(const ComparisonSpec& spec, const Variant& variant, uint64_t seed) {
  ConfigSource source;
  source.name = absl::StrCat("the configuration of ", variant.name);
  ASSIGN_OR_RETURN(const ParsedConfig parsed, ParseConfig(variant.config, {absl::StrCat("seed=", seed)}, source));
  return PreparedRun{parsed.config, RunConfigToYaml(parsed.config, spec.inputs)};
}

}  // namespace fedalt
