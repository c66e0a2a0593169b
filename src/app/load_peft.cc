#include "app/load_peft.h"

#include <algorithm>

#include "adapter/peft_directory.h"

namespace fedalt {

StatusOr<std::unique_ptr<SiteAdapters>> LoadPeft(const Transformer& model, const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(const PeftAdapter peft, ReadPeftDirectory(directory));
  AdapterConfig config;
  config.r = peft.metadata.r;
  config.lora_alpha = peft.metadata.lora_alpha;
  config.lora_dropout = 0.0;
  config.mixer = MixerKind::kNone;
  config.target_modules = {"all-linear"};
  ASSIGN_OR_RETURN(const std::vector<AdaptedModule> all, FindAdaptedModules(model, config));
  std::vector<AdaptedModule> modules;
  for (const AdaptedModule& module : all) {
    const std::string a = module.name + ".lora_A.weight";
    if (std::any_of(peft.factors.begin(), peft.factors.end(), [&](const auto& factor) { return factor.first == a; }))
      modules.push_back(module);
  }
  if (modules.empty())
    return ModelError(
        absl::StrCat(directory.string(), ": none of its linear layers is in the model; is it an adapter of another model?"));
  auto adapters = std::make_unique<SiteAdapters>(std::move(modules), config, at::kFloat, model.device());
  adapters->Initialize({});
  if (Status status = adapters->SetIndividual(peft.factors); !status.ok()) return Annotate(status, directory.string());
  adapters->mode().branches = BranchMode::kIndividualAlone;
  return adapters;
}

}  // namespace fedalt
