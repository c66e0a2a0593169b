#include "model/linear.h"

#include "model/few_rows_linear.h"

namespace fedalt {

at::Tensor Linear::Forward(const at::Tensor& x_ti, const ForwardContext& context) const {
  if (context.extensions != nullptr && index_ >= 0 && static_cast<size_t>(index_) < context.extensions->size())
    if (const LinearExtension* extension = (*context.extensions)[static_cast<size_t>(index_)])
      return extension->Forward(*this, x_ti, context);
  return BaseForward(x_ti);
}

at::Tensor Linear::BaseForward(const at::Tensor& x_ti) const {
  if (!at::GradMode::is_enabled() && TakesFewRows(x_ti, weight_oi_, bias_o_)) return FewRowsLinear(x_ti, weight_oi_, bias_o_);
  return at::linear(x_ti, weight_oi_, bias_o_);
}

}  // namespace fedalt
