#include "model/many_rows_product.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <type_traits>

#include "model/packed_product.h"

namespace fedalt {
namespace {

constexpr int64_t kLeastOfRows = 16;    // below, copies of the weight cost more than products
constexpr int64_t kLeastOfShare = 128;  // below, a share saves less in waiting than it loses in reading the weight once more

/// How many threads share a product, or 1.
int64_t SharesOf(const at::Tensor& x, int64_t shared_size) {
  const int64_t threads = at::get_num_threads();
  const bool pays = x.is_cpu() && x.scalar_type() != at::kDouble && shared_size >= threads * kLeastOfShare;
  return pays && !at::in_parallel_region() ? threads : 1;
}

/// Calls `product(share, begin, count)` for equal shares of [0, size), each on a thread of its own.
template <typename Function>
void ForShares(int64_t shares, int64_t size, const Function& product) {
  at::parallel_for(0, shares, 1, [&](int64_t first, int64_t last) {
    const at::NoGradGuard no_grad;  // not inherited by the threads of a parallel loop
    for (int64_t share = first; share < last; ++share) {
      const int64_t begin = share * size / shares;
      product(share, begin, (share + 1) * size / shares - begin);
    }
  });
}

at::Tensor Product(const at::Tensor& x_ti, const at::Tensor& weight_io) {
  const int64_t rows = x_ti.size(0), shares = SharesOf(x_ti, rows);
  if (shares == 1) return at::mm(x_ti, weight_io);
  at::Tensor y_to = at::empty({rows, weight_io.size(1)}, x_ti.options());
  ForShares(shares, rows, [&](int64_t, int64_t begin, int64_t count) {
    at::Tensor share_to = y_to.narrow(0, begin, count);
    at::mm_out(share_to, x_ti.narrow(0, begin, count), weight_io);
  });
  return y_to;
}

at::Tensor WithWholeRows(const at::Tensor& matrix) {
  return matrix.stride(1) == 1 ? matrix : matrix.contiguous();
}

bool IsOurs(const at::Tensor& x, const at::Tensor& weight) {
  return x.is_cpu() && x.size(0) >= kLeastOfRows && weight.scalar_type() == x.scalar_type() && HasPackedProduct(x.scalar_type());
}

template <typename Storage>
MatrixRows<Storage> RowsOf(const at::Tensor& matrix) {
  return {matrix.data_ptr<std::remove_const_t<Storage>>(), matrix.stride(0)};
}

void OurProduct(const at::Tensor& x_in, const at::Tensor& weight_in, WeightOrder order, const at::Tensor& bias_in, at::Tensor& y) {
  const at::Tensor x = WithWholeRows(x_in), weight = WithWholeRows(weight_in),
                   bias = bias_in.defined() ? bias_in.to(x.scalar_type()).contiguous() : at::Tensor();
  const auto run = [&](auto zero) {
    using Storage = decltype(zero);
    PackedProduct<Storage>({RowsOf<const Storage>(x), RowsOf<const Storage>(weight), order,
                            bias.defined() ? bias.data_ptr<Storage>() : nullptr, RowsOf<Storage>(y), x.size(0), y.size(1),
                            x.size(1)});
  };
  x.scalar_type() == at::kFloat ? run(0.0f) : run(at::BFloat16());
}

}  // namespace

at::Tensor ManyRowsLinear(const at::Tensor& x_ti, const at::Tensor& weight_oi, const at::Tensor& bias_o) {
  if (IsOurs(x_ti, weight_oi)) {
    at::Tensor y_to = at::empty({x_ti.size(0), weight_oi.size(0)}, x_ti.options());
    OurProduct(x_ti, weight_oi, WeightOrder::kOutputs, bias_o, y_to);
    return y_to;
  }
  if (bias_o.defined()) return at::linear(x_ti, weight_oi, bias_o);
  return Product(x_ti, weight_oi.t());
}

at::Tensor ManyRowsLinearBackward(const at::Tensor& d_to, const at::Tensor& weight_oi) {
  if (IsOurs(d_to, weight_oi)) {
    at::Tensor dx_ti = at::empty({d_to.size(0), weight_oi.size(1)}, d_to.options());
    OurProduct(d_to, weight_oi, WeightOrder::kDepth, {}, dx_ti);
    return dx_ti;
  }
  return Product(d_to, weight_oi);
}

void ManyOutputsLinearBackward(const at::Tensor& d_to, const at::Tensor& weight_oi, at::Tensor& dx_ti) {
  if (IsOurs(d_to, weight_oi) && dx_ti.stride(1) == 1) return OurProduct(d_to, weight_oi, WeightOrder::kDepth, {}, dx_ti);
  const int64_t outputs = weight_oi.size(0), shares = SharesOf(d_to, outputs);
  if (shares == 1) {
    at::mm_out(dx_ti, d_to, weight_oi);
    return;
  }
  const at::Tensor sums_sti = at::empty({shares, dx_ti.size(0), dx_ti.size(1)}, dx_ti.options());
  ForShares(shares, outputs, [&](int64_t share, int64_t begin, int64_t count) {
    at::Tensor sum_ti = sums_sti[share];
    at::mm_out(sum_ti, d_to.narrow(1, begin, count), weight_oi.narrow(0, begin, count));
  });
  at::sum_out(dx_ti, sums_sti, 0);
}

}  // namespace fedalt
