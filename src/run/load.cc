// Loading model and data of a run, with every check that can be made before the work begins.
#include <ATen/Parallel.h>

#include <algorithm>

#include "base/log.h"
#include "base/machine.h"
#include "model/device.h"
#include "model/safetensors.h"
#include "run/adapter_ranks.h"
#include "run/run.h"
#include "run/site_files.h"

namespace fedalt {
namespace {

constexpr int64_t kSmallModelParameters = 30'000'000;  ///< below it, one core per site beats all cores on one site

StatusOr<at::ScalarType> DecideDtype(const RunConfig& config, at::Device device) {
  if (config.dtype == "float32") return at::kFloat;
  if (config.dtype == "bfloat16") return at::kBFloat16;
  // auto: half-precision weights stay in bfloat16 where the device multiplies it; everything else is computed in float32.
  const Machine machine = DescribeMachine();
  if (device.is_cpu() && !machine.avx512_bf16 && !machine.amx_bf16) return at::kFloat;
  ASSIGN_OR_RETURN(const auto files, TensorFiles::OpenModelDirectory(config.model));
  for (const std::string& name : files->Names()) {
    ASSIGN_OR_RETURN(const TensorEntry entry, files->Describe(name));
    if (entry.shape.size() == 2 && entry.dtype != at::kBFloat16 && entry.dtype != at::kHalf) return at::kFloat;
  }
  return at::kBFloat16;
}

int ThreadsOf(const RunConfig& config) {
  const int cores = DescribeMachine().cores;
  return config.threads > 0 ? static_cast<int>(config.threads) : std::max(1, cores);
}

void DecideSitesAtOnce(RunConfig& config, const ModelConfig& model, at::Device device) {
  if (!config.sites_at_once_auto) return;
  const int64_t threads = ThreadsOf(config);
  config.federation.sites_at_once = device.is_cpu() && ParameterCount(model) < kSmallModelParameters
                                        ? std::min<int64_t>(threads, static_cast<int64_t>(config.sites.size()))
                                        : 1;
}

std::string Gigabytes(int64_t bytes) {
  return absl::StrFormat("%.1f GB", static_cast<double>(bytes) / 1e9);
}

/// `token_rows`: of the embedding that tokens can reach; 0: all. `loaded`: the model is in memory already.
StatusOr<MemoryPlan> PlanFor(RunConfig config, const WorkSizes& work, int64_t token_rows, bool loaded) {
  const CudaReport cuda = DescribeCuda();
  ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(config.device, cuda));
  MemoryInputs inputs;
  inputs.work = work;
  ASSIGN_OR_RETURN(inputs.model, ReadModelConfig(config.model));
  ASSIGN_OR_RETURN(inputs.dtype, DecideDtype(config, device));
  DecideSitesAtOnce(config, inputs.model, device);
  ASSIGN_OR_RETURN(const auto files, TensorFiles::OpenModelDirectory(config.model));
  inputs.weights = WeightsOf(*files, inputs.model, inputs.dtype,
                             token_rows > 0 ? std::min(token_rows, inputs.model.vocab_size) : inputs.model.vocab_size);
  if (device.is_cpu()) {
    inputs.program = HeldByProgram(loaded ? inputs.weights.converted : 0);
    return PlanMemory(config, inputs);
  }
  constexpr int64_t kDeviceLibraries = 600'000'000;  // the context and workspaces of BLAS; an estimate
  inputs.program = kDeviceLibraries;
  inputs.weights = {.mapped = 0, .converted = inputs.weights.mapped + inputs.weights.converted, .stored = 0};
  MemoryPlan plan = PlanMemory(config, inputs);
  plan.available = cuda.memory_bytes;
  return plan;
}

}  // namespace

StatusOr<MemoryPlan> PlanMemoryBefore(const RunConfig& config) {
  return PlanFor(config, LargestWork(config), 0, false);
}

StatusOr<MemoryPlan> PlanMemoryOf(const LoadedRun& run) {
  return PlanFor(run.config, run.work, run.tokenizer->vocab_size(), run.model != nullptr);
}

StatusOr<LoadedRun> LoadModel(const RunConfig& config) {
  LoadedRun run;
  run.config = config;
  ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(config.device, DescribeCuda()));
  run.config.device = device.is_cpu() ? "cpu" : "cuda";
  PrepareDevice(device);
  ASSIGN_OR_RETURN(const ModelConfig model, ReadModelConfig(config.model));
  ASSIGN_OR_RETURN(const MemoryPlan plan, PlanMemoryBefore(config));
  // Only weights and adapters are certain to be needed in full; activations are an upper bound.
  const int64_t certain = plan.certain();
  if (plan.available > 0 && certain > plan.available)
    return MemoryError(absl::StrCat("this run needs ", Gigabytes(plan.total()), " of memory (weights ", Gigabytes(plan.base),
                                    ", adapters of the sites at work ", Gigabytes(plan.adapters), ", activations up to ",
                                    Gigabytes(plan.activations()), ") and ", Gigabytes(plan.available),
                                    " are available; use a smaller model, train.dtype bfloat16, or a larger machine"));
  if (plan.available > 0 && plan.total() > plan.available)
    run.notes.push_back(absl::StrCat("memory may be short: up to ", Gigabytes(plan.total()), " with batches of max_length, ",
                                     Gigabytes(plan.available),
                                     " available; lower train.batch_size (and raise train.accumulate) if it runs out"));
  ASSIGN_OR_RETURN(const std::string rank, RankBeyondWidth(config));
  if (!rank.empty()) run.notes.push_back(rank);
  DecideSitesAtOnce(run.config, model, device);
  at::set_num_threads(ThreadsOf(config));
  ASSIGN_OR_RETURN(const at::ScalarType dtype, DecideDtype(config, device));
  run.config.dtype = dtype == at::kBFloat16 ? "bfloat16" : "float32";
  ASSIGN_OR_RETURN(run.model, Transformer::Load(config.model, {dtype, device}));
  ASSIGN_OR_RETURN(const auto files, TensorFiles::OpenModelDirectory(config.model));
  if (const std::string note = NoteOfUnusedTensors(*run.model, *files); !note.empty())
    run.notes.push_back(absl::StrCat(config.model.string(), ": ", note));
  ASSIGN_OR_RETURN(run.tokenizer, Tokenizer::Load(config.model));
  for (const std::string& note : run.tokenizer->notes()) run.notes.push_back(absl::StrCat("tokenizer: ", note));
  if (run.tokenizer->base_vocab_size() > model.vocab_size)
    return ModelError(absl::StrCat(config.model.string(), ": the tokenizer has ", run.tokenizer->base_vocab_size(),
                                   " ids, but the model's vocabulary has ", model.vocab_size, "; they do not belong together"));
  // Generation stops at what the model or its tokenizer calls the end.
  auto& eos = run.config.federation.eval.options.generate.eos_ids;
  eos = model.eos_token_ids;
  if (const auto id = run.tokenizer->eos_id(); id && std::find(eos.begin(), eos.end(), *id) == eos.end()) eos.push_back(*id);
  return run;
}

Status LoadSites(LoadedRun& run) {
  run.config.federation.eval.options.max_length = run.config.max_length;
  run.config.federation.eval.options.too_long = run.config.too_long;
  ASSIGN_OR_RETURN(const auto sites, SiteFilesSource::Open(run.config, run.tokenizer, run.notes));
  run.sites = sites;
  run.work = sites->work();
  return absl::OkStatus();
}

}  // namespace fedalt
