// The frozen linear maps of the base model, and the interface by which an adapter takes part in them.
//
// Linears that read the same input (q, k and v; gate and up) are a stack: one product forward, one backward, and one tensor of
// outputs side by side. The base is shared by all sites and never written. Adapters are not stored in the model: they come with
// each forward call (ForwardContext), so that one resident base can serve many sites, also from several threads at once.
// Shapes: t token, i input feature, o output feature.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>  // newer versions of ATen.h do not bring it

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fedalt {

/// Where the rows of x come from; adapters use it to address dropout draws. One entry per row (token).
struct TokenRows {
  std::vector<int64_t> example_ids;
  std::vector<int64_t> positions;
};

class LinearExtension;
class TeamMember;

/// What comes with one forward call. All pointers may be null and are borrowed for the call.
struct ForwardContext {
  /// Indexed by Linear::index(); null entries (or a short vector) mean the plain base product.
  const std::vector<const LinearExtension*>* extensions = nullptr;
  /// Training passes set this (dropout is applied only if it is set).
  const TokenRows* rows = nullptr;
  /// Key of the dropout draws of this step (seed, site, round, step); 0 with rows == nullptr.
  uint64_t dropout_key = 0;
  /// Set in a call of ByTeam (model/tensor_parallel.h): every linear, extensions included, computes this member's share of its
  /// outputs alone.
  TeamMember* member = nullptr;
};

/// A term that is added to the output of one linear: y = W0 x + b + term(x).
class LinearExtension {
 public:
  /// What one Add leaves for its backward pass.
  class Saved {
   public:
    virtual ~Saved() = default;
    /// d (T, d_out) is dL/dy, rows perhaps apart. Adds the term's part to dL/dx (T, d_in) unless that is null, and returns dL/dp
    /// of every Parameters() that required a gradient (others undefined), in their order.
    virtual std::vector<at::Tensor> Backward(const at::Tensor& x_ti, const at::Tensor& d_to, at::Tensor* dx_ti) const = 0;
  };

  virtual ~LinearExtension() = default;
  /// What may be trained, in a fixed order.
  virtual std::vector<at::Tensor> Parameters() const = 0;
  /// y += term(x). x (T, d_in) in the base's dtype; y (T, d_out, or a team member's share of them) in x's dtype, rows
  /// perhaps apart. Null if `differentiable` is
  /// false or there is no term.
  virtual std::unique_ptr<Saved> Add(const at::Tensor& x_ti, at::Tensor& y_to, const ForwardContext& context,
                                     bool differentiable) const = 0;
  /// The same term, prepared for many calls without gradients or dropout, as in generation. Valid as long as nobody writes what it
  /// was made from. Null: there is nothing to prepare.
  virtual std::unique_ptr<LinearExtension> Prepared() const { return nullptr; }
};

/// One linear of a stack.
class Linear {
 public:
  Linear(std::string name, int index, at::Tensor weight_oi, at::Tensor bias_o)
      : name_(std::move(name)), index_(index), weight_oi_(std::move(weight_oi)), bias_o_(std::move(bias_o)) {}

  const std::string& name() const { return name_; }        ///< full HF name without ".weight": model.layers.0.self_attn.q_proj
  int index() const { return index_; }                     ///< position in Transformer::linears()
  const at::Tensor& weight() const { return weight_oi_; }  ///< (d_out, d_in), a part of the stack's
  const at::Tensor& bias() const { return bias_o_; }       ///< (d_out) likewise, or undefined
  int64_t in_features() const { return weight_oi_.size(1); }
  int64_t out_features() const { return weight_oi_.size(0); }

 private:
  std::string name_;
  int index_;
  at::Tensor weight_oi_, bias_o_;
};

class LinearStack {
 public:
  LinearStack() = default;
  /// `weight` and `bias`: those of `parts` one below the other, in the same memory; no bias: undefined.
  LinearStack(std::vector<Linear> parts, at::Tensor weight_oi, at::Tensor bias_o)
      : parts_(std::move(parts)), weight_oi_(std::move(weight_oi)), bias_o_(std::move(bias_o)) {}

  /// W0 x + b + the terms of the context's extensions: (T, sum of d_out, or of a team member's shares), part beside part.
  /// Differentiable in x and in the extensions' parameters; without extensions also in the weights and biases of `parts`.
  at::Tensor Forward(const at::Tensor& x_ti, const ForwardContext& context) const;

  const std::vector<Linear>& parts() const { return parts_; }

 private:
  at::Tensor WithGradients(const at::Tensor& x_ti, const ForwardContext& context) const;
  at::Tensor WithoutGradients(const at::Tensor& x_ti, const ForwardContext& context) const;
  bool IsTrained() const;
  at::Tensor WithTrainedWeights(const at::Tensor& x_ti) const;

  std::vector<Linear> parts_;
  at::Tensor weight_oi_, bias_o_;
};

}  // namespace fedalt
