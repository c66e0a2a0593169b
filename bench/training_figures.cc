// Training: how much of what the machine can do arrives in the frozen base, what the adapters cost, and the usual way of writing
// it.
#include <ATen/Parallel.h>

#include <string>

#include "base/check.h"
#include "data/packed_batch.h"
#include "figures.h"
#include "measure.h"
#include "model/tensor_memory.h"
#include "peft_style.h"
#include "synthetic.h"
#include "timed_training.h"
#include "train/response_loss.h"
#include "train/trainer.h"

namespace fedalt::bench {
namespace {

struct Setup {
  Geometry geometry;
  Load load;
  int steps;
  std::shared_ptr<const Transformer> model;
  std::vector<TokenizedExample> examples;

  Setup(const Geometry& full, at::ScalarType dtype, bool quick)
      : geometry(quick ? kGeometryTiny : full),
        load(quick ? kLoadTiny : kLoadTraining),
        steps(quick ? 2 : 9),
        model(RandomModel(geometry, dtype)),
        examples(RandomExamples(geometry, load)) {}
};

/// The probe is a product of the gate's shape; it runs before and after each step.
template <typename Step>
Timing Alternate(const Setup& setup, int steps, const Step& step) {
  const ProductProbe probe(setup.load.sequences * setup.load.length, setup.geometry.hidden, setup.geometry.intermediate,
                           setup.model->dtype());
  step();  // allocates
  const double flops = NecessaryFlops(setup.geometry, setup.load);
  std::vector<double> seconds, shares;
  double before = probe.Rate();
  for (int i = 0; i < steps; ++i) {
    seconds.push_back(SecondsOf(step));
    const double after = probe.Rate();
    shares.push_back(flops / seconds.back() / ((before + after) / 2));
    before = after;
  }
  return {Median(seconds), Median(shares)};
}

Timing TrainFedalt(const Setup& setup) {
  const auto adapters = SomeAdapters(*setup.model);
  return TimeTraining({*setup.model, setup.geometry, setup.load, setup.steps}, *adapters);
}

/// The frozen base, forward and backward. The first norm asks for a gradient, so that the backward runs through all layers.
Timing TrainBaseAlone(const Setup& setup) {
  std::vector<const TokenizedExample*> pointers;
  for (const TokenizedExample& example : setup.examples) pointers.push_back(&example);
  const PackedBatch batch = PackExamples(pointers);
  std::vector<at::Tensor> first_norm;
  for (auto& [name, tensor] : setup.model->parameters())
    if (name == "model.layers.0.post_attention_layernorm.weight") first_norm.push_back(tensor);
  FEDALT_CHECK(first_norm.size() == 1, "the model has one such norm");
  return Alternate(setup, setup.steps, [&] {
    const at::AutoGradMode with_gradients(true);
    first_norm[0].requires_grad_(true);
    std::vector<at::Tensor> gradients(1);
    ForwardBackward(*setup.model, batch, {}, 1.0, first_norm, gradients);
    first_norm[0].requires_grad_(false);
  });
}

double TrainShare(const Geometry& geometry, at::ScalarType dtype, bool quick) {
  KeepTensorMemory();
  const Setup setup(geometry, dtype, quick);
  return TrainFedalt(setup).share;
}

double AdapterOverhead(bool quick) {
  KeepTensorMemory();
  const Setup setup(kGeometryS, at::kBFloat16, quick);
  return TrainBaseAlone(setup).share / TrainFedalt(setup).share - 1.0;
}

/// libtorch's allocator as it comes for the peer, ours afterwards; each side against its own probe, so the turns may be long.
double SpeedupSameType(bool quick) {
  const Setup setup(kGeometryS, at::kBFloat16, quick);
  PeftStyleModel peer(setup.geometry, *setup.model, *SomeAdapters(*setup.model));
  const Timing theirs = Alternate(setup, setup.steps, [&] { peer.Step(setup.examples); });
  KeepTensorMemory();
  return TrainFedalt(setup).share / theirs.share;
}

double SpeedupOverFloat32(bool quick) {
  double theirs = 0.0;
  {
    const Setup setup(kGeometryS, at::kFloat, quick);
    PeftStyleModel peer(setup.geometry, *setup.model, *SomeAdapters(*setup.model));
    theirs = Alternate(setup, setup.steps, [&] { peer.Step(setup.examples); }).seconds;
  }
  KeepTensorMemory();
  return theirs / TrainFedalt(Setup(kGeometryS, at::kBFloat16, quick)).seconds;
}

double PeakMegabytes(const Geometry& geometry, bool quick) {
  KeepTensorMemory();
  Setup setup(geometry, at::kBFloat16, quick);
  setup.steps = 2;
  const auto adapters = SomeAdapters(*setup.model);
  TrainState state;
  const TrainOptions options{.steps = setup.steps, .batch_size = setup.load.sequences};
  const auto report = TrainLocalPass(*setup.model, *adapters, setup.examples, options, {}, state, {});
  FEDALT_CHECK(report.ok(), std::string(report.status().message()));
  return PeakBytes() / 1e6;
}

constexpr char kShareHow[] =
    "8 x 256 tokens, FedALT r 8 on q and v, AdamW, dropout 0.05, loss on every token; necessary operations per second of a "
    "training "
    "step over the rate of a product of the gate's shape just before and after it";
constexpr char kPeakHow[] = "largest resident memory of a process that makes the model and trains two steps of 8 x 256 tokens";

}  // namespace

std::vector<FigureDefinition> TrainingFigures() {
  return {
      {"train_share_S_bf16", "share", kShareHow, true, [](bool quick) { return TrainShare(kGeometryS, at::kBFloat16, quick); }},
      {"train_share_M_bf16", "share", kShareHow, true, [](bool quick) { return TrainShare(kGeometryM, at::kBFloat16, quick); }},
      {"train_share_S_f32", "share", kShareHow, false, [](bool quick) { return TrainShare(kGeometryS, at::kFloat, quick); }},
      {"train_share_M_f32", "share", kShareHow, false, [](bool quick) { return TrainShare(kGeometryM, at::kFloat, quick); }},
      {"adapter_overhead_S_bf16", "share",
       "time of a training step over that of forward and backward through the fused frozen base alone, less 1; each against its "
       "probe",
       true, AdapterOverhead},
      {"speedup_vs_peft_style_S_bf16", "ratio",
       "a step written with tensor operations and autograd as PEFT does, libtorch's allocator as it comes, over ours; both "
       "bfloat16, each "
       "against its probe",
       true, SpeedupSameType},
      {"speedup_bf16_vs_peft_style_S_f32", "ratio", "the same in float32, over ours in bfloat16: median seconds of a step", true,
       SpeedupOverFloat32},
      {"peak_mb_S_bf16", "MB", kPeakHow, true, [](bool quick) { return PeakMegabytes(kGeometryS, quick); }},
      {"peak_mb_M_bf16", "MB", kPeakHow, true, [](bool quick) { return PeakMegabytes(kGeometryM, quick); }},
  };
}

}  // namespace fedalt::bench
