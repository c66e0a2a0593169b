// Loading model and data of a run, with every check that can be made before the work begins.
#include <ATen/Parallel.h>

#include <algorithm>

#include "base/log.h"
#include "base/machine.h"
#include "model/device.h"
#include "model/safetensors.h"
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

/// Parameters of the adapters of one site: A and B of every adapted linear, both branches.
int64_t AdapterParameters(const RunConfig& config, const ModelConfig& model) {
  const bool all = std::find(config.federation.adapter.target_modules.begin(), config.federation.adapter.target_modules.end(),
                             "all-linear") != config.federation.adapter.target_modules.end();
  const int64_t d = model.hidden_size, ffn = model.intermediate_size;
  const int64_t per_layer =
      all ? 4 * 2 * d + 3 * (d + ffn) : static_cast<int64_t>(config.federation.adapter.target_modules.size()) * 2 * d;
  return 2 * model.num_layers * per_layer * config.federation.adapter.r;
}

std::string Gigabytes(int64_t bytes) {
  return absl::StrFormat("%.1f GB", static_cast<double>(bytes) / 1e9);
}

}  // namespace

StatusOr<MemoryPlan> PlanMemory(const RunConfig& given) {
  RunConfig config = given;
  ASSIGN_OR_RETURN(const ModelConfig model, ReadModelConfig(config.model));
  const CudaReport cuda = DescribeCuda();
  ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(config.device, cuda));
  ASSIGN_OR_RETURN(const at::ScalarType dtype, DecideDtype(config, device));
  DecideSitesAtOnce(config, model, device);
  const auto bytes = static_cast<int64_t>(c10::elementSize(dtype));
  MemoryPlan plan;
  plan.base = ParameterCount(model) * bytes;
  const int64_t tokens = config.federation.train.batch_size * config.max_length;
  // Per token and layer: about ten activations of d, four of ffn, and the adapters' float32 inputs; logits in float32 on every
  // token at worst.
  const int64_t per_layer = (10 * model.hidden_size + 4 * model.intermediate_size) * bytes + 4 * model.hidden_size * 4;
  plan.activations = config.federation.sites_at_once * tokens * (model.num_layers * per_layer + 2 * model.vocab_size * 4);
  // Of a site at work both branches, the individual's gradient and two moments, and what it sends: about four times the pair. While
  // contributions are summed no site is at work: the int64 values, what is published and those that are added together are less.
  plan.adapters = (config.federation.sites_at_once * 4 + 2) * AdapterParameters(config, model) * 4;
  plan.program = 200'000'000;
  plan.total = plan.base + plan.activations + plan.adapters + plan.program;
  plan.available = device.is_cpu() ? DescribeMachine().memory_available_bytes : cuda.memory_bytes;
  return plan;
}

StatusOr<LoadedRun> LoadModel(const RunConfig& config) {
  LoadedRun run;
  run.config = config;
  ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(config.device, DescribeCuda()));
  run.config.device = device.is_cpu() ? "cpu" : "cuda";
  PrepareDevice(device);
  ASSIGN_OR_RETURN(const ModelConfig model, ReadModelConfig(config.model));
  ASSIGN_OR_RETURN(const MemoryPlan plan, PlanMemory(config));
  // Only weights and adapters are certain to be needed in full; activations are an upper bound.
  const int64_t certain = plan.base + plan.adapters + plan.program;
  if (plan.available > 0 && certain > plan.available)
    return MemoryError(absl::StrCat("this run needs ", Gigabytes(plan.total), " of memory (weights ", Gigabytes(plan.base),
                                    ", adapters of the sites at work ", Gigabytes(plan.adapters), ", activations up to ",
                                    Gigabytes(plan.activations), ") and ", Gigabytes(plan.available),
                                    " are available; use a smaller model, train.dtype bfloat16, or a larger machine"));
  if (plan.available > 0 && plan.total > plan.available)
    run.notes.push_back(absl::StrCat("memory may be short: up to ", Gigabytes(plan.total), " with batches of max_length, ",
                                     Gigabytes(plan.available),
                                     " available; lower train.batch_size (and raise train.accumulate) if it runs out"));
  DecideSitesAtOnce(run.config, model, device);
  at::set_num_threads(ThreadsOf(config));
  ASSIGN_OR_RETURN(const at::ScalarType dtype, DecideDtype(config, device));
  run.config.dtype = dtype == at::kBFloat16 ? "bfloat16" : "float32";
  ASSIGN_OR_RETURN(run.model, Transformer::Load(config.model, {dtype, device}));
  ASSIGN_OR_RETURN(run.tokenizer, Tokenizer::Load(config.model));
  if (run.tokenizer->vocab_size() > model.vocab_size)
    return ModelError(absl::StrCat(config.model.string(), ": the tokenizer has ", run.tokenizer->vocab_size(),
                                   " ids, but the model's vocabulary has ", model.vocab_size, "; they do not belong together"));
  // Generation stops at what the model or its tokenizer calls the end.
  auto& eos = run.config.federation.eval.options.generate.eos_ids;
  eos = model.eos_token_ids;
  if (const auto id = run.tokenizer->eos_id(); id && std::find(eos.begin(), eos.end(), *id) == eos.end()) eos.push_back(*id);
  return run;
}

Status LoadSites(LoadedRun& run) {
  run.config.federation.eval.options.max_length = run.config.max_length;
  ASSIGN_OR_RETURN(run.sites, SiteFilesSource::Open(run.config, run.tokenizer, run.notes));
  return absl::OkStatus();
}

}  // namespace fedalt
