// A LoRA of stock PEFT on a bare model, as peft.PeftModel would apply it.
#pragma once

#include <filesystem>
#include <memory>

#include "adapter/site_adapters.h"
#include "base/status.h"

namespace fedalt {

/// Adapters whose extensions() apply the LoRA in `directory` to `model`. Errors: kModel (unreadable, or of another model).
StatusOr<std::unique_ptr<SiteAdapters>> LoadPeft(const Transformer& model, const std::filesystem::path& directory);

}  // namespace fedalt
