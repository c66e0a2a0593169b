#include "run/memory_plan.h"

#include <absl/strings/match.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/machine.h"
#include "data/packed_batch.h"
#include "fed/method.h"

namespace fedalt {
namespace {

// What libraries take beside the tensors; an estimate.
constexpr int64_t kLibrariesAtWork = 60'000'000;     ///< code and tables that come in with the first products, buffers of BLAS
constexpr int64_t kFloat = 4;                        ///< adapters and their arithmetic, whatever the base computes in
constexpr int64_t kLogitsBytes = int64_t{32} << 20;  ///< of one piece, as in train/response_loss.cc

struct LinearShape {
  std::string name;
  int64_t in = 0, out = 0;
  enum Input { kFirstNorm, kAttended, kSecondNorm, kActivated } input = kFirstNorm;
};

/// The linears of one layer, under the names that Transformer gives them.
std::vector<LinearShape> LinearsOf(const ModelConfig& m, int64_t layer) {
  const int64_t d = m.hidden_size, q = m.num_heads * m.head_dim, kv = m.num_kv_heads * m.head_dim, f = m.intermediate_size;
  using Shape = LinearShape;
  if (m.family == ModelFamily::kBloom) {
    const std::string prefix = absl::StrCat("transformer.h.", layer, ".");
    return {{prefix + "self_attention.query_key_value", d, 3 * d, Shape::kFirstNorm},
            {prefix + "self_attention.dense", d, d, Shape::kAttended},
            {prefix + "mlp.dense_h_to_4h", d, f, Shape::kSecondNorm},
            {prefix + "mlp.dense_4h_to_h", f, d, Shape::kActivated}};
  }
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  return {{prefix + "self_attn.q_proj", d, q, Shape::kFirstNorm},  {prefix + "self_attn.k_proj", d, kv, Shape::kFirstNorm},
          {prefix + "self_attn.v_proj", d, kv, Shape::kFirstNorm}, {prefix + "self_attn.o_proj", q, d, Shape::kAttended},
          {prefix + "mlp.gate_proj", d, f, Shape::kSecondNorm},    {prefix + "mlp.up_proj", d, f, Shape::kSecondNorm},
          {prefix + "mlp.down_proj", f, d, Shape::kActivated}};
}

/// Those of them that carry adapters, by the rule of FindAdaptedModules.
std::vector<LinearShape> AdaptedOf(const ModelConfig& model, const AdapterConfig& adapter, int64_t layer) {
  std::vector<LinearShape> adapted;
  for (LinearShape& linear : LinearsOf(model, layer)) {
    const bool wanted = std::any_of(adapter.target_modules.begin(), adapter.target_modules.end(), [&](const std::string& target) {
      return target == "all-linear" || linear.name == target || absl::EndsWith(linear.name, absl::StrCat(".", target));
    });
    if (wanted) adapted.push_back(std::move(linear));
  }
  return adapted;
}

int64_t ElementBytes(at::ScalarType dtype) {
  return static_cast<int64_t>(c10::elementSize(dtype));
}

/// Copies of the stacked factors that the backward of one layer keeps: (2 r + 1, in) and (out, 2 r).
int64_t StackedFactors(const std::vector<LinearShape>& adapted, int64_t r) {
  int64_t bytes = 0;
  for (const LinearShape& linear : adapted) bytes += kFloat * ((2 * r + 1) * linear.in + 2 * r * linear.out);
  return bytes;
}

/// Pieces of logits and what is made from them, at the greatest.
int64_t HeadBytes(const ModelConfig& model, int64_t rows, int64_t bytes, bool backward) {
  const int64_t piece = std::min(rows, std::clamp<int64_t>(kLogitsBytes / (kFloat * model.vocab_size), 16, 2048));
  // Logits, in float32 once more where the base is bfloat16; log-probabilities; in the backward their gradient in the base's type.
  const int64_t per_entry = bytes + (bytes < kFloat ? kFloat : 0) + kFloat + (backward && bytes < kFloat ? bytes : 0);
  return piece * model.vocab_size * per_entry;
}

/// The greatest moment inside the backward of the last layer, per token: everything of all layers is still held then.
int64_t BackwardPerToken(const ModelConfig& m, const std::vector<LinearShape>& adapted, int64_t bytes) {
  const int64_t gate_and_up = (m.family == ModelFamily::kBloom ? 1 : 2) * m.intermediate_size;
  int64_t greatest = bytes * (m.hidden_size + m.intermediate_size + gate_and_up);
  for (const LinearShape& linear : adapted) {
    // In float32: the gradient at the output, what comes back through A, the input; and the gradient at the input.
    int64_t here = kFloat * (linear.out + 2 * linear.in) + bytes * (linear.in + m.hidden_size);
    const bool mlp_is_gone = linear.input == LinearShape::kFirstNorm || linear.input == LinearShape::kAttended;
    if (mlp_is_gone) here -= bytes * gate_and_up;
    greatest = std::max(greatest, here);
  }
  return greatest;
}

/// One layer without gradients, per token: the wider of attention and MLP.
int64_t ForwardPerToken(const ModelConfig& m, const std::vector<LinearShape>& adapted, int64_t bytes) {
  const int64_t q = m.num_heads * m.head_dim, kv = m.num_kv_heads * m.head_dim;
  int64_t greatest = bytes * std::max(2 * m.hidden_size + 2 * q + 2 * kv, 2 * m.hidden_size + 3 * m.intermediate_size);
  for (const LinearShape& linear : adapted)
    greatest = std::max(greatest, bytes * (2 * m.hidden_size + q + 2 * kv) + kFloat * (linear.in + linear.out));
  return greatest;
}

int64_t TrainingBytes(const RunConfig& config, const MemoryInputs& inputs, const AdapterSize& size) {
  const ModelConfig& model = inputs.model;
  const AdapterConfig& adapter = config.federation.adapter;
  const int64_t bytes = ElementBytes(inputs.dtype), tokens = inputs.work.train_tokens;
  int64_t saved = 0;
  for (int64_t layer = 0; layer < model.num_layers; ++layer)
    saved +=
        tokens * SavedPerToken(model, adapter, layer, inputs.dtype) + StackedFactors(AdaptedOf(model, adapter, layer), adapter.r);
  // Final norm: its input and output; the rows with a loss, and their gradient.
  const int64_t head_rows = bytes * model.hidden_size * (2 * tokens + 2 * inputs.work.train_responses);
  const int64_t passing = std::max(HeadBytes(model, inputs.work.train_responses, bytes, true),
                                   tokens * BackwardPerToken(model, AdaptedOf(model, adapter, model.num_layers - 1), bytes));
  return saved + head_rows + passing + kFloat * (size.pair + size.mixer);
}

int64_t EvaluationBytes(const RunConfig& config, const MemoryInputs& inputs) {
  const ModelConfig& model = inputs.model;
  const int64_t bytes = ElementBytes(inputs.dtype);
  const int64_t per_token = ForwardPerToken(model, AdaptedOf(model, config.federation.adapter, 0), bytes);
  const WorkSizes& work = inputs.work;
  const int64_t loss = work.loss_tokens * per_token + bytes * model.hidden_size * work.loss_responses +
                       HeadBytes(model, work.loss_responses, bytes, false);
  const int64_t cache = 2 * bytes * model.num_layers * model.num_kv_heads * model.head_dim * work.cached_tokens;
  const int64_t sequences = work.prompts * config.federation.eval.options.generate.beams;
  const int64_t generation = cache + std::max(work.prompt_tokens * per_token, sequences * model.vocab_size * (bytes + 2 * kFloat));
  return std::max(loss, work.prompts > 0 ? generation : 0);
}

int64_t Read(const TokenizedExample& example) {
  return static_cast<int64_t>(example.tokens.size()) - 1;  // the last is predicted but never read
}
int64_t Responses(const TokenizedExample& example) {
  return static_cast<int64_t>(example.tokens.size()) - example.response_begin;
}

using Examples = std::vector<const TokenizedExample*>;

/// The batches that TrainLocalPass will draw, in all rounds that a run of usual length has.
void NoteTrainBatches(const FederationOptions& federation, const Examples& examples, uint64_t site, int64_t scale,
                      WorkSizes& work) {
  constexpr int64_t kEnoughDraws = 20'000'000;  // examples; a run that draws more has met its largest batches, or nearly
  int64_t draws = 0;
  for (int64_t round = 1; round <= federation.rounds && draws < kEnoughDraws && !examples.empty(); ++round) {
    const TrainOptions& train = federation.train;
    const int64_t steps =
        scale * (federation.round_steps.empty() ? train.steps : federation.round_steps[static_cast<size_t>(round - 1)]);
    const BatchPlan plan{federation.seed, site, static_cast<uint64_t>(round), train.local_epochs, steps * train.accumulate,
                         train.batch_size};
    for (const std::vector<int64_t>& batch : PlanBatches(static_cast<int64_t>(examples.size()), plan)) {
      int64_t tokens = 0, responses = 0;
      for (const int64_t i : batch) {
        tokens += Read(*examples[static_cast<size_t>(i)]);
        responses += Responses(*examples[static_cast<size_t>(i)]);
      }
      draws += static_cast<int64_t>(batch.size());
      work.train_tokens = std::max(work.train_tokens, tokens);
      work.train_responses = std::max(work.train_responses, responses);
    }
  }
}

/// The largest batches that consecutive examples make (evaluation keeps the order).
void NoteLossBatches(const std::vector<TokenizedExample>& examples, int64_t batch_size, WorkSizes& work) {
  for (size_t begin = 0; begin < examples.size(); begin += static_cast<size_t>(batch_size)) {
    int64_t tokens = 0, responses = 0;
    for (size_t i = begin; i < std::min(examples.size(), begin + static_cast<size_t>(batch_size)); ++i) {
      tokens += Read(examples[i]);
      responses += Responses(examples[i]);
    }
    work.loss_tokens = std::max(work.loss_tokens, tokens);
    work.loss_responses = std::max(work.loss_responses, responses);
  }
}

/// Generation sorts the prompts by length, so the last batch has the longest.
void NotePrompts(const std::vector<std::vector<int32_t>>& prompts, const GenerateOptions& options, WorkSizes& work) {
  std::vector<int64_t> lengths;
  for (const auto& prompt : prompts) lengths.push_back(static_cast<int64_t>(prompt.size()));
  std::sort(lengths.begin(), lengths.end());
  for (size_t begin = 0; begin < lengths.size(); begin += static_cast<size_t>(options.batch_size)) {
    const size_t end = std::min(lengths.size(), begin + static_cast<size_t>(options.batch_size));
    int64_t tokens = 0;
    for (size_t i = begin; i < end; ++i) tokens += lengths[i];
    const auto count = static_cast<int64_t>(end - begin);
    work.prompts = std::max(work.prompts, count);
    work.prompt_tokens = std::max(work.prompt_tokens, tokens);
    work.cached_tokens = std::max(work.cached_tokens, count * options.beams * (lengths[end - 1] + options.max_new_tokens));
  }
}

/// A number of kilobytes from /proc/self/status, in bytes; 0 if it has no such field.
int64_t StatusField(const char* field) {
  FILE* const file = std::fopen("/proc/self/status", "r");
  if (file == nullptr) return 0;
  const std::string format = absl::StrCat(field, ": %lld kB");
  char line[256];
  long long kilobytes = 0;
  while (std::fgets(line, sizeof(line), file) != nullptr)
    if (std::sscanf(line, format.c_str(), &kilobytes) == 1) break;
  std::fclose(file);
  return int64_t{kilobytes} * 1024;
}

}  // namespace

int64_t SavedPerToken(const ModelConfig& m, const AdapterConfig& adapter, int64_t layer, at::ScalarType dtype) {
  const int64_t d = m.hidden_size, q = m.num_heads * m.head_dim, kv = m.num_kv_heads * m.head_dim, f = m.intermediate_size;
  const bool bloom = m.family == ModelFamily::kBloom;
  // Both norms keep their input, attention q, k and v, the activation what goes into it.
  int64_t elements = 2 * d + q + 2 * kv + (bloom ? 1 : 2) * f;
  // An adapted linear keeps its input; those that read the same share it. (o's input is nobody else's.)
  bool kept[4] = {};
  int64_t adapters = 0;
  for (const LinearShape& linear : AdaptedOf(m, adapter, layer)) {
    if (!std::exchange(kept[linear.input], true)) elements += linear.in;
    adapters += kFloat * (2 * adapter.r + 1);  // what passes through A, and the mixer's logit
    if (adapter.lora_dropout > 0.0) adapters += 2 * int64_t{sizeof(int64_t)} + kFloat;  // addresses of the draws
  }
  const int64_t norms = (bloom ? 4 : 2) * kFloat;  // one or two numbers per row
  return elements * ElementBytes(dtype) + norms + adapters;
}

AdapterSize AdapterSizeOf(const ModelConfig& model, const AdapterConfig& adapter, bool has_rest_of_world) {
  AdapterSize size;
  for (int64_t layer = 0; layer < model.num_layers; ++layer)
    for (const LinearShape& linear : AdaptedOf(model, adapter, layer)) {
      size.pair += adapter.r * (linear.in + linear.out);
      if (has_rest_of_world && adapter.mixer == MixerKind::kToken) size.mixer += 2 * linear.in;
    }
  return size;
}

int64_t SiteBytes(const AdapterSize& size, const RunConfig&) {
  // Both pairs, the mixer; two moments of everything trained; what was sent, and the ledger's copy of it.
  return kFloat * (2 * size.pair + size.mixer + 2 * (size.pair + size.mixer) + 2 * size.pair);
}

WorkSizes LargestWork(const RunConfig& config) {
  const GenerateOptions& generate = config.federation.eval.options.generate;
  WorkSizes work;
  work.train_tokens = work.train_responses = config.federation.train.batch_size * config.max_length;
  work.loss_tokens = work.loss_responses = config.federation.eval.options.loss_batch_size * config.max_length;
  if (config.federation.eval.options.generate_answers) {
    work.prompts = generate.batch_size;
    work.prompt_tokens = generate.batch_size * std::max<int64_t>(1, config.max_length - generate.max_new_tokens);
    work.cached_tokens = generate.batch_size * generate.beams * config.max_length;
  }
  return work;
}

WorkSizes WorkOf(const RunConfig& config, const std::vector<SiteData>& sites) {
  const FederationOptions& federation = config.federation;
  const auto method = MakeMethod(federation.method);
  const bool trains = method.ok() && (*method)->trains(), pools = method.ok() && (*method)->pools_data();
  WorkSizes work;
  Examples examples;
  uint64_t index = 0;
  for (const SiteData& site : sites) {
    if (!pools) examples.clear();
    for (const TokenizedExample& example : site.train) examples.push_back(&example);
    if (trains && !pools) NoteTrainBatches(federation, examples, index++, 1, work);
    NoteLossBatches(site.test.tokenized, federation.eval.options.loss_batch_size, work);
    NoteLossBatches(site.validation, federation.eval.options.loss_batch_size, work);
    if (federation.eval.options.generate_answers) NotePrompts(site.test.prompts, federation.eval.options.generate, work);
  }
  if (trains && pools) NoteTrainBatches(federation, examples, 0, static_cast<int64_t>(sites.size()), work);
  return work;
}

WeightBytes WeightsOf(const TensorFiles& files, const ModelConfig& model, at::ScalarType dtype, int64_t token_rows) {
  WeightBytes weights;
  for (const std::string& name : files.Names()) {
    const auto entry = files.Describe(name);
    if (!entry.ok() || !at::isFloatingType(entry->dtype)) continue;
    const auto bytes = static_cast<int64_t>(entry->end - entry->begin);
    if (entry->dtype != dtype) {
      weights.stored += bytes;
      weights.converted += bytes / ElementBytes(entry->dtype) * ElementBytes(dtype);
      continue;
    }
    const bool embedding = absl::StrContains(name, "embed_tokens") || absl::StrContains(name, "word_embeddings.");
    const bool partly = embedding && !model.tie_word_embeddings && token_rows < model.vocab_size;
    weights.mapped += partly ? bytes / model.vocab_size * token_rows : bytes;
  }
  return weights;
}

int64_t MemoryPlan::activations() const {
  return std::max({loading, training, evaluation, exchange});
}

const char* MemoryPlan::greatest_phase() const {
  const int64_t most = activations();
  return most == training ? "training" : most == evaluation ? "evaluation" : most == loading ? "loading" : "exchange";
}

MemoryPlan PlanMemory(const RunConfig& config, const MemoryInputs& inputs) {
  const auto method = MakeMethod(config.federation.method);
  const bool trains = !method.ok() || (*method)->trains(), pools = method.ok() && (*method)->pools_data();
  const bool has_rest_of_world = !method.ok() || (*method)->has_rest_of_world();
  const auto sites = pools ? int64_t{1} : static_cast<int64_t>(config.sites.size());
  const int64_t at_once =
      std::max<int64_t>(1, std::min(config.federation.sites_at_once, static_cast<int64_t>(config.sites.size())));
  const AdapterSize size = AdapterSizeOf(inputs.model, config.federation.adapter, has_rest_of_world);
  const auto with_slack = [](int64_t bytes) { return static_cast<int64_t>(kHeapSlack * static_cast<double>(bytes)); };
  MemoryPlan plan;
  plan.program = inputs.program;
  plan.base = inputs.weights.mapped + inputs.weights.converted;
  plan.adapters = sites * SiteBytes(size, config);
  plan.loading = std::max<int64_t>(0, inputs.weights.stored - plan.adapters);  // no site is there yet
  if (trains) plan.training = with_slack((pools ? 1 : at_once) * TrainingBytes(config, inputs, size));
  plan.evaluation = with_slack(at_once * EvaluationBytes(config, inputs));
  // Sum on its grid (8 bytes), published and as tensors of the site that takes it; a contribution as sent and as received.
  if (trains) plan.exchange = (8 + 2 * kFloat + 2 * kFloat) * size.pair;
  plan.available = DescribeMachine().memory_available_bytes;
  return plan;
}

int64_t ResidentProgram(int64_t converted) {
  const struct mallinfo2 heap = mallinfo2();
  const int64_t free_for_reuse = static_cast<int64_t>(heap.fordblks);
  const int64_t resident = StatusField("VmRSS");
  return std::max<int64_t>(0, resident - free_for_reuse - converted) + kLibrariesAtWork;
}

int64_t PeakResident() {
  return StatusField("VmHWM");
}

}  // namespace fedalt
