#include "app/compare_choice.h"

#include <absl/strings/str_join.h>

#include <algorithm>

#include "base/log.h"

namespace fedalt {
namespace {

constexpr char kControl[] = "local-2r", kControlled[] = "local";

/// The word of the search that decides for a plan; empty if none does.
std::string DecidingWord(const Search& search, const VariantPlan& plan) {
  std::string word = WordOf(plan);
  if (search.Has(word)) return word;
  if (plan.word != kControl) return {};
  const std::string controlled = absl::StrCat(kControlled, word.substr(plan.word.size()));
  return search.Has(controlled) ? controlled : std::string();
}

std::string Quoted(const std::vector<std::string>& words) {
  return absl::StrJoin(words, ", ", [](std::string* out, const std::string& word) { absl::StrAppend(out, "\"", word, "\""); });
}

Status CheckNotSetTwice(const Search& search, const VariantPlan& plan) {
  for (size_t i = plan.own; i < plan.settings.size(); ++i)
    for (const auto& [key, value] : plan.choice->settings)
      if (key == plan.settings[i].first)
        return UsageError(absl::StrCat("--set ", key, ": ", search.source().directory, " has chosen ", key, "=", value, " for \"",
                                       WordOf(plan), "\" already; expected --set with other keys than those of the search"));
  return absl::OkStatus();
}

void LogChoice(const Search& search, const VariantPlan& plan) {
  const std::string name = NameOf(plan);
  if (!plan.choice) {
    LogInfo(absl::StrCat(name, " stays as configured: it is not in ", search.source().directory));
    return;
  }
  LogInfo(absl::StrFormat("%s takes the settings of \"%s\" in %s, validation loss %.4f", name, plan.choice->row,
                          search.source().directory, plan.choice->validation_loss));
}

}  // namespace

Status ChooseSettings(const Search& search, std::vector<VariantPlan>& plans) {
  std::vector<std::string> missing;
  for (VariantPlan& plan : plans) {
    if (plan.word == "base") continue;
    const std::string word = DecidingWord(search, plan);
    if (word.empty()) {
      const std::string own = WordOf(plan);
      if (!plan.added && std::find(missing.begin(), missing.end(), own) == missing.end()) missing.push_back(own);
      continue;
    }
    ASSIGN_OR_RETURN(plan.choice, search.Choose(word));
    RETURN_IF_ERROR(CheckNotSetTwice(search, plan));
  }
  if (!missing.empty())
    return UsageError(absl::StrCat("--chosen-by ", search.source().directory, ": was not made with ", Quoted(missing),
                                   "; expected some of ", Quoted(search.words()), ", written as there"));
  for (const VariantPlan& plan : plans)
    if (plan.word != "base") LogChoice(search, plan);
  return absl::OkStatus();
}

void TakeRecordedChoices(const ComparisonSpec& existing, std::vector<VariantPlan>& plans) {
  for (VariantPlan& plan : plans)
    for (const Variant& variant : existing.variants)
      if (variant.name == NameOf(plan)) plan.choice = variant.choice;
}

Status CheckSearchable(const ComparisonSpec& spec) {
  ASSIGN_OR_RETURN(const PreparedRun prepared, PrepareComparisonRun(spec, spec.variants.front(), spec.seeds.front()));
  if (prepared.config.validation > 0.0) return absl::OkStatus();
  for (const SiteFiles& site : prepared.config.sites) {
    if (site.validation.empty())
      return ConfigError(absl::StrCat(spec.config, ": ", site.name,
                                      " has no validation data, by which --search compares settings; expected validation, such as "
                                      "validation=0.1, or data.validation"));
  }
  return absl::OkStatus();
}

}  // namespace fedalt
