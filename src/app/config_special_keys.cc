#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <optional>
#include <set>

#include "app/config_fields.h"
#include "text/prompt_template.h"

namespace fedalt {
namespace {

// Distinct, non-empty texts of a list (or one scalar); nullopt if it is anything else.
std::optional<std::vector<std::string>> TextList(const YamlNode& node) {
  std::vector<std::string> texts;
  if (node.kind == YamlNode::Kind::kScalar) texts.push_back(node.text);
  for (const YamlNode& item : node.items) {
    if (item.kind != YamlNode::Kind::kScalar) return std::nullopt;
    texts.push_back(item.text);
  }
  const std::set<std::string> distinct(texts.begin(), texts.end());
  if (texts.empty() || distinct.size() != texts.size() || distinct.count("") > 0) return std::nullopt;
  return texts;
}

std::string WriteTextList(const std::vector<std::string>& texts) {
  return absl::StrCat(
      "[", absl::StrJoin(texts, ", ", [](std::string* out, const std::string& text) { out->append(YamlQuote(text)); }), "]");
}

// "18x8,14,2": 18 rounds of 8 steps, one of 14, one of 2.
bool ReadStepsText(const std::string& text, std::vector<int64_t>& steps) {
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  for (const std::string& part : parts) {
    std::string_view count_text = part;
    while (count_text.starts_with(' ')) count_text.remove_prefix(1);
    while (count_text.ends_with(' ')) count_text.remove_suffix(1);
    int64_t times = 1, count = 0;
    if (const size_t x = count_text.find('x'); x != std::string_view::npos) {
      if (!FromChars(count_text.substr(0, x), times)) return false;
      count_text.remove_prefix(x + 1);
    }
    if (!FromChars(count_text, count) || count < 1 || count > kMaxSteps) return false;
    if (times < 1 || times > kMaxRounds || static_cast<int64_t>(steps.size()) + times > kMaxRounds) return false;
    steps.insert(steps.end(), static_cast<size_t>(times), count);
  }
  return true;
}

std::string WriteSteps(const std::vector<int64_t>& steps) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < steps.size();) {
    size_t end = i;
    while (end < steps.size() && steps[end] == steps[i]) ++end;
    parts.push_back(end - i == 1 ? absl::StrCat(steps[i]) : absl::StrCat(end - i, "x", steps[i]));
    i = end;
  }
  return absl::StrCat("\"", absl::StrJoin(parts, ","), parts.size() == 1 ? "," : "", "\"");
}

}  // namespace

// What is wrong with the text itself is said by PromptTemplate::Named, which ParseConfig asks.
ConfigKey TemplateKey() {
  return {"data.template",
          absl::StrCat("one of ", absl::StrJoin(PromptTemplate::Names(), ", "), ", or a text in quotes with {instruction}"),
          [](const YamlNode& node, RunConfig& config) {
            if (node.kind != YamlNode::Kind::kScalar || node.text.empty()) return false;
            config.prompt_template = node.text;
            return true;
          },
          [](const RunConfig& config) { return YamlQuote(config.prompt_template); }};
}

ConfigKey FieldsKey() {
  return {"data.fields", kExpectedFieldNames,
          [](const YamlNode& node, RunConfig& config) { return ReadFieldNames(node, config.fields); },
          [](const RunConfig& config) { return config.fields == FieldNames() ? std::string() : WriteFieldNames(config.fields); }};
}

ConfigKey TargetModulesKey() {
  constexpr size_t kMaxTargets = 64;
  return {"adapter.target_modules", "a list of distinct names of linear layers, such as [q_proj, v_proj], or all-linear",
          [](const YamlNode& node, RunConfig& config) {
            const auto texts = TextList(node);
            if (!texts || texts->size() > kMaxTargets) return false;
            config.federation.adapter.target_modules = *texts;
            return true;
          },
          [](const RunConfig& config) { return WriteTextList(config.federation.adapter.target_modules); }};
}

// The path is looked up by ParseConfig, which knows the folder that it is relative to.
ConfigKey InitFromKey() {
  return {"adapter.init_from", "a PEFT directory, which may hold {site}",
          [](const YamlNode& node, RunConfig& config) {
            if (node.kind != YamlNode::Kind::kScalar || node.text.empty()) return false;
            config.initial_adapter = node.text;
            return true;
          },
          [](const RunConfig& config) {
            return config.initial_adapter.empty() ? std::string() : YamlQuote(config.initial_adapter.string());
          }};
}

ConfigKey MetricsKey() {
  static const std::vector<std::string> known = {"loss", "rouge1", "rouge2", "rougeL", "exact_match"};
  return {"eval.metrics", absl::StrCat("a list of distinct names among ", absl::StrJoin(known, ", ")),
          [](const YamlNode& node, RunConfig& config) {
            const auto texts = TextList(node);
            if (!texts) return false;
            for (const std::string& text : *texts) {
              if (std::find(known.begin(), known.end(), text) == known.end()) return false;
            }
            config.metrics = *texts;
            return true;
          },
          [](const RunConfig& config) { return WriteTextList(config.metrics); }};
}

ConfigKey MixerKey() {
  return {"mixer", "token, layer, none, merged or fixed:P with P in [0, 1] (the individual adapter's weight), such as fixed:0.5",
          [](const YamlNode& node, RunConfig& config) {
            if (node.kind != YamlNode::Kind::kScalar) return false;
            AdapterConfig& adapter = config.federation.adapter;
            constexpr std::string_view kFixed = "fixed:";
            if (node.text == "token") {
              adapter.mixer = MixerKind::kToken;
            } else if (node.text == "layer") {
              adapter.mixer = MixerKind::kLayer;
            } else if (node.text == "none") {
              adapter.mixer = MixerKind::kNone;
            } else if (node.text == "merged") {
              adapter.mixer = MixerKind::kMerged;
            } else {
              double p = 0.0;
              if (!node.text.starts_with(kFixed) || !FromChars(std::string_view(node.text).substr(kFixed.size()), p)) return false;
              if (!(p >= 0.0 && p <= 1.0)) return false;
              adapter.mixer = MixerKind::kFixed;
              adapter.fixed_p = p;
            }
            return true;
          },
          [](const RunConfig& config) -> std::string {
            switch (config.federation.adapter.mixer) {
              case MixerKind::kToken:
                return "token";
              case MixerKind::kLayer:
                return "layer";
              case MixerKind::kNone:
                return "none";
              case MixerKind::kMerged:
                return "merged";
              case MixerKind::kFixed:
                return YamlQuote(absl::StrCat("fixed:", NumberText(config.federation.adapter.fixed_p)));
            }
            return "unknown";
          }};
}

// An integer is a count, a number with a decimal point (or an exponent) a fraction: 1 is one site, 1.0 is all of them.
ConfigKey ParticipationKey() {
  return {"participation", "a count of sites (an integer of at least 1) or a fraction in (0, 1] written with a decimal point",
          [](const YamlNode& node, RunConfig& config) {
            ParticipationOptions& participation = config.federation.participation;
            int64_t count = 0;
            if (ReadInteger(node, count)) {
              if (count < 1) return false;
              participation = {1.0, count};
              return true;
            }
            double fraction = 0.0;
            if (!ReadNumber(node, fraction) || !(fraction > 0.0 && fraction <= 1.0)) return false;
            participation = {fraction, 0};
            return true;
          },
          [](const RunConfig& config) {
            const ParticipationOptions& participation = config.federation.participation;
            if (participation.count > 0) return absl::StrCat(participation.count);
            std::string text = NumberText(participation.fraction);
            if (text.find_first_of(".e") == std::string::npos) text += ".0";
            return text;
          }};
}

// Of a site whose federation is elsewhere.
ConfigKey AllSitesKey() {
  return {"all_sites", "a list of the names of all sites of the federation, such as [north, south]",
          [](const YamlNode& node, RunConfig& config) {
            const auto texts = TextList(node);
            if (texts) config.all_sites = *texts;
            return texts.has_value();
          },
          [](const RunConfig& config) { return config.all_sites.empty() ? std::string() : WriteTextList(config.all_sites); }};
}

// One integer holds for every round. A list (also of one) gives each round its own steps, and so the number of rounds.
ConfigKey StepsKey() {
  return {
      "train.steps",
      "optimizer steps per round: an integer (0: local_epochs counts), a list with one per round, or a text such as \"18x8,14,2\"",
      [](const YamlNode& node, RunConfig& config) {
        FederationOptions& federation = config.federation;
        std::vector<int64_t> steps;
        if (int64_t value = 0; ReadInteger(node, value)) {
          if (value < 0 || value > kMaxSteps) return false;
          federation.train.steps = value;
          federation.round_steps.clear();
          return true;
        }
        if (node.kind == YamlNode::Kind::kScalar) {
          std::string text = node.text;
          if (text.ends_with(',')) text.pop_back();
          if (!ReadStepsText(text, steps)) return false;
        } else if (node.kind == YamlNode::Kind::kList && !node.items.empty()) {
          for (const YamlNode& item : node.items) {
            if (item.kind != YamlNode::Kind::kScalar || !ReadStepsText(item.text, steps)) return false;
          }
        } else {
          return false;
        }
        federation.train.steps = 0;
        federation.round_steps = std::move(steps);
        federation.rounds = static_cast<int64_t>(federation.round_steps.size());
        return true;
      },
      [](const RunConfig& config) {
        const FederationOptions& federation = config.federation;
        return federation.round_steps.empty() ? absl::StrCat(federation.train.steps) : WriteSteps(federation.round_steps);
      }};
}

ConfigKey BetasKey() {
  return {"train.betas", "two numbers in [0, 1), such as [0.9, 0.999]",
          [](const YamlNode& node, RunConfig& config) {
            double betas[2] = {};
            if (node.kind != YamlNode::Kind::kList || node.items.size() != 2) return false;
            for (size_t i = 0; i < 2; ++i) {
              if (!ReadNumber(node.items[i], betas[i]) || !(betas[i] >= 0.0 && betas[i] < 1.0)) return false;
            }
            config.federation.train.beta1 = betas[0];
            config.federation.train.beta2 = betas[1];
            return true;
          },
          [](const RunConfig& config) {
            return absl::StrCat("[", NumberText(config.federation.train.beta1), ", ", NumberText(config.federation.train.beta2),
                                "]");
          }};
}

ConfigKey MaxLengthKey() {
  constexpr int64_t kLow = 8, kHigh = 1'000'000;
  return {"train.max_length", absl::StrCat("an integer from ", kLow, " to ", kHigh),
          [](const YamlNode& node, RunConfig& config) {
            int64_t value = 0;
            if (!ReadInteger(node, value) || value < kLow || value > kHigh) return false;
            config.max_length = config.federation.eval.options.max_length = static_cast<int32_t>(value);
            return true;
          },
          [](const RunConfig& config) { return absl::StrCat(config.max_length); }};
}

ConfigKey TooLongKey() {
  const auto write = [](const RunConfig& config) -> std::string {
    return config.too_long == TooLong::kCut ? "cut" : config.too_long == TooLong::kSkip ? "skip" : "refuse";
  };
  return {"train.too_long", "one of cut, skip, refuse",
          [write](const YamlNode& node, RunConfig& config) {
            for (const TooLong choice : {TooLong::kCut, TooLong::kSkip, TooLong::kRefuse}) {
              RunConfig chosen;
              chosen.too_long = choice;
              if (node.kind != YamlNode::Kind::kScalar || node.text != write(chosen)) continue;
              config.too_long = config.federation.eval.options.too_long = choice;
              return true;
            }
            return false;
          },
          write};
}

ConfigKey EvalBatchSizeKey() {
  constexpr int64_t kHigh = 4096;
  return {"eval.batch_size", absl::StrCat("an integer from 1 to ", kHigh),
          [](const YamlNode& node, RunConfig& config) {
            int64_t value = 0;
            if (!ReadInteger(node, value) || value < 1 || value > kHigh) return false;
            EvalOptions& eval = config.federation.eval.options;
            eval.generate.batch_size = eval.loss_batch_size = value;
            return true;
          },
          [](const RunConfig& config) { return absl::StrCat(config.federation.eval.options.generate.batch_size); }};
}

ConfigKey SeedKey() {
  return {"seed", "an integer from 0 to 18446744073709551615",
          [](const YamlNode& node, RunConfig& config) { return ReadSeed(node, config.federation.seed); },
          [](const RunConfig& config) { return absl::StrCat(config.federation.seed); }};
}

ConfigKey GuardKey() {
  constexpr double kHigh = 100.0;
  const auto guard = [](RunConfig& config) -> double& { return config.federation.method.rest_of_world.guard; };
  return {"rest_of_world.guard", absl::StrCat("off or a number from 0 to ", kHigh),
          [guard](const YamlNode& node, RunConfig& config) {
            double value = -1.0;
            if (!IsWord(node, "off") && (!ReadNumber(node, value) || !(value >= 0.0 && value <= kHigh))) return false;
            guard(config) = value;
            return true;
          },
          [](const RunConfig& config) {
            const double value = config.federation.method.rest_of_world.guard;
            return value < 0.0 ? std::string("off") : NumberText(value);
          }};
}

ConfigKey MaxNormKey() {
  constexpr double kHigh = 1e6;
  return {"contribution.max_norm", absl::StrCat("off or a number from 1 to ", kHigh),
          [](const YamlNode& node, RunConfig& config) {
            double value = 0.0;
            if (node.kind != YamlNode::Kind::kScalar) return false;
            if (node.text != "off" && (!FromChars(node.text, value) || !(value >= 1.0 && value <= kHigh))) return false;
            config.federation.max_norm = value;
            return true;
          },
          [](const RunConfig& config) {
            const double value = config.federation.max_norm;
            return value > 0.0 ? NumberText(value) : std::string();
          }};
}

ConfigKey ThreadsKey() {
  constexpr int64_t kHigh = 4096;
  return {"threads", absl::StrCat("auto or an integer from 1 to ", kHigh),
          [](const YamlNode& node, RunConfig& config) {
            int64_t value = 0;
            if (node.kind == YamlNode::Kind::kScalar && node.text == "auto") {
              config.threads = 0;
              return true;
            }
            if (!ReadInteger(node, value) || value < 1 || value > kHigh) return false;
            config.threads = value;
            return true;
          },
          [](const RunConfig& config) { return config.threads == 0 ? std::string("auto") : absl::StrCat(config.threads); }};
}

ConfigKey SitesAtOnceKey() {
  constexpr int64_t kHigh = 4096;
  return {"sites_at_once", absl::StrCat("auto or an integer from 1 to ", kHigh),
          [](const YamlNode& node, RunConfig& config) {
            int64_t value = 0;
            if (node.kind == YamlNode::Kind::kScalar && node.text == "auto") {
              config.sites_at_once_auto = true;
              config.federation.sites_at_once = 1;
              return true;
            }
            if (!ReadInteger(node, value) || value < 1 || value > kHigh) return false;
            config.sites_at_once_auto = false;
            config.federation.sites_at_once = value;
            return true;
          },
          [](const RunConfig& config) {
            return config.sites_at_once_auto ? std::string("auto") : absl::StrCat(config.federation.sites_at_once);
          }};
}

ConfigKey KeepRoundsKey() {
  return {"keep.rounds", "\"last N\", \"last N and best\" (N of at least 1) or all",
          [](const YamlNode& node, RunConfig& config) {
            if (node.kind != YamlNode::Kind::kScalar) return false;
            if (node.text == "all") {
              config.keep = {kKeepAllRounds, true};
              return true;
            }
            const std::vector<std::string> words = absl::StrSplit(node.text, absl::ByAnyChar(" \t"), absl::SkipEmpty());
            int64_t last = 0;
            if (words.size() < 2 || words[0] != "last" || !FromChars(words[1], last) || last < 1 || last >= kKeepAllRounds)
              return false;
            const bool best = words.size() == 4 && words[2] == "and" && words[3] == "best";
            if (words.size() != 2 && !best) return false;
            config.keep = {last, best};
            return true;
          },
          [](const RunConfig& config) -> std::string {
            if (config.keep.last >= kKeepAllRounds) return "all";
            return absl::StrCat("last ", config.keep.last, config.keep.best ? " and best" : "");
          }};
}

}  // namespace fedalt
