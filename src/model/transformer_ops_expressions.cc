#include "model/recomputed.h"
#include "model/tensor_expressions.h"

namespace fedalt::expressions {
namespace {

at::ScalarType WorkType(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x_td, const at::Tensor& weight_d, double eps) {
  return Recomputed(
      [eps](const std::vector<at::Tensor>& inputs) {
        const at::Tensor x = inputs[0].to(WorkType(inputs[0])), weight = inputs[1].to(x.scalar_type());
        return (weight * (x * (x.square().mean(-1, /*keepdim=*/true) + eps).rsqrt())).to(inputs[0].scalar_type());
      },
      {x_td, weight_d});
}

at::Tensor SiluProduct(const at::Tensor& gate_up) {
  return Recomputed(
      [](const std::vector<at::Tensor>& inputs) {
        const std::vector<at::Tensor> halves = inputs[0].to(WorkType(inputs[0])).chunk(2, -1);
        return (at::silu(halves[0]) * halves[1]).to(inputs[0].scalar_type());
      },
      {gate_up});
}

}  // namespace fedalt::expressions
