#include "model/model_directory.h"

#include <fstream>
#include <string>
#include <system_error>

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kExpected[] =
    "expected a directory with config.json, *.safetensors and a tokenizer, as transformers' save_pretrained writes it";

bool IsGguf(const fs::path& path) {
  std::string magic(4, '\0');
  std::ifstream file(path, std::ios::binary);
  return file.read(magic.data(), static_cast<std::streamsize>(magic.size())) && magic == "GGUF";
}

std::string WhatFileIs(const fs::path& path) {
  if (IsGguf(path)) return "is a GGUF file, which is not read";
  if (path.extension() == ".safetensors") return "is a single safetensors file";
  if (path.filename() == "config.json") return "is the config.json of a model";
  return "is a file";
}

/// Of a directory without config.json.
std::string WhatDirectoryIs(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path / "adapter_config.json", error))
    return "holds a PEFT adapter and no model (adapter.init_from and generate --adapter take adapters)";
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".gguf")
      return absl::StrCat("holds ", it->path().filename().string(), ", a GGUF file, which is not read");
  return "has no config.json";
}

}  // namespace

Status CheckModelDirectory(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    if (fs::exists(path / "config.json", error)) return absl::OkStatus();
    return ModelError(absl::StrCat(path.string(), " ", WhatDirectoryIs(path), "; ", kExpected));
  }
  return ModelError(
      absl::StrCat(path.string(), " ", fs::exists(path, error) ? WhatFileIs(path) : "does not exist", "; ", kExpected));
}

}  // namespace fedalt
