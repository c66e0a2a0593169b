// Settings that somebody has given and that cannot have an effect under the others: told, because whoever wrote them believes that
// they do something. One table (idle_settings.cc); what a program wrote (resolved configurations, presets) is never told.
#pragma once

#include <string>
#include <vector>

#include "app/config.h"

namespace fedalt {

/// Where a configuration is used: on one machine, or as the part of a federation across machines that all parties share.
enum class ConfigPlace { kOneMachine, kFederation };

struct IdleSetting {
  std::string key;
  std::string why;
};
/// By reason.
std::vector<IdleSetting> FindIdleSettings(const ParsedConfig& parsed, ConfigPlace place);

/// One sentence for each reason, with all keys that it is about: "eval.beams has no effect: eval.generate is false".
std::vector<std::string> IdleSentences(const std::vector<IdleSetting>& settings);

/// Each as a warning.
void WarnOfIdleSettings(const ParsedConfig& parsed, ConfigPlace place);

}  // namespace fedalt
