// LoRA adapters as stock PEFT reads and writes them: adapter_config.json and adapter_model.safetensors.
//
// Stateless, any thread. What PEFT calls LoRA but is more than y += s B A x (DoRA, patterns of ranks, biases, ...) is refused by
// name; rsLoRA is read, its scale folded into lora_alpha.
#pragma once

#include <filesystem>
#include <string>

#include "adapter/adapter_config.h"
#include "adapter/site_adapters.h"
#include "base/status.h"

namespace fedalt {

struct PeftMetadata {
  std::string base_model_name_or_path;
  double lora_alpha = 32.0;  ///< written as given: an export may fold a gain or a mean mixer weight into it
  double lora_dropout = 0.0;
  int64_t r = 8;
  std::vector<std::string> target_modules;

  double scale() const { return lora_alpha / static_cast<double>(r); }
};

/// Writes `factors` (names as SiteAdapters::Individual) so that peft.PeftModel.from_pretrained loads it. Files are written
/// atomically; same input, same bytes. target_modules come from the factors' names. Errors: kOutput; kModel if a factor is not of
/// rank metadata.r.
Status WritePeftDirectory(const std::filesystem::path& directory, const NamedTensors& factors, const PeftMetadata& metadata);

struct PeftAdapter {
  PeftMetadata metadata;
  NamedTensors factors;  ///< float32, names as SiteAdapters::Individual, sorted; SiteAdapters::SetIndividual takes any order
};
/// Whether both files of an adapter are there, and if not, in words what is. Errors: kModel.
Status CheckPeftDirectory(const std::filesystem::path& directory);
/// Reads a LoRA from elsewhere. Errors (kModel): unreadable files, not LoRA or a variant of it (named), r or shapes that contradict
/// the tensors, a factor without its partner.
StatusOr<PeftAdapter> ReadPeftDirectory(const std::filesystem::path& directory);

}  // namespace fedalt
