#include "model/generate.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <memory>
#include <numeric>

#include "base/interrupt.h"
#include "base/random.h"
#include "model/best_continuations.h"
#include "model/finite.h"
#include "model/generate_batch.h"

namespace fedalt {
namespace {

Status CheckRequest(const Transformer& model, const std::vector<std::vector<int32_t>>& prompts, const GenerateOptions& o) {
  if (o.max_new_tokens < 0 || o.beams < 1 || o.batch_size < 1 || o.top_k < 0)
    return ConfigError(absl::StrCat("generation with max_new_tokens ", o.max_new_tokens, ", beams ", o.beams, ", batch_size ",
                                    o.batch_size, ", top_k ", o.top_k, ": beams and batch_size start at 1, the others at 0"));
  if (!(o.temperature >= 0.0) || !std::isfinite(o.temperature) || !(o.top_p > 0.0 && o.top_p <= 1.0) ||
      !std::isfinite(o.length_penalty))
    return ConfigError(absl::StrCat("generation with temperature ", o.temperature, ", top_p ", o.top_p, ", length_penalty ",
                                    o.length_penalty, ": expected temperature >= 0, 0 < top_p <= 1 and a finite length_penalty"));
  if (o.beams > 1 && o.temperature > 0.0)
    return ConfigError(absl::StrCat("beams ", o.beams, " with temperature ", o.temperature,
                                    ": beam search does not sample, set one of them only"));
  const int64_t vocab = model.config().vocab_size;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].empty()) return DataError(absl::StrCat("prompt ", i, " has no tokens, expected at least one"));
    for (const int32_t id : prompts[i])
      if (id < 0 || id >= vocab)
        return ModelError(absl::StrCat("prompt ", i, " has token id ", id, ", but the model's vocabulary has ", vocab,
                                       " ids: tokenizer and model do not belong together"));
  }
  return absl::OkStatus();
}

// One draw from softmax(logits / temperature), cut to the top_k most likely and then to the smallest set of mass top_p.
int64_t Draw(const float* logits, int64_t vocab, const GenerateOptions& options, double uniform) {
  std::vector<int64_t> order(static_cast<size_t>(vocab));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto value = [logits](int64_t i) { return std::isnan(logits[i]) ? -std::numeric_limits<float>::infinity() : logits[i]; };
  const auto more_likely = [&](int64_t a, int64_t b) { return value(a) != value(b) ? value(a) > value(b) : a < b; };
  if (options.top_k > 0 && options.top_k < vocab) {
    std::partial_sort(order.begin(), order.begin() + options.top_k, order.end(), more_likely);
    order.resize(static_cast<size_t>(options.top_k));
  } else {
    std::sort(order.begin(), order.end(), more_likely);
  }
  std::vector<double> mass;
  mass.reserve(order.size());
  for (const int64_t i : order) mass.push_back(std::exp((static_cast<double>(value(i)) - value(order[0])) / options.temperature));
  const double total = std::accumulate(mass.begin(), mass.end(), 0.0);
  size_t kept = 0;
  double kept_mass = 0.0;
  while (kept < mass.size() && (kept == 0 || kept_mass < options.top_p * total)) kept_mass += mass[kept++];
  double target = uniform * kept_mass;
  for (size_t i = 0; i < kept; ++i) {
    target -= mass[i];
    if (target < 0.0) return order[i];
  }
  return order[kept - 1];
}

std::vector<int64_t> Choose(const NextTokens& next, const GenerateBatch& batch, const std::vector<size_t>& active,
                            int64_t position) {
  std::vector<int64_t> chosen(active.size());
  if (batch.options.temperature == 0.0) {
    const at::Tensor best = MostLikely(next.logits_nv, next.hidden_nd, batch.model.head());
    std::copy_n(best.data_ptr<int64_t>(), active.size(), chosen.begin());
    return chosen;
  }
  const at::Tensor values = next.logits_nv.to(at::kCPU, at::kFloat).contiguous();
  for (size_t i = 0; i < active.size(); ++i) {
    const uint64_t prompt = batch.indices[active[i]];
    const double uniform =
        RandomStream(batch.options.seed, RandomPurpose::kSampling, {prompt, static_cast<uint64_t>(position)}).Uniform(0);
    chosen[i] = Draw(values.data_ptr<float>() + static_cast<int64_t>(i) * values.size(1), values.size(1), batch.options, uniform);
  }
  return chosen;
}

}  // namespace

StatusOr<NextTokens> ScoreNext(const GenerateBatch& batch, const std::vector<std::vector<int32_t>>& runs, KvCache& cache) {
  PackedTokens tokens{.token_ids_t = {}, .offsets = {0}};
  for (const auto& run : runs) tokens.offsets.push_back(tokens.offsets.back() + static_cast<int64_t>(run.size()));
  tokens.token_ids_t = at::empty({tokens.offsets.back()}, at::kLong);
  int64_t* id = tokens.token_ids_t.data_ptr<int64_t>();
  for (const auto& run : runs) id = std::copy(run.begin(), run.end(), id);
  std::vector<int64_t> last;
  for (size_t i = 0; i < runs.size(); ++i) last.push_back(tokens.offsets[i + 1] - 1);
  tokens.wanted_rows = &last;
  const at::Tensor hidden = batch.model.HiddenWithCache(tokens, cache, batch.context);
  if (FirstNonFinite(hidden))
    return TrainingError(
        "what the model computes is not finite (NaN or infinity), expected numbers to choose a token by: an adapter diverged; "
        "train "
        "it with a lower train.lr, or use an earlier round");
  const at::Tensor logits = batch.model.RawLogits(hidden);
  return NextTokens{logits.scalar_type() == at::kDouble ? logits.to(at::kFloat) : logits, hidden};
}

int64_t CacheCapacity(const GenerateBatch& batch) {
  size_t longest = 0;
  for (const size_t i : batch.indices) longest = std::max(longest, batch.prompts[i].size());
  return static_cast<int64_t>(longest) + batch.options.max_new_tokens;
}

bool IsEos(const GenerateOptions& options, int64_t token) {
  return std::find(options.eos_ids.begin(), options.eos_ids.end(), token) != options.eos_ids.end();
}

StatusOr<std::vector<std::vector<int32_t>>> SampleBatch(const GenerateBatch& batch) {
  const size_t count = batch.indices.size();
  std::vector<std::vector<int32_t>> out(count), runs;
  KvCache cache(batch.model.config(), static_cast<int64_t>(count), CacheCapacity(batch), batch.model.dtype(), batch.model.device());
  std::vector<size_t> active(count);  // positions in the batch, in the order of the cache
  std::iota(active.begin(), active.end(), size_t{0});
  for (const size_t i : batch.indices) runs.push_back(batch.prompts[i]);
  for (int64_t position = 0; position < batch.options.max_new_tokens && !active.empty(); ++position) {
    ASSIGN_OR_RETURN(const NextTokens next, ScoreNext(batch, runs, cache));
    const std::vector<int64_t> chosen = Choose(next, batch, active, position);
    std::vector<size_t> still_active;
    std::vector<int64_t> kept;
    runs.clear();
    for (size_t i = 0; i < active.size(); ++i) {
      if (IsEos(batch.options, chosen[i])) continue;
      const int32_t token = static_cast<int32_t>(chosen[i]);
      out[active[i]].push_back(token);
      if (batch.options.on_token) batch.options.on_token(token);
      still_active.push_back(active[i]);
      kept.push_back(static_cast<int64_t>(i));
      runs.push_back({token});
    }
    if (kept.size() < active.size()) cache.Reorder(kept);
    active = std::move(still_active);
  }
  return out;
}

StatusOr<std::vector<std::vector<int32_t>>> Generate(const Transformer& model, const std::vector<std::vector<int32_t>>& prompts,
                                                     const GenerateOptions& options, const ForwardContext& context) {
  RETURN_IF_ERROR(CheckRequest(model, prompts, options));
  const at::NoGradGuard no_grad;
  std::vector<std::unique_ptr<LinearExtension>> prepared;
  std::vector<const LinearExtension*> extensions;
  ForwardContext prepared_context = context;
  if (context.extensions != nullptr) {
    for (const LinearExtension* extension : *context.extensions) {
      prepared.push_back(extension == nullptr ? nullptr : extension->Prepared());
      extensions.push_back(prepared.back() != nullptr ? prepared.back().get() : extension);
    }
    prepared_context.extensions = &extensions;
  }
  // Neighbours in length share a batch, so that they take about the same time and memory.
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return prompts[a].size() < prompts[b].size(); });
  std::vector<std::vector<int32_t>> results(prompts.size());
  try {
    for (size_t begin = 0; begin < order.size(); begin += static_cast<size_t>(options.batch_size)) {
      const size_t end = std::min(order.size(), begin + static_cast<size_t>(options.batch_size));
      const GenerateBatch batch{model,
                                prompts,
                                {order.begin() + static_cast<int64_t>(begin), order.begin() + static_cast<int64_t>(end)},
                                options,
                                prepared_context};
      ASSIGN_OR_RETURN(auto texts, options.beams == 1 ? SampleBatch(batch) : BeamSearchBatch(batch));
      for (size_t i = 0; i < texts.size(); ++i) results[batch.indices[i]] = std::move(texts[i]);
      if (options.progress && !options.progress(static_cast<int64_t>(end))) break;
    }
  } catch (const Interrupted&) {
    return InterruptedError("generation was stopped");
  } catch (const c10::Error& error) {
    return MemoryError(absl::StrCat("generation failed in libtorch (", error.what_without_backtrace(),
                                    "); if memory is short, lower the batch size"));
  } catch (const std::bad_alloc&) {
    return MemoryError("generation needs more memory than there is; lower the batch size");
  }
  return results;
}

}  // namespace fedalt
