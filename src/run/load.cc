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

std::string Gigabytes(int64_t bytes) {
  return absl::StrFormat("%.1f GB", static_cast<double>(bytes) / 1e9);
}

/// One site per core where memory allows: sites do not wait for each other inside a product, and hardly for other processes. Else
/// as many as share the cores evenly.
MemoryPlan PlanWithMostSites(RunConfig config, const MemoryInputs& inputs) {
  const int threads = ThreadsOf(config);
  const auto plan_for = [&](int64_t sites) {
    config.federation.sites_at_once = sites;
    MemoryPlan plan = PlanMemory(config, inputs);
    NoteAvailable(threads, plan);
    return plan;
  };
  if (!config.sites_at_once_auto) return plan_for(config.federation.sites_at_once);
  constexpr double kMargin = 1.15;  // the plan may be so much too low
  const int64_t most = std::min<int64_t>(threads, static_cast<int64_t>(config.sites.size()));
  for (int64_t sites = most; sites > 1; --sites) {
    if (sites < most && threads % sites != 0) continue;
    const MemoryPlan plan = plan_for(sites);
    if (kMargin * static_cast<double>(plan.total()) <= static_cast<double>(plan.available)) return plan;
  }
  return plan_for(1);
}

/// `token_rows`: of the embedding that tokens can reach; 0: all.
StatusOr<MemoryPlan> PlanFor(RunConfig config, const WorkSizes& work, int64_t token_rows) {
  const CudaReport cuda = DescribeCuda();
  ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(config.device, cuda));
  MemoryInputs inputs;
  inputs.work = work;
  ASSIGN_OR_RETURN(inputs.model, ReadModelConfig(config.model));
  ASSIGN_OR_RETURN(inputs.dtype, DecideDtype(config, device));
  ASSIGN_OR_RETURN(const auto files, TensorFiles::OpenModelDirectory(config.model));
  inputs.weights = WeightsOf(*files, inputs.model, inputs.dtype,
                             token_rows > 0 ? std::min(token_rows, inputs.model.vocab_size) : inputs.model.vocab_size);
  if (device.is_cpu()) {
    inputs.program = HeldByProgram();
    return PlanWithMostSites(std::move(config), inputs);
  }
  if (config.sites_at_once_auto) config.federation.sites_at_once = 1;
  constexpr int64_t kDeviceLibraries = 600'000'000;  // the context and workspaces of BLAS; an estimate
  inputs.program = kDeviceLibraries;
  inputs.weights = {.mapped = 0, .converted = inputs.weights.mapped + inputs.weights.converted, .stored = 0};
  MemoryPlan plan = PlanMemory(config, inputs);
  plan.available = cuda.memory_bytes;
  return plan;
}

}  // namespace

StatusOr<MemoryPlan> PlanMemoryBefore(const RunConfig& config) {
  return PlanFor(config, LargestWork(config), 0);
}

StatusOr<MemoryPlan> PlanMemoryOf(const LoadedRun& run) {
  return PlanFor(run.config, run.work, run.tokenizer->vocab_size());
}

Status CheckMemoryBefore(const RunConfig& config) {
  ASSIGN_OR_RETURN(const MemoryPlan plan, PlanMemoryBefore(config));
  return CheckMemory(plan, /*exact=*/false);
}

StatusOr<LoadedRun> PrepareLoading(const RunConfig& config) {
  LoadedRun run;
  run.config = config;
  ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(config.device, DescribeCuda()));
  run.config.device = device.is_cpu() ? "cpu" : "cuda";
  PrepareDevice(device);
  ASSIGN_OR_RETURN(const ModelConfig model, ReadModelConfig(config.model));
  ASSIGN_OR_RETURN(const MemoryPlan plan, PlanMemoryBefore(config));
  RETURN_IF_ERROR(CheckMemory(plan, /*exact=*/false));
  if (plan.available > 0 && plan.total() > plan.available)
    run.notes.push_back(absl::StrCat("memory may be short: up to ", Gigabytes(plan.total()), " with batches of max_length, ",
                                     Gigabytes(plan.available),
                                     " available; lower train.batch_size (and raise train.accumulate) if it runs out"));
  ASSIGN_OR_RETURN(const std::string rank, RankBeyondWidth(config));
  if (!rank.empty()) run.notes.push_back(rank);
  at::set_num_threads(ThreadsOf(config));
  ASSIGN_OR_RETURN(const at::ScalarType dtype, DecideDtype(config, device));
  run.config.dtype = dtype == at::kBFloat16 ? "bfloat16" : "float32";
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

Status LoadWeights(LoadedRun& run) {
  ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(run.config.device, DescribeCuda()));
  const at::ScalarType dtype = run.config.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  ASSIGN_OR_RETURN(run.model, Transformer::Load(run.config.model, {dtype, device}));
  ASSIGN_OR_RETURN(const auto files, TensorFiles::OpenModelDirectory(run.config.model));
  if (const std::string note = NoteOfUnusedTensors(*run.model, *files); !note.empty())
    run.notes.push_back(absl::StrCat(run.config.model.string(), ": ", note));
  return absl::OkStatus();
}

StatusOr<LoadedRun> LoadModel(const RunConfig& config) {
  ASSIGN_OR_RETURN(LoadedRun run, PrepareLoading(config));
  RETURN_IF_ERROR(LoadWeights(run));
  return run;
}

Status LoadAll(LoadedRun& run) {
  RETURN_IF_ERROR(LoadSites(run));
  ASSIGN_OR_RETURN(run.plan, PlanMemoryOf(run));
  RETURN_IF_ERROR(CheckMemory(run.plan, /*exact=*/true));
  run.config.federation.sites_at_once = run.plan.sites_at_once;
  return LoadWeights(run);
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
