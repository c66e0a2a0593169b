// THE LAYER of FedALT (arXiv 2503.11880): a frozen linear with a trained individual LoRA, a frozen rest-of-world LoRA and a mixer.
//
//   p  = softmax(G x)                                    float32, per token; p_I + p_R = 1
//   x' = dropout(x)                                      one mask for both branches; the mixer sees x, not x'
//   y  = W0 x + b + s ( p_I B_I A_I x' + g p_R B_R A_R x' ) + D x     s = lora_alpha / r, g = gain (1 in the paper)
//
// D is what a method folded into the base (flora, fedex); the paper's method has none.
//
// Forward and backward are written by hand (the backward's formulas stand in fedalt_linear.cc) and run inside the one autograd
// function of the linear's stack (model/linear.h). x' is described in dropout.h. A layer may be used from several threads as long
// as nobody writes its tensors or its mode. Shapes: t token, i input feature (d_in), o output feature (d_out), r rank.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "adapter/adapter_config.h"
#include "adapter/dropout.h"
#include "base/status.h"
#include "model/linear.h"

namespace fedalt {

struct LoraFactors {
  at::Tensor a_ri;  ///< (r, d_in)
  at::Tensor b_or;  ///< (d_out, r)
};

/// The tensors of one adapted linear at one site. Float32 (or float64 in tests). rest_of_world undefined, or its B all
/// zero (the first round): the term is exactly zero and costs nothing; p is the mixer's all the same.
struct LayerAdapters {
  LoraFactors individual;     ///< trained: requires_grad as the trainer sets it
  LoraFactors rest_of_world;  ///< frozen, never requires_grad
  at::Tensor mixer;           ///< (2, d_in) for kToken, (2) for kLayer, undefined otherwise
  at::Tensor fold_oi;         ///< D (d_out, d_in), the scale s included; frozen; undefined: none
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

  std::vector<at::Tensor> Parameters() const override;  ///< A_I, B_I, and the mixer where there is one
  std::unique_ptr<Saved> Add(const at::Tensor& x_ti, at::Tensor& y_to, const ForwardContext& context,
                             bool differentiable) const override;
  std::unique_ptr<LinearExtension> Prepared() const override;

  LayerAdapters& adapters() { return adapters_; }
  const LayerAdapters& adapters() const { return adapters_; }

  /// p_I per token (T), float32, as the mixer gives it whatever the branch mode (for reports and for "the mean weight" of an
  /// export); 1 for MixerKind::kNone and kMerged.
  at::Tensor IndividualWeight(const at::Tensor& x_ti) const;

 private:
  LayerAdapters adapters_;
  const LayerMode* mode_;
  uint64_t module_id_;
};

}  // namespace fedalt
