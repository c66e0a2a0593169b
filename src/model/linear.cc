#include "model/linear.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <utility>

#include "base/interrupt.h"
#include "model/few_rows_linear.h"
#include "model/many_rows_product.h"
#include "model/tensor_parallel.h"

namespace fedalt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool NeedsGradient(const at::Tensor& tensor) {
  return tensor.defined() && tensor.requires_grad();
}

const LinearExtension* ExtensionOf(const Linear& part, const ForwardContext& context) {
  const auto index = static_cast<size_t>(part.index());
  return context.extensions != nullptr && index < context.extensions->size() ? (*context.extensions)[index] : nullptr;
}

/// One extension at work, on columns [begin, begin + count) of the stack's output.
struct Term {
  const LinearExtension* extension = nullptr;
  int64_t begin = 0, count = 0;
  std::vector<at::Tensor> parameters;
  std::unique_ptr<LinearExtension::Saved> saved;

  at::Tensor Columns(const at::Tensor& all_to) const { return all_to.narrow(1, begin, count); }
};

/// One forward call of a stack, kept for its backward.
struct Call : torch::CustomClassHolder {
  at::Tensor weight_oi;
  std::vector<Term> terms;

  Call(const std::vector<Linear>& parts, at::Tensor weight, const ForwardContext& context) : weight_oi(std::move(weight)) {
    int64_t begin = 0;
    for (const Linear& part : parts) {
      if (const LinearExtension* const extension = ExtensionOf(part, context))
        terms.push_back({extension, begin, part.out_features(), extension->Parameters(), nullptr});
      begin += part.out_features();
    }
  }

  void AddTerms(const at::Tensor& x_ti, const at::Tensor& y_to, const ForwardContext& context) {
    for (Term& term : terms) {
      at::Tensor columns_to = term.Columns(y_to);
      term.saved = term.extension->Add(x_ti, columns_to, context, /*differentiable=*/true);
    }
  }
  std::vector<at::Tensor> Parameters() const {
    std::vector<at::Tensor> parameters;
    for (const Term& term : terms) parameters.insert(parameters.end(), term.parameters.begin(), term.parameters.end());
    return parameters;
  }
};

/// dx = W0^T d and what the terms add to it.
struct StackFunction : torch::autograd::Function<StackFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_ti, at::TensorList parameters, const at::Tensor& y_to,
                            const c10::intrusive_ptr<Call>& call, const ForwardContext& context) {
    (void)parameters;  // named as inputs so that the graph leads to them
    call->AddTerms(x_ti, y_to, context);
    if (!call->terms.empty())
      ctx->save_for_backward({x_ti});  // only terms ask for it; the activations of the others are given back
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    ctx->mark_dirty({y_to});
    return y_to;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grad_outputs) {
    ThrowIfInterrupted();
    const at::Tensor d_to = grad_outputs[0].contiguous();
    const auto capsule = ctx->saved_data["call"].toCapsule();
    const Call& call = static_cast<const Call&>(*capsule);
    const at::Tensor x_ti = call.terms.empty() ? at::Tensor() : ctx->get_saved_variables()[0];
    at::Tensor dx_ti = ctx->needs_input_grad(0) ? ManyRowsLinearBackward(d_to, call.weight_oi) : at::Tensor();
    variable_list gradients = {dx_ti};
    for (const Term& term : call.terms) {
      variable_list of_term(term.parameters.size());
      if (term.saved != nullptr) of_term = term.saved->Backward(x_ti, term.Columns(d_to), dx_ti.defined() ? &dx_ti : nullptr);
      gradients.insert(gradients.end(), of_term.begin(), of_term.end());
    }
    gradients.resize(gradients.size() + 3);  // y, the call and its context
    return gradients;
  }
};

/// Which outputs of each part are computed.
std::vector<OutputRange> RangesOf(const std::vector<Linear>& parts, const TeamMember& member) {
  std::vector<OutputRange> ranges;
  int64_t begin = 0;
  for (const Linear& part : parts) {
    ranges.push_back({begin + member.First(part.out_features()), member.Count(part.out_features())});
    begin += part.out_features();
  }
  return ranges;
}

}  // namespace

at::Tensor LinearStack::Forward(const at::Tensor& x_ti, const ForwardContext& context) const {
  ThrowIfInterrupted();
  return at::GradMode::is_enabled() ? WithGradients(x_ti, context) : WithoutGradients(x_ti, context);
}

at::Tensor LinearStack::WithGradients(const at::Tensor& x_ti, const ForwardContext& context) const {
  const auto call = c10::make_intrusive<Call>(parts_, weight_oi_, context);
  if (call->terms.empty() && IsTrained()) return WithTrainedWeights(x_ti);
  at::Tensor y_to;
  {
    const at::NoGradGuard no_grad;
    y_to = ManyRowsLinear(x_ti, weight_oi_, bias_o_);
  }
  return StackFunction::apply(x_ti, at::TensorList(call->Parameters()), y_to, call, context);
}

at::Tensor LinearStack::WithoutGradients(const at::Tensor& x_ti, const ForwardContext& context) const {
  at::Tensor y_to = context.member != nullptr ? FewRowsLinear(x_ti, weight_oi_, bias_o_, RangesOf(parts_, *context.member))
                    : TakesFewRows(x_ti, weight_oi_, bias_o_) ? FewRowsLinear(x_ti, weight_oi_, bias_o_)
                                                              : ManyRowsLinear(x_ti, weight_oi_, bias_o_);
  int64_t begin = 0;
  for (const Linear& part : parts_) {
    const int64_t count = context.member == nullptr ? part.out_features() : context.member->Count(part.out_features());
    if (const LinearExtension* const extension = ExtensionOf(part, context)) {
      at::Tensor columns_to = y_to.narrow(1, begin, count);
      extension->Add(x_ti, columns_to, context, /*differentiable=*/false);
    }
    begin += count;
  }
  return y_to;
}

bool LinearStack::IsTrained() const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [](const Linear& part) { return NeedsGradient(part.weight()) || NeedsGradient(part.bias()); });
}

/// The base alone, through the tensors that a pretraining tool asks gradients of.
at::Tensor LinearStack::WithTrainedWeights(const at::Tensor& x_ti) const {
  std::vector<at::Tensor> weights, biases;
  for (const Linear& part : parts_) {
    weights.push_back(part.weight());
    if (part.bias().defined()) biases.push_back(part.bias());
  }
  return at::linear(x_ti, at::cat(weights), biases.empty() ? at::Tensor() : at::cat(biases));
}

}  // namespace fedalt
