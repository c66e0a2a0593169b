#include "model/recomputed.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <utility>

namespace fedalt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Expression : torch::CustomClassHolder {
  TensorExpression evaluate;
};

class RecomputedFunction : public torch::autograd::Function<RecomputedFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, at::TensorList inputs, const c10::intrusive_ptr<Expression>& expression) {
    ctx->save_for_backward(inputs.vec());
    ctx->saved_data["expression"] = c10::IValue::make_capsule(expression);
    return expression->evaluate(inputs.vec());
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto capsule = ctx->saved_data["expression"].toCapsule();
    variable_list inputs = ctx->get_saved_variables(), wanted;
    std::vector<size_t> places;
    for (size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = inputs[i].detach();
      if (!ctx->needs_input_grad(i)) continue;
      wanted.push_back(inputs[i].requires_grad_());
      places.push_back(i);
    }
    const at::AutoGradMode with_gradients(true);
    const at::Tensor value = static_cast<const Expression&>(*capsule).evaluate(inputs);
    variable_list found = torch::autograd::grad({value}, wanted, {grads[0]});
    variable_list gradients(inputs.size() + 1);  // the expression itself has none
    for (size_t i = 0; i < places.size(); ++i) gradients[places[i]] = std::move(found[i]);
    return gradients;
  }
};

}  // namespace

at::Tensor Recomputed(TensorExpression expression, const std::vector<at::Tensor>& inputs) {
  const bool differentiable = at::GradMode::is_enabled() &&
                              std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& x) { return x.requires_grad(); });
  if (!differentiable) return expression(inputs);
  auto held = c10::make_intrusive<Expression>();
  held->evaluate = std::move(expression);
  return RecomputedFunction::apply(at::TensorList(inputs), held);
}

}  // namespace fedalt
