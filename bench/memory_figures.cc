// The plan of memory against what real runs take.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"
#include "base/file.h"
#include "figures.h"
#include "real_run.h"

namespace fedalt::bench {
namespace {

namespace fs = std::filesystem;

/// What the run said it would need.
double PlannedBytes(const fs::path& folder) {
  const std::string log = ReadFile(folder / "run" / "log.txt", ErrorKind::kInternal).value_or("");
  constexpr char kBefore[] = "expects a peak of ";
  const size_t at = log.find(kBefore);
  FEDALT_CHECK(at != log.npos, "a run states its plan");
  return 1e6 * std::atof(log.c_str() + at + sizeof(kBefore) - 1);
}

constexpr char kTraining[] =
    "train: {rounds: 1, local_epochs: 1, batch_size: 8, max_length: 512}\n"
    "eval: {generate: false, batch_size: 4, ablations: 'off'}\n";
constexpr char kLargeAdapters[] =
    "train: {rounds: 2, local_epochs: 1, batch_size: 4, max_length: 512}\n"
    "adapter: {r: 64, target_modules: all-linear}\n"
    "eval: {every: 0, generate: false, ablations: 'off'}\n";
constexpr char kLosses[] =
    "train: {rounds: 1, steps: 1, batch_size: 1, max_length: 512}\n"
    "eval: {generate: false, batch_size: 32, ablations: 'off'}\n";
constexpr char kGeneration[] =
    "train: {rounds: 1, steps: 1, batch_size: 1, max_length: 512}\n"
    "eval: {beams: 4, max_new_tokens: 24, batch_size: 32, ablations: 'off'}\n";
constexpr char kTwoAtOnce[] =
    "sites_at_once: 2\n"
    "adapter: {target_modules: all-linear}\n"
    "train: {rounds: 2, local_epochs: 1, batch_size: 8, max_length: 512}\n"
    "eval: {generate: false, batch_size: 4, ablations: 'off'}\n";

std::vector<RealRun> Cases(bool quick) {
  if (quick) return {{"quick", kGeometryQuick, at::kFloat, 2, 4, 20, kTraining}};
  const Geometry &s = kGeometryS, &little = kGeometryQuick;
  return {{"S_bf16_training_1_site", s, at::kBFloat16, 1, 16, 200, kTraining},
          {"S_f32_training_1_site", s, at::kFloat, 1, 16, 200, kTraining},
          {"S_bf16_large_adapters_8_sites", s, at::kBFloat16, 8, 4, 150, kLargeAdapters},
          {"S_f32_losses_1_site", s, at::kFloat, 1, 32, 200, kLosses},
          {"S_bf16_generation_1_site", s, at::kBFloat16, 1, 32, 200, kGeneration},
          {"S_f32_generation_1_site", s, at::kFloat, 1, 32, 200, kGeneration},
          {"S_bf16_training_200_sites", s, at::kBFloat16, 200, 1, 40, kTraining},
          {"smol_bf16_2_sites_at_once", kGeometrySmol, at::kBFloat16, 2, 16, 200, kTwoAtOnce},
          {"S_f32_2_of_4_sites_at_once", s, at::kFloat, 4, 16, 200, kTwoAtOnce},
          {"little_f32_8_sites", little, at::kFloat, 8, 16, 200, kTraining},
          {"little_f32_200_sites", little, at::kFloat, 200, 16, 100, kTraining},
          {"little_bf16_generation_8_sites", little, at::kBFloat16, 8, 32, 200, kGeneration}};
}

double PlanError(bool quick) {
  double worst = 0.0;
  for (const RealRun& what : Cases(quick)) {
    const fs::path folder = PrepareRealRun(what);
    const double measured = ExecuteRealRun(folder, what.dtype).peak_bytes, planned = PlannedBytes(folder),
                 error = (planned - measured) / measured;
    std::fprintf(stderr, "%-32s planned %5.0f MB, measured %5.0f MB, %+.0f %%\n", what.name, planned / 1e6, measured / 1e6,
                 100 * error);
    worst = std::max(worst, std::abs(error));
    fs::remove_all(folder);
  }
  return worst;
}

}  // namespace

std::vector<FigureDefinition> MemoryFigures() {
  return {{"memory_plan_error", "share",
           "|planned - measured| / measured, the worst of twelve `fedalt run`: geometry S, that of SmolLM2-135M and a tiny model, "
           "bfloat16 and float32; 1, 8 "
           "and 200 sites, also two at once; the peak in training (batches of 8 examples of 150 to 300 tokens), in losses and "
           "generation (32 of them), "
           "and with adapters of rank 64 on all linears; planned: what the run's log says at its start; measured: its greatest "
           "resident memory",
           true, PlanError}};
}

}  // namespace fedalt::bench
