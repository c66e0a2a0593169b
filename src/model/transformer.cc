#include "model/transformer.h"

#include <ATen/Parallel.h>
#include <absl/strings/match.h>
#include <absl/strings/str_join.h>
#include <absl/strings/strip.h>

#include <algorithm>
#include <exception>
#include <new>
#include <set>

#include "base/check.h"
#include "model/few_rows_linear.h"
#include "model/many_rows_product.h"
#include "model/tensor_expressions.h"
#include "model/tensor_memory.h"
#include "model/tensor_parallel.h"
#include "model/transformer_families.h"

namespace fedalt {
namespace {

StatusOr<std::shared_ptr<const Transformer>> MakeFamily(const ModelConfig& config, const NamedTensors& tensors,
                                                        const TransformerLoadOptions& options) {
  switch (config.family) {
    case ModelFamily::kLlama:
    case ModelFamily::kMistral:
    case ModelFamily::kQwen2:
      return MakeLlama(config, tensors, options);
    case ModelFamily::kBloom:
      return MakeBloom(config, tensors, options);
  }
  return ModelError("unknown model family");
}

StatusOr<std::shared_ptr<const Transformer>> Build(const ModelConfig& config, const NamedTensors& tensors,
                                                   const TransformerLoadOptions& options) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Transformer> model, MakeFamily(config, tensors, options));
  std::vector<at::Tensor> weights;
  for (const auto& [name, weight] : model->parameters()) weights.push_back(weight);
  UseLargePages(weights);
  return model;
}

}  // namespace

StatusOr<std::shared_ptr<const Transformer>> Transformer::FromTensors(const ModelConfig& config, const NamedTensors& tensors,
                                                                      const TransformerLoadOptions& options) {
  FEDALT_CHECK(options.dtype == at::kFloat || options.dtype == at::kBFloat16 || options.dtype == at::kDouble,
               "a model computes in float32, bfloat16 or float64");
  // Here, and only here, libtorch's exceptions of loading become a Status.
  try {
    return Build(config, tensors, options);
  } catch (const std::bad_alloc&) {
    return MemoryError("not enough memory for the model's weights; use dtype bfloat16 or a smaller model");
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace();
    if (what.find("memory") != std::string::npos)
      return MemoryError("not enough memory for the model's weights; use dtype bfloat16 or a smaller model");
    return ModelError(absl::StrCat("libtorch could not take the model's weights: ", what));
  } catch (const std::exception& error) {
    return ModelError(absl::StrCat("could not take the model's weights: ", error.what()));
  }
}

StatusOr<std::shared_ptr<const Transformer>> Transformer::Load(const std::filesystem::path& directory,
                                                               const TransformerLoadOptions& options) {
  ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  ASSIGN_OR_RETURN(const std::shared_ptr<TensorFiles> files, TensorFiles::OpenModelDirectory(directory));
  NamedTensors tensors;
  for (const std::string& name : files->Names()) {
    ASSIGN_OR_RETURN(at::Tensor tensor, files->Get(name));
    tensors.emplace_back(name, std::move(tensor));
  }
  auto model = FromTensors(config, tensors, options);
  files->DropPages();
  if (!model.ok()) return Annotate(model.status(), directory.string());
  return model;
}

std::string NoteOfUnusedTensors(const Transformer& model, const TensorFiles& files) {
  // Files of the bare base model leave the first component out.
  const auto bare = [](absl::string_view name) {
    for (const char* prefix : {"model.", "transformer."})
      if (absl::ConsumePrefix(&name, prefix)) break;
    return std::string(name);
  };
  std::set<std::string> used;
  for (const auto& [name, weight] : model.parameters()) used.insert(bare(name));
  if (model.config().tie_word_embeddings) used.insert("lm_head.weight");
  std::vector<std::string> unused;
  for (const std::string& name : files.Names()) {
    bool recomputed = false;
    for (const char* end : {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.masked_bias"})
      recomputed = recomputed || absl::EndsWith(name, end);
    if (!recomputed && !used.contains(bare(name))) unused.push_back(name);
  }
  if (unused.empty()) return {};
  constexpr size_t kShown = 3;
  const size_t all = unused.size();
  if (all > kShown) {
    unused.resize(kShown);
    unused.emplace_back("...");
  }
  return absl::StrCat(all, all == 1 ? " tensor is" : " tensors are",
                      " in the files and not in the model that config.json describes (", absl::StrJoin(unused, ", "),
                      ") and not used; is config.json that of these weights?");
}

WantedRows::WantedRows(const PackedTokens& tokens, const ForwardContext& context, at::Device device) : context_(context) {
  if (tokens.wanted_rows == nullptr || static_cast<int64_t>(tokens.wanted_rows->size()) == tokens.token_ids_t.size(0)) return;
  index_n_ = at::tensor(*tokens.wanted_rows, at::kLong).to(device);
  if (context.rows == nullptr) return;
  for (const int64_t row : *tokens.wanted_rows) {
    rows_.example_ids.push_back(context.rows->example_ids[static_cast<size_t>(row)]);
    rows_.positions.push_back(context.rows->positions[static_cast<size_t>(row)]);
  }
  context_.rows = &rows_;
}

namespace {

/// Per sequence its first wanted row, counted from its start; its length if there is none.
std::vector<int64_t> FirstWanted(const PackedTokens& tokens) {
  std::vector<int64_t> first;
  auto row = tokens.wanted_rows->begin();
  for (size_t i = 0; i + 1 < tokens.offsets.size(); ++i) {
    const int64_t begin = tokens.offsets[i], end = tokens.offsets[i + 1];
    row = std::lower_bound(row, tokens.wanted_rows->end(), begin);
    first.push_back((row == tokens.wanted_rows->end() ? end : std::min(*row, end)) - begin);
  }
  return first;
}

}  // namespace

AttentionPlanPtr MakeAttentionPlan(const AttentionShape& shape, const PackedTokens& tokens, int64_t vocab_size, const Rope* rope,
                                   const KvCache* cache, const TeamMember* member) {
  const at::Tensor& ids = tokens.token_ids_t;
  FEDALT_CHECK(ids.dim() == 1 && ids.scalar_type() == at::kLong && ids.is_contiguous(), "token ids are one row of int64");
  FEDALT_CHECK(!tokens.offsets.empty() && tokens.offsets.front() == 0 && tokens.offsets.back() == ids.size(0),
               "offsets run from 0 to the number of tokens");
  const int64_t* const id = ids.data_ptr<int64_t>();
  for (int64_t t = 0; t < ids.size(0); ++t) FEDALT_CHECK(id[t] >= 0 && id[t] < vocab_size, "a token id outside the vocabulary");
  auto plan = c10::make_intrusive<AttentionPlan>();
  plan->shape = shape;
  if (member != nullptr) {
    plan->shape.heads = member->Count(shape.heads);
    plan->shape.kv_heads = member->Count(shape.kv_heads);
    plan->first_kv_head = member->First(shape.kv_heads);
    if (!shape.alibi_slopes.empty())
      plan->shape.alibi_slopes = {shape.alibi_slopes.begin() + member->First(shape.heads),
                                  shape.alibi_slopes.begin() + member->First(shape.heads) + plan->shape.heads};
  }
  plan->offsets = tokens.offsets;
  if (tokens.wanted_rows != nullptr) plan->first_wanted = FirstWanted(tokens);
  if (rope == nullptr) return plan;
  std::vector<int64_t> lengths(tokens.offsets.size() - 1);
  for (size_t i = 0; i < lengths.size(); ++i)
    lengths[i] = tokens.offsets[i + 1] - tokens.offsets[i] + (cache == nullptr ? 0 : cache->lengths()[i]);
  plan->ropes = rope->Tables(lengths);
  return plan;
}

/// How many threads share one forward of `rows` rows without gradients; 1: it is not for a team.
int64_t Transformer::TeamSize(int64_t rows) const {
  const int64_t threads = at::get_num_threads();
  const bool kernels = (dtype() == at::kFloat || dtype() == at::kBFloat16) && !ByExpressions(head());
  if (!kernels || rows > FewRows(dtype()) || threads == 1 || at::in_parallel_region()) return 1;
  if (config().num_heads % threads != 0 || config().num_kv_heads % threads != 0) return 1;
  for (const Linear* linear : linears())
    if (linear->out_features() % threads != 0 || linear->weight().numel() < threads * kLeastElements) return 1;
  return threads;
}

at::Tensor Transformer::HiddenWithCache(const PackedTokens& tokens, KvCache& cache, const ForwardContext& context) const {
  const at::NoGradGuard no_grad;
  cache.Reserve(tokens.offsets);
  at::Tensor hidden_nd;
  if (const int64_t team = TeamSize(tokens.token_ids_t.size(0)); team > 1)
    hidden_nd = ByTeam(team, [&](TeamMember& member) {
      ForwardContext own = context;
      own.member = &member;
      return Run(tokens, own, &cache);
    });
  if (!hidden_nd.defined()) hidden_nd = Run(tokens, context, &cache);
  cache.Advance(tokens.offsets);
  return hidden_nd;
}

at::Tensor Transformer::RawLogits(const at::Tensor& hidden_nd) const {
  const at::NoGradGuard no_grad;
  return TakesFewRows(hidden_nd, head(), {}) ? FewRowsLinear(hidden_nd, head(), {}) : ManyRowsLinear(hidden_nd, head(), {});
}

at::Tensor Transformer::Logits(const at::Tensor& hidden_nd) const {
  const at::Tensor logits = at::GradMode::is_enabled() ? at::linear(hidden_nd, head()) : RawLogits(hidden_nd);
  return logits.scalar_type() == at::kBFloat16 ? logits.to(at::kFloat) : logits;
}

}  // namespace fedalt
