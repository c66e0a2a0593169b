// From the command line of a comparison to its variants: which methods, with which settings, and the controls that every comparison
// shows.
//
//   --methods "local,fedalt:preset=recommended,fedalt:mixer=fixed:0.5:train.lr=1e-3"   words; settings of their own behind colons
//   --set train.lr=1e-3,3e-4                                                         every word once with each value
//
// Commas and colons inside quotes, brackets and braces belong to the value; a piece between colons without "=" belongs to the
// setting before it. The word local-2r is the method local with twice the rank, and twice lora_alpha, so that the LoRA's scale
// stays.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "run/comparison.h"

namespace fedalt {

/// One word of --methods with its settings and one combination of --set.
struct VariantPlan {
  std::string word;  ///< a method, or local-2r
  Settings settings;
  bool added = false;                  ///< a control that was not asked for
  size_t own = 0;                      ///< so many of the settings are the word's own; --set gave the others
  std::optional<SearchChoice> choice;  ///< its settings come behind `settings`
};

/// The word with its own settings, as a search is asked for it: "fedalt preset=paper".
std::string WordOf(const VariantPlan& plan);
/// The variant's name: the same with the settings of --set.
std::string NameOf(const VariantPlan& plan);

/// What the options ask for, in their order, then, `with_controls`, base in front and local-2r and pooled behind where they are not
/// named. Errors: kUsage (an unknown method, with those there are; a setting that is no key=value; a key that has to be the same
/// for all).
StatusOr<std::vector<VariantPlan>> PlanVariants(const std::string& methods, const std::vector<std::string>& sets,
                                                bool with_controls = true);

/// The comparison that `plans` make of a configuration. `overrides` win over the file in all of them. Nothing is hashed: inputs
/// stay empty. An empty `reference` becomes local, or else the first variant of that method, or else the first that is planned and
/// trained. Errors: those of LoadConfig, of every variant; kUsage (two variants that are the same, an unknown reference); kConfig.
StatusOr<ComparisonSpec> MakeComparisonSpec(const std::filesystem::path& config, const std::vector<std::string>& overrides,
                                            const std::vector<VariantPlan>& plans, int64_t seeds, const std::string& reference);

/// Sets spec.reference: `reference`, or what MakeComparisonSpec chooses. Errors: kUsage (no such variant; names those there are).
Status ChooseReference(const std::string& reference, ComparisonSpec& spec);

/// The configuration of one run of the comparison, with the hashes of its inputs. Errors: those of ParseConfig.
StatusOr<PreparedRun> PrepareComparisonRun(const ComparisonSpec& spec, const Variant& variant, uint64_t seed);

}  // namespace fedalt
