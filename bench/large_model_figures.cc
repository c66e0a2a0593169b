// A model of LLaMA-2-7B's geometry: 13.5 GB of bfloat16 weights, mapped from files as `fedalt run` maps them.
#include <cstdio>
#include <string>

#include "base/check.h"
#include "base/machine.h"
#include "figures.h"
#include "measure.h"
#include "model/generate.h"
#include "model/tensor_memory.h"
#include "scratch.h"
#include "synthetic.h"
#include "timed_training.h"
#include "train/trainer.h"

namespace fedalt::bench {
namespace {

constexpr Load kLoad{2, 256};
constexpr double kFailed = -1.0;

struct LargeModel {
  Geometry geometry;
  Load load;
  std::shared_ptr<const Transformer> model;
  std::unique_ptr<SiteAdapters> adapters;
};

/// Loads the invocation's model, and writes it first if no figure has done so. No model: the disk is too small, which was said.
LargeModel Prepare(bool quick) {
  KeepTensorMemory();
  LargeModel large{quick ? kGeometryTiny : kGeometry7B, quick ? kLoadTiny : kLoad, nullptr, nullptr};
  const std::filesystem::path directory = Scratch() / "large-model", unfinished = Scratch() / "large-model.part";
  if (!std::filesystem::exists(directory)) {
    const double needed = 2.0 * static_cast<double>(large.geometry.Parameters()) + (quick ? 0.0 : 1e9);
    const auto free = FreeDiskBytes(Scratch());
    if (!free.ok() || static_cast<double>(*free) < needed) {
      std::fprintf(stderr, "the weights need %.1f GB in %s and %.1f GB are free; give --out, or TMPDIR, on a larger disk\n",
                   needed / 1e9, Scratch().c_str(), free.ok() ? static_cast<double>(*free) / 1e9 : 0.0);
      return large;
    }
    WriteModelDirectory(large.geometry, at::kBFloat16, unfinished);
    std::filesystem::rename(unfinished, directory);
  }
  auto model = Transformer::Load(directory, {at::kBFloat16});
  FEDALT_CHECK(model.ok(), std::string(model.status().message()));
  large.model = *model;
  large.adapters = SomeAdapters(*large.model);
  return large;
}

/// The model must also be of use: a prompt and sixteen tokens.
void GenerateSome(const LargeModel& large) {
  constexpr int64_t kPrompt = 16, kTokens = 16;
  const std::vector<std::vector<int32_t>> prompts = {RandomExamples(large.geometry, {1, kPrompt - 1})[0].tokens};
  const ForwardContext context{.extensions = &large.adapters->extensions()};
  const double seconds = SecondsOf([&] {
    const auto texts = Generate(*large.model, prompts, {.max_new_tokens = kTokens, .batch_size = 1}, context);
    FEDALT_CHECK(texts.ok() && static_cast<int64_t>((*texts)[0].size()) == kTokens, "there is no end-of-text token");
  });
  std::fprintf(stderr, "generation of %d tokens after a prompt of %d: %.3f s a token\n", static_cast<int>(kTokens),
               static_cast<int>(kPrompt), seconds / static_cast<double>(kTokens));
}

double StepShare(bool quick) {
  const LargeModel large = Prepare(quick);
  if (large.model == nullptr) return kFailed;
  const Timing timing = TimeTraining({*large.model, large.geometry, large.load, 1, quick ? 0.02 : 2.0}, *large.adapters);
  std::fprintf(stderr, "training step: %.3f s\n", timing.seconds);
  GenerateSome(large);
  return timing.share;
}

double PeakGigabytes(bool quick) {
  const LargeModel large = Prepare(quick);
  if (large.model == nullptr) return kFailed;
  TrainState state;
  const auto report = TrainLocalPass(*large.model, *large.adapters, RandomExamples(large.geometry, large.load),
                                     {.steps = 2, .batch_size = large.load.sequences}, {}, state, {});
  FEDALT_CHECK(report.ok(), std::string(report.status().message()));
  GenerateSome(large);
  return PeakBytes() / 1e9;
}

}  // namespace

std::vector<FigureDefinition> LargeModelFigures() {
  return {{"step_7b_share", "share",
           "LLaMA-2-7B's geometry, random bfloat16 weights mapped from files; 2 x 256 tokens, FedALT r 8 on q and v, loss on every "
           "token. The first step, which reads the files in, warms up; necessary operations per second of the second over the rate "
           "of a product of the gate's shape in the two seconds before and after it. 16 tokens of generation follow",
           true, StepShare},
          {"step_7b_peak_gb", "GB",
           "largest resident memory of a process that maps this model, trains two steps and generates 16 tokens; mapped pages of "
           "the weights included",
           true, PeakGigabytes}};
}

}  // namespace fedalt::bench
