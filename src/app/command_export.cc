// fedalt export: one site's model as directories that stock PEFT loads.
#include <ATen/ATen.h>
#include <absl/strings/match.h>
#include <absl/strings/str_replace.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "adapter/peft_directory.h"
#include "app/command.h"
#include "app/export_loader.h"
#include "app/load_peft.h"
#include "app/open_run.h"
#include "base/file.h"
#include "base/log.h"
#include "base/strict_json.h"
#include "fed/method.h"
#include "model/safetensors.h"
#include "train/mixer_weights.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt export runs/mine --site site-0 --out adapter --base-model-id HuggingFaceTB/SmolLM2-135M-Instruct\n"
    "  fedalt export runs/mine --site site-0 --out adapter --merged    also one approximate LoRA of rank 2r, with its error";

struct ExportArguments {
  std::string directory, site, out, device, base_model_id;
  int64_t round = 0;
  bool merged = false;
};

// What is exported, and what was found out about it.
struct Export {
  LoadedRun run;
  SiteModel model;
  fs::path out;            // where it is written
  std::string base_model;  // for those who load it
  bool rest_of_world = false;
  std::vector<double> individual_weights;     // per adapted module: mean p_I
  std::vector<double> rest_of_world_weights;  // mean p_R
  std::string readme;

  SiteAdapters& adapters() { return model.site->adapters; }
};

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(std::max<size_t>(values.size(), 1));
}

// The weights that the mixer gives, averaged over tokens of the site's training data (never its test data).
Status MeasureWeights(const std::string& site, Export& exported) {
  constexpr size_t kExamplesUsed = 200;
  SiteAdapters& adapters = exported.adapters();
  const size_t modules = adapters.modules().size();
  const MixerKind mixer = adapters.config().mixer;
  if (!exported.rest_of_world || mixer == MixerKind::kNone || mixer == MixerKind::kMerged) {
    exported.individual_weights.assign(modules, 1.0);
    exported.rest_of_world_weights.assign(modules, exported.rest_of_world ? 1.0 : 0.0);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::vector<TokenizedExample> examples, LoadTrainTokens(exported.run, site));
  if (examples.size() > kExamplesUsed) examples.resize(kExamplesUsed);
  const int64_t batch = exported.run.config.federation.eval.options.loss_batch_size;
  ASSIGN_OR_RETURN(exported.individual_weights, MeanIndividualWeights(*exported.run.model, adapters, examples, batch));
  for (const double weight : exported.individual_weights) exported.rest_of_world_weights.push_back(1.0 - weight);
  return absl::OkStatus();
}

// The rest of world may have another rank than the site's own adapter (rest_of_world.aggregate: exact).
int64_t RankOf(const NamedTensors& factors) {
  return factors.front().second.size(0);  // A (r, d_in)
}

Status WriteVariant(const Export& exported, const std::string& name, const NamedTensors& factors, double factor,
                    const std::string& meaning, std::string& readme) {
  const AdapterConfig& config = exported.model.site->adapters.config();
  PeftMetadata metadata;
  metadata.base_model_name_or_path = exported.base_model;
  metadata.r = RankOf(factors);
  metadata.lora_alpha = config.scale() * static_cast<double>(metadata.r) * factor;
  metadata.target_modules = config.target_modules;
  RETURN_IF_ERROR(WritePeftDirectory(exported.out / name, factors, metadata));
  absl::StrAppend(&readme, "- `", name, "/`: ", meaning, " (lora_alpha ", metadata.lora_alpha, ")\n");
  return absl::OkStatus();
}

Status WriteBranches(Export& exported) {
  SiteAdapters& adapters = exported.adapters();
  const double gain = adapters.config().rest_of_world_gain;
  const double p_i = Mean(exported.individual_weights), p_r = Mean(exported.rest_of_world_weights);
  std::string& readme = exported.readme;
  RETURN_IF_ERROR(WriteVariant(exported, "individual", adapters.Individual(), 1.0, "the site's own adapter with weight 1", readme));
  if (const NamedTensors folds = adapters.Folds(); !folds.empty()) {
    RETURN_IF_ERROR(WriteSafetensors(exported.out / "fold.safetensors", folds));
    absl::StrAppend(&readme,
                    "- `fold.safetensors`: what the method folded into the base; add each matrix to the weight of its linear "
                    "(fedalt_model.py does), without it `individual/` is not the model\n");
  }
  if (!exported.rest_of_world) return absl::OkStatus();
  RETURN_IF_ERROR(WriteVariant(exported, "rest_of_world", adapters.RestOfWorld(), gain,
                               "the others' adapter with weight 1, the gain in lora_alpha", readme));
  if (p_i != 1.0 || p_r != 1.0) {
    RETURN_IF_ERROR(WriteVariant(exported, "individual-weighted", adapters.Individual(), p_i,
                                 absl::StrFormat("the same times %.4f, the mixer's mean weight", p_i), readme));
    RETURN_IF_ERROR(WriteVariant(exported, "rest_of_world-weighted", adapters.RestOfWorld(), gain * p_r,
                                 absl::StrFormat("the same times %.4f, the mixer's mean weight", p_r), readme));
  }
  if (const NamedTensors mixer = adapters.Mixer(); !mixer.empty()) {
    RETURN_IF_ERROR(WriteSafetensors(exported.out / "mixer.safetensors", mixer));
    absl::StrAppend(&readme, "- `mixer.safetensors`: the mixer; stock PEFT has nothing that reads it, fedalt_model.py does\n");
  }
  return absl::OkStatus();
}

// What fedalt_model.py needs beside the tensors: how the terms are weighted.
Status WriteLoader(Export& exported) {
  const AdapterConfig& config = exported.adapters().config();
  const LayerMode& mode = exported.adapters().mode();
  const bool trained = exported.rest_of_world && mode.mixer_active && !exported.adapters().Mixer().empty();
  const bool both_whole = !exported.rest_of_world || mode.mixer == MixerKind::kNone || mode.mixer == MixerKind::kMerged;
  const double p_i = both_whole ? 1.0 : mode.mixer == MixerKind::kFixed ? mode.fixed_p : 0.5;
  const nlohmann::ordered_json options = {{"scale", config.scale()},
                                          {"gain", config.rest_of_world_gain},
                                          {"mixer", !trained                          ? "constant"
                                                    : mode.mixer == MixerKind::kToken ? "token"
                                                                                      : "layer"},
                                          {"weights", {p_i, both_whole ? 1.0 : 1.0 - p_i}}};
  RETURN_IF_ERROR(WriteFileAtomic(exported.out / "fedalt_model.json", options.dump(1) + "\n"));
  RETURN_IF_ERROR(WriteFileAtomic(exported.out / "fedalt_model.py", kExportLoader));
  absl::StrAppend(&exported.readme,
                  "- `fedalt_model.py`, `fedalt_model.json`: the whole model in transformers, with the exact forward\n\n"
                  "The whole model, in this folder (torch, transformers, safetensors):\n\n"
                  "    import fedalt_model, transformers\n"
                  "    model = transformers.AutoModelForCausalLM.from_pretrained(\"",
                  exported.base_model,
                  "\")\n"
                  "    fedalt_model.load(model, \".\")\n\n"
                  "One adapter alone, in any program that knows PEFT:\n\n"
                  "    model = peft.PeftModel.from_pretrained(model, \"individual\")\n");
  return absl::OkStatus();
}

// Both branches as one LoRA, in all but a few options of rank 2r: [A_I; A_R] and [p_I B_I, g p_R B_R], with each layer's mean
// weights.
NamedTensors MergedFactors(Export& exported) {
  NamedTensors individual = exported.adapters().Individual(), rest_of_world = exported.adapters().RestOfWorld(), merged;
  const double gain = exported.adapters().config().rest_of_world_gain;
  const std::vector<AdaptedModule>& modules = exported.adapters().modules();
  const auto tensor = [](const NamedTensors& tensors, const std::string& name) {
    return std::find_if(tensors.begin(), tensors.end(), [&](const auto& entry) { return entry.first == name; })->second.detach();
  };
  for (size_t i = 0; i < modules.size(); ++i) {
    const std::string a = modules[i].name + ".lora_A.weight", b = modules[i].name + ".lora_B.weight";
    merged.emplace_back(a, at::cat({tensor(individual, a), tensor(rest_of_world, a)}, 0));
    merged.emplace_back(b, at::cat({tensor(individual, b) * exported.individual_weights[i],
                                    tensor(rest_of_world, b) * (gain * exported.rest_of_world_weights[i])},
                                   1));
  }
  return merged;
}

Status WriteMerged(const std::string& site, Export& exported) {
  const AdapterConfig& config = exported.adapters().config();
  PeftMetadata metadata;
  metadata.base_model_name_or_path = exported.base_model;
  const NamedTensors factors = MergedFactors(exported);
  metadata.r = RankOf(factors);
  metadata.lora_alpha = config.scale() * static_cast<double>(metadata.r);
  metadata.target_modules = config.target_modules;
  RETURN_IF_ERROR(WritePeftDirectory(exported.out / "merged", factors, metadata));

  // Measured on what was written, as somebody else would load it.
  ASSIGN_OR_RETURN(const SiteData data, LoadTestData(exported.run, site, {}));
  ASSIGN_OR_RETURN(const auto merged, LoadPeft(*exported.run.model, exported.out / "merged"));
  const int64_t batch = exported.run.config.federation.eval.options.loss_batch_size;
  ForwardContext exact_context, merged_context;
  exact_context.extensions = &exported.adapters().extensions();
  merged_context.extensions = &merged->extensions();
  ASSIGN_OR_RETURN(const double exact_loss, MeanLoss(*exported.run.model, data.test.tokenized, batch, exact_context));
  ASSIGN_OR_RETURN(const double merged_loss, MeanLoss(*exported.run.model, data.test.tokenized, batch, merged_context));
  const bool approximate = config.mixer == MixerKind::kToken;
  const std::string error = absl::StrFormat("loss on the site's test data %.4f, of the model itself %.4f (difference %+.4f)",
                                            merged_loss, exact_loss, merged_loss - exact_loss);
  absl::StrAppend(&exported.readme, "- `merged/`: both adapters as one LoRA of rank ", metadata.r,
                  approximate ? ", APPROXIMATE because a mixer that looks at every token is replaced by its mean weights; "
                              : ", exact up to rounding because the weights do not depend on the token; ",
                  error, "\n");
  return WriteResult(absl::StrCat(approximate ? "merged (approximate): " : "merged: ", error, "\n"));
}

// The text that the adapters were trained behind, as code: indented, so that Markdown shows it as it is.
std::string PromptSection(const PromptTemplate& prompt_template) {
  const auto code = [](const std::string& text) {
    return absl::StrCat("    ", absl::StrReplaceAll(text, {{"\n", "\n    "}}), "\n");
  };
  const std::string without = prompt_template.Render("{instruction}", ""),
                    with = prompt_template.Render("{instruction}", "{input}");
  // text/prompt_tokens.h: most tokenizers join a space to the word behind it
  const char* const spaces = absl::EndsWith(without, " ") || absl::EndsWith(with, " ")
                                 ? "\nEncode it without the spaces at its end: they belong to the first token of the answer.\n"
                                 : "";
  return absl::StrCat("\nThe answer is trained to follow this prompt (data.template ", QuoteForMessage(prompt_template.name()),
                      ") at once and to end with the EOS token:\n\n", code(without), "\nwith an input:\n\n", code(with), spaces);
}

// Whether --merged can be had. Errors: kUsage.
Status CheckMerged(const Method& method, Export& exported) {
  if (exported.rest_of_world) return absl::OkStatus();
  if (!exported.adapters().Folds().empty())
    return UsageError(
        absl::StrCat("method ", method.name(),
                     " folds what the sites learned into the base, a change of full rank that no LoRA holds; leave out "
                     "--merged: individual/ together with fold.safetensors is the whole model"));
  return UsageError(
      absl::StrCat("method ", method.name(), " has one adapter only; individual/ is the whole model, leave out --merged"));
}

Status Write(const ExportArguments& arguments, const Method& method, Export& exported) {
  exported.readme = absl::StrCat("# Site ", arguments.site, ", round ", exported.model.round, ", method ", method.name(),
                                 " (preset ", exported.run.config.federation.method.preset, ")\n\n");
  RETURN_IF_ERROR(WriteBranches(exported));
  if (arguments.merged) RETURN_IF_ERROR(WriteMerged(arguments.site, exported));
  RETURN_IF_ERROR(WriteLoader(exported));
  ASSIGN_OR_RETURN(const PromptTemplate prompt_template, PromptTemplate::Named(exported.run.config.prompt_template));
  exported.readme += PromptSection(prompt_template);
  return WriteFileAtomic(exported.out / "README.md", exported.readme);
}

Status Execute(const ExportArguments& arguments) {
  RETURN_IF_ERROR(CheckNewOrEmpty(arguments.out));
  Export exported;
  ASSIGN_OR_RETURN(exported.run, OpenRun(arguments.directory, arguments.device));
  ASSIGN_OR_RETURN(const auto method, MakeMethod(exported.run.config.federation.method));
  if (!method->trains())
    return UsageError(absl::StrCat("method ", method->name(), " trains no adapter, so there is nothing to export"));
  // fdlora fuses its two adapters into one before it uses them; that one is what individual/ holds.
  exported.rest_of_world = method->has_rest_of_world() && method->branches() == BranchMode::kBoth;
  exported.base_model = arguments.base_model_id.empty() ? exported.run.config.model.string() : arguments.base_model_id;
  ASSIGN_OR_RETURN(exported.model, LoadSiteModel(exported.run, arguments.directory, arguments.site, arguments.round));
  if (arguments.merged) RETURN_IF_ERROR(CheckMerged(*method, exported));
  RETURN_IF_ERROR(MeasureWeights(arguments.site, exported));
  RETURN_IF_ERROR(WriteDirectoryAtomic(arguments.out, [&](const fs::path& folder) {
    exported.out = folder;
    return Write(arguments, *method, exported);
  }));
  return WriteResult(absl::StrCat("exported to ", arguments.out, " (see README.md there)\n"));
}

}  // namespace

void AddExportCommand(CLI::App& program, Command& command) {
  auto arguments = std::make_shared<ExportArguments>();
  CLI::App* app = program.add_subcommand("export", "Write a site's adapters so that stock PEFT loads them");
  app->add_option("run_dir", arguments->directory, "Directory of the run")->required()->type_name("RUN_DIR");
  app->add_option("--site", arguments->site, "Site whose adapters are written")->required()->type_name("NAME");
  app->add_option("--out", arguments->out, "New or empty directory")->required()->type_name("DIR");
  app->add_option("--round", arguments->round, "Round whose adapters are written (default: the last)")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  app->add_flag("--merged", arguments->merged, "Also both adapters as one LoRA of rank 2r, with the error that this causes");
  app->add_option("--base-model-id", arguments->base_model_id,
                  "What the export calls its base model (default: the path of the run's model on this machine)")
      ->type_name("ID");
  AddDeviceOption(*app, arguments->device);
  app->footer(kExamples);
  app->callback([arguments, &command] { command.run = [arguments] { return Execute(*arguments); }; });
}

}  // namespace fedalt
