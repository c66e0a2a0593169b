// All adapters of one site for one model: which linears are adapted, their tensors in a fixed order, and the extensions that a
// forward uses.
//
// A SiteAdapters is a value owned by one site; the base model is shared and untouched. Not thread-safe; different sites may be used
// from different threads at once.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "adapter/adapter_config.h"
#include "adapter/fedalt_linear.h"
#include "base/status.h"
#include "model/safetensors.h"
#include "model/transformer.h"

namespace fedalt {

/// Names and shapes of one adapted linear, in the model's order. Equal for every site of a run.
struct AdaptedModule {
  std::string name;  ///< model.layers.0.self_attn.q_proj
  int linear_index = 0;
  int64_t in_features = 0;
  int64_t out_features = 0;
};

/// The linears of `model` that `config.target_modules` names. Errors (kConfig): a target that matches nothing (lists what there
/// is).
StatusOr<std::vector<AdaptedModule>> FindAdaptedModules(const Transformer& model, const AdapterConfig& config);

/// How initial values are drawn (algorithm, section 1): A and G ~ U(-1/sqrt(d_in), 1/sqrt(d_in)), B = 0, from (seed, site or
/// shared).
struct InitOptions {
  uint64_t seed = 0;
  uint64_t site = 0;
  bool shared_a = true;  ///< every site starts from the same A_I (and A_R); false: drawn per site, as published
  uint64_t draw = 0;     ///< 0: the start; other draws for methods that start their adapter anew
};

class SiteAdapters {
 public:
  /// `device`: the model's; the tensors live there.
  SiteAdapters(std::vector<AdaptedModule> modules, const AdapterConfig& config, at::ScalarType dtype = at::kFloat,
               at::Device device = at::kCPU);
  SiteAdapters(const SiteAdapters&) = delete;
  SiteAdapters& operator=(const SiteAdapters&) = delete;

  void Initialize(const InitOptions& options);

  const AdapterConfig& config() const { return config_; }
  const std::vector<AdaptedModule>& modules() const { return modules_; }
  LayerMode& mode() { return mode_; }
  /// Per adapted module, in order.
  FedaltLinear& layer(size_t i) { return *layers_[i]; }
  const FedaltLinear& layer(size_t i) const { return *layers_[i]; }

  /// For ForwardContext::extensions.
  const std::vector<const LinearExtension*>& extensions() const { return extensions_; }

  /// Tensors under stable names: "<module>.lora_A.weight" (r, d_in), "<module>.lora_B.weight" (d_out, r), mixer
  /// "<module>.mixer.weight". They share storage with the layers.
  NamedTensors Individual() const;
  NamedTensors RestOfWorld() const;
  NamedTensors Mixer() const;  ///< empty for mixers that are not trained
  NamedTensors Folds() const;  ///< what was folded into the base, "<module>.fold.weight" (d_out, d_in); empty: nothing was

  /// Copies values into the layers, all or (on an error) none; names and shapes must match exactly, values be finite, the order
  /// does not matter. Errors: kModel.
  Status SetIndividual(const NamedTensors& tensors);
  /// The rest of world alone may have another rank than r, in every module its own.
  Status SetRestOfWorld(const NamedTensors& tensors);
  Status SetMixer(const NamedTensors& tensors);
  Status SetFolds(const NamedTensors& tensors);  ///< of every module, or (no tensors) of none

  /// D of module i += delta (d_out, d_in).
  void Fold(size_t i, const at::Tensor& delta_oi);
  /// Individual and rest of world change places, with r and all: what is trained is always the individual one.
  void SwapBranches();

 private:
  void FitRestOfWorld(const NamedTensors& tensors);

  std::vector<AdaptedModule> modules_;
  AdapterConfig config_;
  LayerMode mode_;
  std::vector<std::unique_ptr<FedaltLinear>> layers_;
  std::vector<const LinearExtension*> extensions_;
};

}  // namespace fedalt
