// Whether a path is a model directory at all, said in the words of whoever named something else. Pure apart from looking;
// thread-safe.
#pragma once

#include <filesystem>

#include "base/status.h"

namespace fedalt {

/// OK for a directory with a config.json. Errors (kModel) say what is there instead: a GGUF file, one safetensors file, an adapter,
/// nothing, ...
Status CheckModelDirectory(const std::filesystem::path& path);

}  // namespace fedalt
