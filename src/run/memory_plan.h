// What a run holds in memory at its peak, from the model's shape, the configuration and, once it is tokenized, the data.
//
// The model. Some things are held all the time: the program with its libraries, tokenizer and data; the weights; the adapters of
// the sites at work (all other sites are on disk). On top of them each phase of a run has its own, and phases follow one another,
// so the peak is the greatest of them and not their sum:
//
//   loading     only if weights are copied (another type, stacked linears): files and copies exist side by side until all are made
//   training    per site at work: what the backward needs of every layer, the greatest buffer that passes (a piece of logits, or
//               the gradients inside one layer), gradients and moments of what is trained; and the sum that was published last
//   evaluation  per site at work: one layer's activations of a batch; in generation also keys and values of all its tokens
//   exchange    the sum on its grid, the published sum, contributions on their way
//
// Counted are the tensors that the code makes: what a layer saves stands in one place, SavedPerToken. What libraries and allocator
// take (HeldByProgram, kHoles) is measured, not counted; the figure memory_plan_error shows how well. Pure functions, except
// for HeldByProgram, NoteAvailable and PeakResident; nothing is allocated or loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/machine.h"
#include "model/hf_config.h"
#include "model/safetensors.h"
#include "run/run_config.h"
#include "run/work_sizes.h"

namespace fedalt {

/// Holes that the allocator leaves between the tensors of a phase, in the widest of them: 2.3 to 3.3 measured, up to 5 where
/// batches of several sizes follow one another.
inline constexpr int64_t kHoles = 3;

/// Weights in bytes, as they lie in the files and as they are computed with.
struct WeightBytes {
  int64_t mapped = 0;     ///< stay pages of the files
  int64_t converted = 0;  ///< copies: in another type, or one behind the other (model/linear.h)
  int64_t stored = 0;     ///< what those copies are made from
};
/// `token_rows`: rows of the embedding that tokens can reach (the tokenizer's vocabulary); the rest of a mapped one is never read.
WeightBytes WeightsOf(const TensorFiles& files, const ModelConfig& model, at::ScalarType dtype, int64_t token_rows);

struct MemoryInputs {
  ModelConfig model;
  at::ScalarType dtype = at::kFloat;
  WeightBytes weights;
  WorkSizes work;
  int64_t program = 0;  ///< resident without weights, sites and activations; see HeldByProgram
};

/// Bytes. The first three are held all the time, one of the others on top of them.
struct MemoryPlan {
  int64_t program = 0;   ///< libraries, tokenizer, data
  int64_t base = 0;      ///< weights in the compute dtype
  int64_t adapters = 0;  ///< of the sites at work
  int64_t loading = 0;
  int64_t training = 0;
  int64_t evaluation = 0;
  int64_t exchange = 0;
  int64_t mapped = 0;                         ///< what of `base` stays pages of files
  int64_t available = 0;                      ///< what there is for all of it, on the device of the run; 0: unknown
  MemoryBound bound = MemoryBound::kMachine;  ///< what decides how much there is
  int64_t sites_at_once = 1;                  ///< for so many

  int64_t certain() const { return program + base + adapters; }
  int64_t activations() const;  ///< the greatest phase
  int64_t total() const { return certain() + activations(); }
  const char* greatest_phase() const;
};

/// `config`: sites_at_once and dtype are decided. `available` is left open.
MemoryPlan PlanMemory(const RunConfig& config, const MemoryInputs& inputs);
/// Fills in what this process has on the CPU, what it holds already included: the least of the machine's memory, the container's
/// limit and the limits of the process. `threads`: that will be started.
void NoteAvailable(int threads, MemoryPlan& plan);
/// kMemory, in one sentence, if the plan does not fit. `exact`: batches are those of the data; else they are an upper bound and do
/// not count. They do not count either where only other processes stand in the way, which may end.
Status CheckMemory(const MemoryPlan& plan, bool exact);

/// Bytes per token that one layer keeps for the backward. `layer`: its number, for targets that name single layers.
/// `first_adapted`: nothing before the first adapted layer needs a gradient, so it does not keep its own input.
int64_t SavedPerToken(const ModelConfig& model, const AdapterConfig& adapter, int64_t layer, at::ScalarType dtype,
                      bool first_adapted);

/// Parameters of one site's pair (A, B), and of its mixer.
struct AdapterSize {
  int64_t pair = 0, mixer = 0;
  int64_t linears = 0;  ///< entries of the adapted linears themselves
};
AdapterSize AdapterSizeOf(const ModelConfig& model, const AdapterConfig& adapter, bool has_rest_of_world);

/// What this process holds now, no weights being loaded, and the code that comes in once it computes.
int64_t HeldByProgram();
/// Greatest resident memory of this process so far.
int64_t PeakResident();

}  // namespace fedalt
