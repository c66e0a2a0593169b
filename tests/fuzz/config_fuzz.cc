// links: text deps_yaml
// clang-format off
// sources: src/app/config.cc src/app/config_fields.cc src/app/config_keys.cc src/app/config_paths.cc src/app/config_special_keys.cc src/app/config_yaml.cc src/app/key_advice.cc src/app/presets.cc src/app/tool_words.cc src/app/yaml_tree.cc src/model/model_directory.cc
// clang-format on
//
// Bytes as a YAML configuration, or (behind a newline) as one override of a small one. What is accepted must survive being written
// and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "app/config.h"
#include "fed/method_names.h"

namespace fedalt {
// The methods themselves need libtorch, which clang cannot compile as a whole.
std::vector<std::string> MethodNames() {
  return {"base", "local", "fedit", "fedit_ft", "fedalt", "pooled"};
}
}  // namespace fedalt

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kLongest = 1 << 14;
  if (size > kLongest) return 0;
  const std::string text(reinterpret_cast<const char*>(data), size);
  fedalt::ConfigSource source;
  source.check_files = false;
  const bool is_override = size > 0 && text.front() == '\n';
  const std::string base = "model: m\nsites: 2\ndata: {train: 'a_{site}', test: b}\n";
  const auto parsed = is_override ? fedalt::ParseConfig(base, {text.substr(1)}, source) : fedalt::ParseConfig(text, {}, source);
  if (!parsed.ok()) {
    if (parsed.status().message().empty()) std::abort();
    return 0;
  }
  if (parsed->config.sites.size() > 100) return 0;  // writing thousands of sites is slow and nothing new
  const std::string yaml = fedalt::RunConfigToYaml(parsed->config, parsed->hashes);
  const auto again = fedalt::ParseConfig(yaml, {}, source);
  if (!again.ok() || fedalt::RunConfigToYaml(again->config, again->hashes) != yaml) std::abort();
  return 0;
}
