// Presets: one name for a whole set of choices. Keys given in the configuration win over them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "run/run_config.h"

namespace fedalt {

/// What a configuration starts from before any preset: the published training with one shared initial A.
RunConfig DefaultRunConfig();

/// "none", "paper", "recommended", "recommended_sum".
std::vector<std::string> PresetNames();

/// Sets the choices of preset `name` (one of PresetNames()) for a federation of `sites` sites. config.model tells the model's
/// family where that matters (Bloom's attention has one linear, query_key_value); a model that cannot be read counts as not Bloom.
void ApplyPreset(std::string_view name, int64_t sites, RunConfig& config);

/// Target modules that the paper adapts: q_proj and v_proj, or query_key_value for Bloom.
std::vector<std::string> PublishedTargetModules(const std::filesystem::path& model);

}  // namespace fedalt
