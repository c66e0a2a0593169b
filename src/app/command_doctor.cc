// fedalt doctor: the machine, and with a configuration everything about its model and data, before a long run.
#include <ATen/Parallel.h>
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "app/blas.h"
#include "app/command.h"
#include "app/config.h"
#include "app/doctor_data.h"
#include "app/findings.h"
#include "app/idle_settings.h"
#include "base/cpu_kernels.h"
#include "base/machine.h"
#include "model/device.h"
#include "model/hf_config.h"
#include "model/safetensors.h"
#include "model/transformer.h"
#include "run/adapter_ranks.h"
#include "run/run.h"

namespace fedalt {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt doctor                          this machine\n"
    "  fedalt doctor config.yaml              and whether this run will work on it\n"
    "  fedalt doctor config.yaml --format json";

struct DoctorArguments {
  std::string config;
  std::vector<std::string> overrides;
  bool json = false;
};

void ExamineDevice(const CudaReport& cuda, Findings& findings) {
  if (cuda.devices == 0) return findings.Ok("device", "cpu (device: auto); no CUDA device is seen");
  findings.Ok("device", absl::StrCat("cuda (device: auto): ", DeviceName(at::Device(at::kCUDA, 0), cuda), ", ",
                                     BytesText(cuda.memory_bytes), cuda.devices > 1 ? "; one of several, only this is used" : ""));
}

void ExamineMachine(Findings& findings) {
  constexpr int64_t kLittleDisk = 2'000'000'000;
  const Machine machine = DescribeMachine();
  findings.Ok("machine",
              absl::StrCat(machine.cpu_model, ", ", machine.architecture, ", ", machine.system, ", Linux ", machine.kernel));
  at::set_num_threads(machine.cores);
  findings.Ok("cores", absl::StrCat(machine.cores, " usable; threads: auto uses all of them"));
  const auto has = [](bool yes, const char* name) { return absl::StrCat(" ", name, yes ? " yes" : " no"); };
  findings.Ok("dtypes", absl::StrCat("float32 yes, bfloat16 ",
                                     machine.avx512_bf16 || machine.amx_bf16 ? "in hardware" : "only emulated (slow)", ";",
                                     has(machine.avx2, "avx2"), ",", has(machine.avx512, "avx512"), ",",
                                     has(machine.avx512_bf16, "avx512_bf16"), ",", has(machine.amx_bf16, "amx_bf16")));
  findings.Ok("kernels", absl::StrCat(CpuKernelsName(ActiveCpuKernels()), " (FEDALT_CPU_KERNELS can ask for less)"));
  const CudaReport cuda = DescribeCuda();
  findings.Ok("libtorch", absl::StrCat(TORCH_VERSION, cuda.built_in ? ", with CUDA" : ", without CUDA"));
  ExamineDevice(cuda, findings);
  const BlasReport blas = DescribeBlas(/*measure=*/true);
  const std::string warning = SlowBlasWarning(blas);
  const std::string what = absl::StrCat(blas.library, blas.path.empty() ? "" : " (" + blas.path + ")", ", float32 product ",
                                        absl::StrFormat("%.0f GFLOP/s", blas.gflops));
  if (warning.empty()) findings.Ok("blas", what);
  if (!warning.empty()) findings.Warn("blas", absl::StrCat(what, ": ", warning));
  findings.Ok("memory", absl::StrCat(BytesText(machine.memory_available_bytes), " available of ",
                                     BytesText(machine.memory_total_bytes), " (", MemoryBoundName(machine.memory_bound), ")"));
  const StatusOr<int64_t> disk = FreeDiskBytes(".");
  if (!disk.ok()) return findings.Problem("disk", disk.status());
  const std::string text = absl::StrCat(BytesText(*disk), " free here");
  if (*disk < kLittleDisk) return findings.Warn("disk", absl::StrCat(text, "; checkpoints of a run may need more"));
  findings.Ok("disk", text);
}

void ExamineTargets(const RunConfig& config, const TensorFiles& files, Findings& findings) {
  const std::vector<std::string>& targets = config.federation.adapter.target_modules;
  const std::vector<std::string> names = files.Names();
  for (const std::string& target : targets) {
    if (target == "all-linear") continue;
    const std::string ending = absl::StrCat(".", target, ".weight");
    const auto count = std::count_if(names.begin(), names.end(), [&](const std::string& name) { return name.ends_with(ending); });
    if (count > 0) {
      findings.Ok("model", absl::StrCat("target module ", target, ": ", count, " layers"));
    } else {
      findings.Problem("model", ConfigError(absl::StrCat("adapter.target_modules names \"", target,
                                                         "\", but no tensor of the model ends with \"", ending, "\"")));
    }
  }
}

void ExamineModel(const RunConfig& config, Findings& findings) {
  const StatusOr<ModelConfig> model = ReadModelConfig(config.model);
  if (!model.ok()) return findings.Problem("model", model.status());
  findings.Ok("model", absl::StrCat(config.model.string(), ": ", model->model_type, ", ",
                                    absl::StrFormat("%.1f", static_cast<double>(ParameterCount(*model)) / 1e6),
                                    " million parameters, ", model->num_layers, " layers of ", model->hidden_size, ", vocabulary ",
                                    model->vocab_size, ", positions up to ", model->max_position_embeddings));
  if (model->max_position_embeddings > 0 && config.max_length > model->max_position_embeddings) {
    findings.Warn("model", absl::StrCat("train.max_length ", config.max_length, " is more than the ",
                                        model->max_position_embeddings, " positions that the model was made for"));
  }
  const auto files = TensorFiles::OpenModelDirectory(config.model);
  if (!files.ok()) {
    findings.Problem("model", files.status());
  } else {
    findings.Ok("model", absl::StrCat((*files)->Names().size(), " tensors in ", (*files)->files().size(),
                                      (*files)->files().size() == 1 ? " file" : " files"));
    ExamineTargets(config, **files, findings);
    const StatusOr<std::string> rank = RankBeyondWidth(config);
    if (rank.ok() && !rank->empty()) findings.Warn("model", *rank);
  }
}

/// The weights themselves, as the run would load them: whether they fit config.json and are finite.
void ExamineWeights(const RunConfig& config, Findings& findings) {
  const auto files = TensorFiles::OpenModelDirectory(config.model);
  if (!files.ok()) return;  // was told
  const auto model = Transformer::Load(config.model, {at::kBFloat16, at::kCPU});
  if (!model.ok()) return findings.Problem("weights", model.status());
  const std::string note = NoteOfUnusedTensors(**model, **files);
  if (!note.empty()) findings.Warn("weights", note);
  findings.Ok("weights", "all are there, of the shapes that config.json asks for, and finite");
}

/// What the run will need: by the lengths of its data where they can be read, else at most.
StatusOr<MemoryPlan> PlanFor(const RunConfig& config, const std::shared_ptr<const Tokenizer>& tokenizer, bool& exact) {
  if (tokenizer != nullptr) {
    LoadedRun run;
    run.config = config;
    run.tokenizer = tokenizer;
    exact = LoadSites(run).ok();  // what is wrong with the data is told elsewhere
    if (exact) return PlanMemoryOf(run);
  }
  return PlanMemoryBefore(config);
}

/// False: there is not enough, or nobody knows.
bool ExamineMemory(const RunConfig& config, const std::shared_ptr<const Tokenizer>& tokenizer, Findings& findings) {
  bool exact = false;
  const StatusOr<MemoryPlan> plan = PlanFor(config, tokenizer, exact);
  if (!plan.ok()) {
    findings.Problem("memory", plan.status());
    return false;
  }
  const std::string text =
      absl::StrCat("the run needs ", BytesText(plan->total()), " at its peak, in ", plan->greatest_phase(), " (weights ",
                   BytesText(plan->base), ", batches ", BytesText(plan->activations()), ", adapters of the sites at work ",
                   BytesText(plan->adapters), ", program and data ", BytesText(plan->program), "), ", BytesText(plan->available),
                   " ", MemoryBoundName(plan->bound), " are available; ", plan->sites_at_once, " at once");
  if (const Status fits = CheckMemory(*plan, exact); !fits.ok()) {
    findings.Problem("memory", fits);
    return false;
  }
  if (plan->available > 0 && plan->total() > plan->available)
    findings.Warn("memory", absl::StrCat(text, "; lower train.batch_size and raise train.accumulate if it runs out"));
  else
    findings.Ok("memory", text);
  return true;
}

void ExamineTokenizer(const RunConfig& config, Findings& findings, std::shared_ptr<const Tokenizer>& tokenizer) {
  const auto loaded = Tokenizer::Load(config.model);
  if (!loaded.ok()) return findings.Problem("tokenizer", loaded.status());
  tokenizer = *loaded;
  if (!tokenizer->eos_id()) {
    findings.Problem(
        "tokenizer",
        ModelError("it names no EOS token, which must end every response; add \"eos_token\" to tokenizer_config.json"));
  }
  const StatusOr<ModelConfig> model = ReadModelConfig(config.model);
  const std::string text =
      absl::StrCat(tokenizer->vocab_size(), " ids", tokenizer->bos_id() ? absl::StrCat(", BOS ", *tokenizer->bos_id()) : ", no BOS",
                   tokenizer->eos_id() ? absl::StrCat(", EOS ", *tokenizer->eos_id()) : ", no EOS");
  for (const std::string& note : tokenizer->notes()) findings.Warn("tokenizer", note);
  if (model.ok() && tokenizer->base_vocab_size() > model->vocab_size) {
    return findings.Problem("tokenizer", ModelError(absl::StrCat(text, ", but the model's vocabulary has ", model->vocab_size,
                                                                 "; they do not belong together")));
  }
  findings.Ok("tokenizer", text);
}

Status Execute(const DoctorArguments& arguments) {
  Findings findings;
  ExamineMachine(findings);
  if (!arguments.config.empty()) {
    const StatusOr<ParsedConfig> parsed = LoadConfig(arguments.config, arguments.overrides);
    if (!parsed.ok()) {
      findings.Problem("config", parsed.status());
    } else {
      const RunConfig& config = parsed->config;
      findings.Ok("config", absl::StrCat(arguments.config, ": method ", config.federation.method.name, ", preset ",
                                         config.federation.method.preset, ", ", config.sites.size(), " sites, ",
                                         config.federation.rounds, " rounds"));
      for (const std::string& sentence : IdleSentences(FindIdleSettings(*parsed, ConfigPlace::kOneMachine)))
        findings.Warn("config", sentence);
      const auto device = ChooseDevice(config.device, DescribeCuda());
      if (!device.ok()) findings.Problem("device", device.status());
      if (device.ok()) ExamineModel(config, findings);
      std::shared_ptr<const Tokenizer> tokenizer;
      ExamineTokenizer(config, findings, tokenizer);
      if (device.ok() && ExamineMemory(config, tokenizer, findings)) ExamineWeights(config, findings);
      ExamineData(config, tokenizer.get(), findings);
    }
  }
  RETURN_IF_ERROR(WriteResult(arguments.json ? findings.Json().dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n"
                                             : findings.Text()));
  return findings.Verdict();
}

}  // namespace

void AddDoctorCommand(CLI::App& program, Command& command) {
  auto arguments = std::make_shared<DoctorArguments>();
  CLI::App* app = program.add_subcommand("doctor", "Examine the machine, and a configuration with its model and data");
  app->add_option("config", arguments->config, "The YAML configuration")->type_name("CONFIG.yaml");
  app->add_option("overrides", arguments->overrides, "Keys that win over the file")->type_name("key=value");
  AddFormatOption(*app, arguments->json);
  app->footer(kExamples);
  app->callback([arguments, &command] { command.run = [arguments] { return Execute(*arguments); }; });
}

}  // namespace fedalt
