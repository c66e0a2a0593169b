// The decoder-only transformer of the supported families: Llama (2, 3), Mistral, Qwen2 and Bloom.
//
// Immutable after loading and shared by all sites; Hidden and Logits may be called from several threads at once. Weights are
// memory-mapped where dtype and alignment allow. Linear layers run on packed tokens (T, d), without padding. Shapes: t token
// (packed), d feature, h head, s sequence, v vocabulary.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "base/status.h"
#include "model/hf_config.h"
#include "model/linear.h"
#include "model/safetensors.h"

namespace fedalt {

/// Sequences laid end to end: sequence i is rows offsets[i] .. offsets[i + 1]; positions count from 0 in each.
struct PackedTokens {
  at::Tensor token_ids_t;        ///< (T) int64, on the CPU wherever the model is
  std::vector<int64_t> offsets;  ///< (B + 1), offsets[0] = 0, offsets[B] = T
  /// The N rows whose hidden states are asked for, ascending; nothing behind the last attention is computed for the others. Null:
  /// all, N = T. Borrowed for the call.
  const std::vector<int64_t>* wanted_rows = nullptr;
};

struct CacheView;

/// Keys and values of earlier tokens for a batch of sequences; allocated once for `capacity` tokens each. Belongs to one thread at
/// a time.
class KvCache {
 public:
  /// `batch`: the most sequences that it will ever hold; it starts with that many empty ones. `device`: the model's.
  KvCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype, at::Device device = at::kCPU);
  int64_t batch() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t capacity() const { return capacity_; }
  const std::vector<int64_t>& lengths() const { return lengths_; }  ///< tokens stored so far, per sequence

  /// Sequence i becomes a copy of sequence source[i] (beam search). source may be shorter (the batch shrinks) or longer, up to the
  /// constructor's batch. Costs no copy of keys and values: sequences share the rows of their common past.
  void Reorder(const std::vector<int64_t>& source);

  // For the implementations of Transformer: Reserve the new rows, write and read them through Layer, then Advance.
  void Reserve(const std::vector<int64_t>& offsets);
  CacheView Layer(int64_t layer) const;
  void Advance(const std::vector<int64_t>& offsets);

 private:
  void Compact(const std::vector<int64_t>& source);

  int64_t capacity_;
  int64_t num_slots_;
  std::vector<int64_t> lengths_;
  std::vector<int32_t> write_slots_;       // per sequence: where its new rows go
  std::vector<int32_t> slots_;             // (batch, capacity): the slot that holds each position of each sequence
  std::vector<at::Tensor> keys_, values_;  // per layer (slots, kv_heads, capacity, head_dim)
};

struct TransformerLoadOptions {
  at::ScalarType dtype = at::kFloat;  ///< of the base's weights and activations: kFloat, kBFloat16 or kDouble (tests)
  at::Device device = at::kCPU;       ///< where weights and activations live (model/device.h)
};

class Transformer {
 public:
  /// Reads config.json and the weights, and checks that they fit each other. Errors: kModel.
  static StatusOr<std::shared_ptr<const Transformer>> Load(const std::filesystem::path& directory,
                                                           const TransformerLoadOptions& options);
  /// The same from tensors in memory, under their Hugging Face names (others are ignored). Tensors of the model's dtype and device
  /// are shared, not copied; those of a stack (model/linear.h) only if they lie one behind the other.
  static StatusOr<std::shared_ptr<const Transformer>> FromTensors(const ModelConfig& config, const NamedTensors& tensors,
                                                                  const TransformerLoadOptions& options = {});
  virtual ~Transformer() = default;

  virtual const ModelConfig& config() const = 0;
  virtual at::ScalarType dtype() const = 0;
  at::Device device() const { return head().device(); }
  /// Linears that may carry an extension, in model order; linears()[i]->index() == i. The head is not among them.
  virtual const std::vector<const Linear*>& linears() const = 0;
  /// Every parameter under its HF name (frozen, requires_grad false); a pretraining tool may set requires_grad on them.
  virtual std::vector<std::pair<std::string, at::Tensor>> parameters() const = 0;

  /// Final-norm hidden states (N, d) of packed sequences. Differentiable (in the extensions' parameters).
  at::Tensor Hidden(const PackedTokens& tokens, const ForwardContext& context) const { return Run(tokens, context, nullptr); }
  /// Head: (N, d) -> (N, vocab) in float32 (kDouble for a kDouble model).
  at::Tensor Logits(const at::Tensor& hidden_nd) const;
  /// The same in the model's dtype, in which it is computed. No gradients.
  at::Tensor RawLogits(const at::Tensor& hidden_nd) const;
  /// The head's weight (vocab, d), in the model's dtype.
  virtual const at::Tensor& head() const = 0;

  /// Appends packed tokens (one run per sequence of the cache; a run may be empty) to the cache and returns their hidden states (N,
  /// d). No gradients.
  at::Tensor HiddenWithCache(const PackedTokens& tokens, KvCache& cache, const ForwardContext& context) const;

 private:
  /// Both of the above: with a cache, its rows are reserved and not yet counted.
  virtual at::Tensor Run(const PackedTokens& tokens, const ForwardContext& context, const KvCache* cache) const = 0;
  int64_t TeamSize(int64_t rows) const;
};

/// One sentence on the tensors of `files` from which no weight of the model came; empty if there are none. What transformers
/// recomputes (rotary frequencies, attention masks) and a tied head's second copy do not count.
std::string NoteOfUnusedTensors(const Transformer& model, const TensorFiles& files);

}  // namespace fedalt
