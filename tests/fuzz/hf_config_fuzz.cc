// links: base
// sources: src/model/hf_config.cc
// A config.json from any bytes: refused, or its sizes are such that nothing computed from them overflows.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t cut = bytes.find('\0');  // what follows a zero byte is generation_config.json
  const std::string_view generation = cut == bytes.npos ? std::string_view() : bytes.substr(cut + 1);
  const auto config = fedalt::ParseModelConfig(bytes.substr(0, cut), generation, "model");
  if (!config.ok()) {
    FEDALT_CHECK(fedalt::KindOf(config.status()) == fedalt::ErrorKind::kModel, "an error of the model");
    FEDALT_CHECK(config.status().message().substr(0, 6) == "model/", "an error names its file");
    return 0;
  }
  FEDALT_CHECK(config->num_layers > 0 && config->head_dim > 0 && config->num_kv_heads > 0, "sizes are positive");
  FEDALT_CHECK(config->num_heads % config->num_kv_heads == 0, "heads share keys evenly");
  FEDALT_CHECK(fedalt::ParameterCount(*config) > 0, "the count does not overflow");
  return 0;
}
