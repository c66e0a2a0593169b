// A frozen linear map of the base model, and the interface by which an adapter takes part in it.
//
// The base is shared by all sites and never written. Adapters are not stored in the model: they come with each forward call
// (ForwardContext), so that one resident base can serve many sites, also from several threads at once.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>  // newer versions of ATen.h do not bring it

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fedalt {

class Linear;

/// Where the rows of x come from; adapters use it to address dropout draws. One entry per row (token).
struct TokenRows {
  std::vector<int64_t> example_ids;
  std::vector<int64_t> positions;
};

class LinearExtension;

/// What comes with one forward call. All pointers may be null and are borrowed for the call.
struct ForwardContext {
  /// Indexed by Linear::index(); null entries (or a short vector) mean the plain base product.
  const std::vector<const LinearExtension*>* extensions = nullptr;
  /// Training passes set this (dropout is applied only if it is set).
  const TokenRows* rows = nullptr;
  /// Key of the dropout draws of this step (seed, site, round, step); 0 with rows == nullptr.
  uint64_t dropout_key = 0;
};

/// Replaces the forward of one Linear: y = W0 x + b + something.
class LinearExtension {
 public:
  virtual ~LinearExtension() = default;
  /// x: (T, d_in) in the base's dtype; returns (T, d_out) in x's dtype. Differentiable in x and in the extension's own parameters.
  virtual at::Tensor Forward(const Linear& base, const at::Tensor& x_ti, const ForwardContext& context) const = 0;
  /// The same forward, prepared for many calls without gradients or dropout, as in generation. Valid as long as nobody writes what
  /// it was made from. Null: there is nothing to prepare.
  virtual std::unique_ptr<LinearExtension> Prepared() const { return nullptr; }
};

class Linear {
 public:
  Linear() = default;
  Linear(std::string name, int index, at::Tensor weight_oi, at::Tensor bias_o)
      : name_(std::move(name)), index_(index), weight_oi_(std::move(weight_oi)), bias_o_(std::move(bias_o)) {}

  /// y = W0 x + b, or the extension's forward if the context has one for this linear.
  at::Tensor Forward(const at::Tensor& x_ti, const ForwardContext& context) const;
  /// y = W0 x + b, always.
  at::Tensor BaseForward(const at::Tensor& x_ti) const;

  const std::string& name() const { return name_; }        ///< full HF name without ".weight": model.layers.0.self_attn.q_proj
  int index() const { return index_; }                     ///< position in Transformer::linears(); -1: cannot carry an extension
  const at::Tensor& weight() const { return weight_oi_; }  ///< (d_out, d_in)
  const at::Tensor& bias() const { return bias_o_; }       ///< (d_out) or undefined
  int64_t in_features() const { return weight_oi_.size(1); }
  int64_t out_features() const { return weight_oi_.size(0); }

 private:
  std::string name_;
  int index_ = -1;
  at::Tensor weight_oi_;
  at::Tensor bias_o_;
};

}  // namespace fedalt
