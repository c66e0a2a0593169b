// THE LAYER of FedALT (arXiv 2503.11880): a frozen linear with a trained individual LoRA, a frozen rest-of-world LoRA and a mixer.
//
//   p  = softmax(G x)                                    float32, per token; p_I + p_R = 1
//   x' = dropout(x)                                      one mask for both branches; the mixer sees x, not x'
//   y  = W0 x + b + s ( p_I B_I A_I x' + g p_R B_R A_R x' )     s = lora_alpha / r, g = gain (1 in the paper)
//
// Forward and backward are written by hand as one autograd function (the backward's formulas stand in fedalt_linear.cc).
// Shapes: t token, i input feature (d_in), o output feature (d_out), r rank.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "adapter/adapter_config.h"
#include "base/status.h"
#include "model/linear.h"

namespace fedalt {

struct LoraFactors {
  at::Tensor a_ri;  ///< (r, d_in)
  at::Tensor b_or;  ///< (d_out, r)
};

/// The tensors of one adapted linear at one site. Float32 (or float64 in tests). rest_of_world undefined: the term is absent (zero).
struct LayerAdapters {
  LoraFactors individual;     ///< trained: requires_grad as the trainer sets it
  LoraFactors rest_of_world;  ///< frozen, never requires_grad
  at::Tensor mixer;           ///< (2, d_in) for kToken, (2) for kLayer, undefined otherwise
};

/// How one forward treats the layer; shared by all layers of a site, read at each call.
struct LayerMode {
  double scale = 1.0;
  double gain = 1.0;
  double dropout = 0.0;
  MixerKind mixer = MixerKind::kToken;
  double fixed_p = 0.5;
  bool mixer_active = true;  ///< false before mixer_start_round: p = (0.5, 0.5), the mixer gets no gradient
  BranchMode branches = BranchMode::kBoth;
};

class FedaltLinear : public LinearExtension {
 public:
  /// `mode` must outlive the layer. `module_id`: StableId of the linear's name, part of every dropout draw's address.
  FedaltLinear(LayerAdapters adapters, const LayerMode* mode, uint64_t module_id);

  at::Tensor Forward(const Linear& base, const at::Tensor& x_ti, const ForwardContext& context) const override;

  LayerAdapters& adapters() { return adapters_; }
  const LayerAdapters& adapters() const { return adapters_; }

  /// p_I per token (T), float32, as Forward would use it (for reports and for "the mean weight" of an export).
  at::Tensor IndividualWeight(const at::Tensor& x_ti) const;

 private:
  LayerAdapters adapters_;
  const LayerMode* mode_;
  uint64_t module_id_;
};

/// The dropout mask (T, d_in): 0 or 1 / (1 - p), float32. Each entry is a function of (key, module, example id, position, feature)
/// alone, so packing and threads do not move it.
at::Tensor DropoutMask(const TokenRows& rows, int64_t features, double p, uint64_t dropout_key, uint64_t module_id);

}  // namespace fedalt
