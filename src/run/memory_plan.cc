#include "run/memory_plan.h"

#include <absl/strings/match.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <utility>

#include "base/machine.h"
#include "fed/method.h"
#include "train/response_loss.h"

namespace fedalt {
namespace {

// Code and tables of the libraries that come in with the first products, and BLAS's buffers: 12 to 17 MB in all runs measured.
constexpr int64_t kWorkingCode = 15'000'000;
// Address space that is taken beside what is resident: the heap's step, buffers of BLAS, results of products on their way.
constexpr int64_t kMappedBeside = 150'000'000;
constexpr int64_t kFloat = 4;  ///< adapters and their arithmetic, whatever the base computes in
constexpr int64_t kDouble = 8;

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

/// Copies of the stacked factors that the backward of one layer keeps: (2 r, in) and (out, 2 r).
int64_t StackedFactors(const std::vector<LinearShape>& adapted, int64_t r) {
  int64_t bytes = 0;
  for (const LinearShape& linear : adapted) bytes += kFloat * 2 * r * (linear.in + linear.out);
  return bytes;
}

/// One piece of logits; its gradient takes its place.
int64_t HeadBytes(const ModelConfig& model, int64_t rows, int64_t bytes) {
  return std::min(rows, LogitRowsAtOnce(model.vocab_size)) * model.vocab_size * bytes;
}

/// The greatest moment inside the backward of the last layer, per token: everything of all layers is still held then. Either at the
/// activation (the gradient of the residual stream, of what comes out of it and of what goes in) or, when that and gate and up are
/// gone, at the attention.
int64_t BackwardPerToken(const ModelConfig& m, int64_t bytes) {
  const int64_t q = m.num_heads * m.head_dim, kv = m.num_kv_heads * m.head_dim, f = m.intermediate_size;
  const int64_t into_activation = (m.family == ModelFamily::kBloom ? 1 : 2) * f;
  return bytes * std::max(m.hidden_size + f + into_activation, m.hidden_size + 2 * q + 2 * kv - into_activation);
}

/// One layer without gradients, per token: the wider of attention and MLP, the layer's input and output included.
int64_t ForwardPerToken(const ModelConfig& m, int64_t bytes) {
  const int64_t q = m.num_heads * m.head_dim, kv = m.num_kv_heads * m.head_dim;
  const int64_t gated = (m.family == ModelFamily::kBloom ? 2 : 3) * m.intermediate_size;
  return bytes * (2 * m.hidden_size + q + std::max(q + 2 * kv, gated));
}

int64_t HoleBytes(const ModelConfig& m, int64_t tokens, int64_t bytes) {
  return kHoles * tokens * std::max(m.hidden_size, m.intermediate_size) * bytes;
}

int64_t TrainingBytes(const RunConfig& config, const MemoryInputs& inputs, const AdapterSize& size) {
  const ModelConfig& model = inputs.model;
  const AdapterConfig& adapter = config.federation.adapter;
  const int64_t bytes = ElementBytes(inputs.dtype), tokens = inputs.work.train_tokens;
  int64_t saved = 0;
  bool reached = false;
  for (int64_t layer = 0; layer < model.num_layers; ++layer) {
    const std::vector<LinearShape> adapted = AdaptedOf(model, adapter, layer);
    if (!reached && adapted.empty()) continue;
    saved += tokens * SavedPerToken(model, adapter, layer, inputs.dtype, !std::exchange(reached, true));
    saved += StackedFactors(adapted, adapter.r);
  }
  // The final norm's input; the rows with a loss and their gradient. While logits pass there is no gradient of anything else yet,
  // and then those of the rows, of all tokens and of the norm's input.
  const int64_t head_rows = bytes * model.hidden_size * (tokens + 2 * inputs.work.train_responses);
  const int64_t passing = std::max(HeadBytes(model, inputs.work.train_responses, bytes), tokens * BackwardPerToken(model, bytes));
  const int64_t gradients = config.federation.train.accumulate > 1 ? 2 : 1;
  return saved + head_rows + passing + HoleBytes(model, tokens, bytes) + (gradients + 2) * kFloat * (size.pair + size.mixer);
}

int64_t EvaluationBytes(const RunConfig& config, const MemoryInputs& inputs) {
  const ModelConfig& model = inputs.model;
  const int64_t bytes = ElementBytes(inputs.dtype);
  const int64_t per_token = ForwardPerToken(model, bytes);
  const WorkSizes& work = inputs.work;
  const int64_t loss = HoleBytes(model, work.loss_tokens, bytes) +
                       std::max(work.loss_tokens * per_token,
                                bytes * model.hidden_size * work.loss_responses + HeadBytes(model, work.loss_responses, bytes));
  if (work.prompts == 0) return loss;
  const int64_t sequences = work.prompts * config.federation.eval.options.generate.beams;
  const bool beams = sequences > work.prompts;
  // Rows of a head lie together and take whole pages: it shows where many sequences go on for a few tokens each.
  constexpr int64_t kPage = 4096;
  const int64_t rows_of_a_page = beams ? kPage / std::clamp<int64_t>(bytes * model.head_dim, 1, kPage) : 0;
  const int64_t cached = work.cached_tokens + sequences * rows_of_a_page;
  const int64_t cache = 2 * bytes * model.num_layers * model.num_kv_heads * model.head_dim * cached;
  // Logits of the last tokens, in float32 too; with beams also their logarithms and sums.
  const int64_t choosing = sequences * model.vocab_size * (bytes + (beams ? 3 : 1) * kFloat);
  const int64_t prompts = HoleBytes(model, work.prompt_tokens, bytes) + work.prompt_tokens * per_token;
  return std::max(loss, cache + std::max(prompts, choosing));
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

/// Weights of the compute dtype that do not lie behind one another as their stack needs them (model/linear.h).
std::set<std::string> CopiedTogether(const TensorFiles& files, const ModelConfig& model) {
  std::set<std::string> copied;
  for (int64_t layer = 0; layer < model.num_layers; ++layer) {
    std::map<LinearShape::Input, std::vector<std::string>> stacks;
    for (const LinearShape& linear : LinearsOf(model, layer)) stacks[linear.input].push_back(linear.name + ".weight");
    for (const auto& [input, names] : stacks) {
      bool together = true;
      for (size_t i = 1; i < names.size(); ++i) {
        const auto before = files.Describe(names[i - 1]), entry = files.Describe(names[i]);
        together = together && before.ok() && entry.ok() && before->end == entry->begin;
      }
      if (!together) copied.insert(names.begin(), names.end());
    }
  }
  return copied;
}

}  // namespace

int64_t SavedPerToken(const ModelConfig& m, const AdapterConfig& adapter, int64_t layer, at::ScalarType dtype, bool first_adapted) {
  const int64_t d = m.hidden_size, q = m.num_heads * m.head_dim, kv = m.num_kv_heads * m.head_dim, f = m.intermediate_size;
  const bool bloom = m.family == ModelFamily::kBloom;
  // Both norms keep their input, attention q, k and v, the activation what goes into it.
  int64_t elements = (first_adapted ? 1 : 2) * d + q + 2 * kv + (bloom ? 1 : 2) * f;
  // An adapted linear keeps its input; those that read the same share it. (o's input is nobody else's.)
  bool kept[4] = {};
  int64_t adapters = 0;
  for (const LinearShape& linear : AdaptedOf(m, adapter, layer)) {
    if (!std::exchange(kept[linear.input], true)) elements += linear.in;
    adapters += kFloat * (2 * adapter.r + 1);                   // what passes through A, and the mixer's logit
    if (adapter.lora_dropout > 0.0) adapters += linear.in / 8;  // a bit per entry
  }
  const int64_t norms = (bloom ? 4 : 2) * kFloat;  // one or two numbers per row
  return elements * ElementBytes(dtype) + norms + adapters;
}

AdapterSize AdapterSizeOf(const ModelConfig& model, const AdapterConfig& adapter, bool has_rest_of_world) {
  AdapterSize size;
  for (int64_t layer = 0; layer < model.num_layers; ++layer)
    for (const LinearShape& linear : AdaptedOf(model, adapter, layer)) {
      size.pair += adapter.r * (linear.in + linear.out);
      size.linears += linear.in * linear.out;
      if (!has_rest_of_world) continue;
      if (adapter.mixer == MixerKind::kToken) size.mixer += 2 * linear.in;
      if (adapter.mixer == MixerKind::kLayer) size.mixer += 2;
    }
  return size;
}

WeightBytes WeightsOf(const TensorFiles& files, const ModelConfig& model, at::ScalarType dtype, int64_t token_rows) {
  const std::set<std::string> copied = CopiedTogether(files, model);
  WeightBytes weights;
  for (const std::string& name : files.Names()) {
    const auto entry = files.Describe(name);
    if (!entry.ok() || !at::isFloatingType(entry->dtype)) continue;
    const auto bytes = static_cast<int64_t>(entry->end - entry->begin);
    if (entry->dtype != dtype || copied.count(name) > 0) {
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

namespace {

/// The exchange of a round: at the one who sums, while no site is at work.
int64_t ExchangeBytes(TransportNeed need, int64_t sites, int64_t pair) {
  // The sum on its grid and as published, and as many contributions as are added together. The table of influence takes no more.
  constexpr int64_t kContributions = 4;
  if (need == TransportNeed::kSum) return (kDouble + kFloat + kContributions * kFloat) * pair;
  // All contributions as they came and as factors, and what is made of them (stacks, orthogonal bases) beside.
  return sites * (kFloat + 3 * kDouble) * pair;
}

}  // namespace

MemoryPlan PlanMemory(const RunConfig& config, const MemoryInputs& inputs) {
  const auto made = MakeMethod(config.federation.method);
  const Method* const method = made.ok() ? made->get() : nullptr;
  const auto sites = static_cast<int64_t>(config.sites.size());
  const int64_t at_once = std::max<int64_t>(1, std::min(config.federation.sites_at_once, sites));
  RunConfig planned = config;
  AdapterConfig& adapter = planned.federation.adapter;
  adapter.r = LargestRank(config.federation.method, adapter);
  if (method != nullptr) method->Configure(adapter);
  const AdapterSize size = AdapterSizeOf(inputs.model, adapter, method == nullptr || method->has_rest_of_world());
  const TransportNeed need = method != nullptr ? method->needs() : TransportNeed::kSum;
  const Method::Kept kept = method != nullptr ? method->kept() : Method::Kept{};
  const bool exact = config.federation.method.rest_of_world.aggregate == RestOfWorldAggregate::kExact;
  MemoryPlan plan;
  plan.program = inputs.program;
  plan.sites_at_once = at_once;
  plan.mapped = inputs.weights.mapped;
  plan.base = inputs.weights.mapped + inputs.weights.converted;
  // Both pairs and the mixer; what was sent; what the method keeps.
  const int64_t sent = need == TransportNeed::kNothing ? 0 : 1, more_ranks = exact ? sites - 2 : 0;
  plan.adapters =
      at_once * kFloat * ((2 + sent + kept.adapter_sizes + more_ranks) * size.pair + size.mixer + (kept.folds ? size.linears : 0));
  plan.loading = std::max<int64_t>(0, inputs.weights.stored - plan.adapters);  // no site is there yet
  const bool trains = method == nullptr || method->trains(), pools = method != nullptr && method->pools_data();
  if (trains) plan.training = (pools ? 1 : at_once) * TrainingBytes(planned, inputs, size);
  plan.evaluation = at_once * EvaluationBytes(config, inputs);
  if (sent > 0) {
    plan.training += kFloat * size.pair;  // what was published
    plan.exchange = std::max<int64_t>(0, ExchangeBytes(need, sites, size.pair) - plan.adapters);
  }
  return plan;
}

void NoteAvailable(int threads, MemoryPlan& plan) {
  constexpr int64_t kStack = 8 << 20;  // of a thread; most of it is mapped and never touched
  const Machine machine = DescribeMachine();
  plan.bound = machine.memory_bound;
  plan.available = machine.memory_available_bytes;
  if (plan.bound == MemoryBound::kAddressSpace) {  // libraries are mapped whole, the plan counts what of them is resident
    plan.available += StatusField("VmRSS") - threads * kStack - kMappedBeside;
  } else {
    plan.available += StatusField("RssAnon");
    // What is read from files counts for nothing here.
    if (plan.bound == MemoryBound::kData) plan.available += plan.mapped + StatusField("RssFile") - threads * kStack;
  }
  plan.available = std::max<int64_t>(1, plan.available);
}

Status CheckMemory(const MemoryPlan& plan, bool exact) {
  const auto gigabytes = [](int64_t bytes) { return absl::StrFormat("%.2f GB", static_cast<double>(bytes) / 1e9); };
  const int64_t needed = exact && plan.bound != MemoryBound::kMachine ? plan.total() : plan.certain();
  if (plan.available <= 0 || needed <= plan.available) return absl::OkStatus();
  const char* const remedy = plan.bound == MemoryBound::kMachine ? "a larger machine" : "raise that limit";
  return MemoryError(absl::StrCat("this run needs ", gigabytes(plan.total()), " of memory (program and data ",
                                  gigabytes(plan.program), ", weights ", gigabytes(plan.base), ", adapters of the sites at work ",
                                  gigabytes(plan.adapters), ", batches ", exact ? "" : "up to ", gigabytes(plan.activations()),
                                  ") and ", gigabytes(plan.available), " ", MemoryBoundName(plan.bound),
                                  " are available; use a smaller model, train.dtype bfloat16, smaller batches, or ", remedy));
}

int64_t HeldByProgram() {
  ::malloc_trim(0);  // what is free is no part of it
  return kWorkingCode + StatusField("VmRSS");
}

int64_t PeakResident() {
  return StatusField("VmHWM");
}

}  // namespace fedalt
