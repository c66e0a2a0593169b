#include "model/transformer_ops.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <type_traits>

#include "base/check.h"
#include "model/transformer_simd.h"

namespace fedalt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <typename Function>
void DispatchStorage(at::ScalarType type, const Function& function) {
  if (type == at::kFloat) return function(float{}, float{});
  if (type == at::kDouble) return function(double{}, double{});
  FEDALT_CHECK(type == at::kBFloat16, "the model computes in float32, float64 and bfloat16");
  function(at::BFloat16{}, float{});
}

constexpr int64_t kWorthAFork = 16'384;  // elements

template <typename T, int kBytes>
FEDALT_INLINE T SumOfProducts(const T* a, const T* b, int64_t n) {
  using L = simd::Lanes<T, kBytes>;
  typename L::V total{};
  int64_t i = 0;
  for (; i + L::kCount <= n; i += L::kCount) total += L::Load(a + i) * L::Load(b + i);
  T sum = L::Sum(total);
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// One row of the norm, or of its gradient; buffers hold the row in T if it is stored otherwise.
struct NormForward {
  template <typename T, int kBytes, typename Storage>
  static FEDALT_INLINE void Row(const Storage* x, const Storage* weight, Storage* y, T* inverse, int64_t d, T eps, T* buffer) {
    for (int64_t i = 0; i < d; ++i) buffer[i] = static_cast<T>(x[i]);
    const T scale = 1 / std::sqrt(SumOfProducts<T, kBytes>(buffer, buffer, d) / static_cast<T>(d) + eps);
    *inverse = scale;
    for (int64_t i = 0; i < d; ++i) y[i] = static_cast<Storage>(static_cast<T>(weight[i]) * (buffer[i] * scale));
  }
};
struct NormBackward {
  template <typename T, int kBytes, typename Storage>
  static FEDALT_INLINE void Row(const Storage* x, const Storage* weight, const Storage* dy, Storage* dx, T scale, int64_t d,
                                T* buffer) {
    T* const xs = buffer + d;
    for (int64_t i = 0; i < d; ++i) {
      xs[i] = static_cast<T>(x[i]);
      buffer[i] = static_cast<T>(dy[i]) * static_cast<T>(weight[i]);
    }
    const T pull = SumOfProducts<T, kBytes>(xs, buffer, d) * scale * scale / static_cast<T>(d);
    for (int64_t i = 0; i < d; ++i) dx[i] = static_cast<Storage>(scale * (buffer[i] - pull * xs[i]));
  }
};

template <typename T, typename Kernel, typename... Arguments>
FEDALT_TARGET_AVX2 void RowAvx2(Arguments... arguments) {
  Kernel::template Row<T, 32>(arguments...);
}
template <typename T, typename Kernel, typename... Arguments>
void Row(Arguments... arguments) {
  if (simd::HasAvx2()) {
    RowAvx2<T, Kernel>(arguments...);
  } else {
    Kernel::template Row<T, 16>(arguments...);
  }
}

at::ScalarType ComputeType(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& weight_in, double eps) {
    const at::Tensor x = x_in.contiguous(), weight = weight_in.contiguous();
    const int64_t d = x.size(-1), rows = d == 0 ? 0 : x.numel() / d;
    at::Tensor y = at::empty_like(x), inverse = at::empty({rows}, x.options().dtype(ComputeType(x)));
    DispatchStorage(x.scalar_type(), [&](auto storage, auto compute) {
      using Storage = decltype(storage);
      using T = decltype(compute);
      const Storage *xs = x.data_ptr<Storage>(), *w = weight.data_ptr<Storage>();
      Storage* const ys = y.data_ptr<Storage>();
      T* const inverses = inverse.data_ptr<T>();
      at::parallel_for(0, rows, std::max<int64_t>(1, kWorthAFork / d), [&](int64_t begin, int64_t end) {
        std::vector<T> buffer(static_cast<size_t>(d));
        for (int64_t r = begin; r < end; ++r)
          Row<T, NormForward>(xs + r * d, w, ys + r * d, inverses + r, d, static_cast<T>(eps), buffer.data());
      });
    });
    ctx->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &inverse = saved[2];
    const at::Tensor dy = grads[0].contiguous();
    const int64_t d = x.size(-1), rows = inverse.size(0);
    at::Tensor dx, d_weight;
    if (ctx->needs_input_grad(0)) {
      dx = at::empty_like(x);
      DispatchStorage(x.scalar_type(), [&](auto storage, auto compute) {
        using Storage = decltype(storage);
        using T = decltype(compute);
        const Storage *xs = x.data_ptr<Storage>(), *w = weight.data_ptr<Storage>(), *dys = dy.data_ptr<Storage>();
        Storage* const dxs = dx.data_ptr<Storage>();
        const T* const inverses = inverse.data_ptr<T>();
        at::parallel_for(0, rows, std::max<int64_t>(1, kWorthAFork / d), [&](int64_t begin, int64_t end) {
          std::vector<T> buffer(static_cast<size_t>(2 * d));
          for (int64_t r = begin; r < end; ++r)
            Row<T, NormBackward>(xs + r * d, w, dys + r * d, dxs + r * d, inverses[r], d, buffer.data());
        });
      });
    }
    if (ctx->needs_input_grad(1)) {
      const at::ScalarType type = ComputeType(x);
      d_weight = (dy.to(type) * x.to(type) * inverse.unsqueeze(1)).sum(0).to(weight.scalar_type());
    }
    return {dx, d_weight, at::Tensor()};
  }
};

// A stretch of elements of silu(gate) * up, or of its gradients. All pointers are to T already.
struct SiluForward {
  template <typename T, int kBytes>
  static FEDALT_INLINE void Row(const T* gate, const T* up, T* out, int64_t n) {
    using L = simd::Lanes<T, kBytes>;
    for (int64_t i = 0; i < n; i += L::kCount) {
      const typename L::V g = L::Load(gate + i);
      L::Store(out + i, g / (simd::Exp<kBytes>(-g) + T(1)) * L::Load(up + i));
    }
  }
};
struct SiluBackward {
  template <typename T, int kBytes>
  static FEDALT_INLINE void Row(const T* gate, const T* up, const T* d_out, T* d_gate, T* d_up, int64_t n) {
    using L = simd::Lanes<T, kBytes>;
    for (int64_t i = 0; i < n; i += L::kCount) {
      const typename L::V g = L::Load(gate + i), d = L::Load(d_out + i);
      const typename L::V sigmoid = L::Fill(T(1)) / (simd::Exp<kBytes>(-g) + T(1));
      L::Store(d_up + i, d * g * sigmoid);
      L::Store(d_gate + i, d * L::Load(up + i) * sigmoid * (g * (T(1) - sigmoid) + T(1)));
    }
  }
};

// Elements are taken in stretches that fit the buffers; inputs are copied there (and converted), which also gives whole vectors.
constexpr int64_t kStretch = 512;
template <typename T, typename Storage>
void LoadStretch(const Storage* from, int64_t n, T* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i]);
  for (int64_t i = n; i < kStretch; ++i) to[i] = 0;
}
template <typename T, typename Storage>
void StoreStretch(const T* from, int64_t n, Storage* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<Storage>(from[i]);
}

class SiluProductFunction : public torch::autograd::Function<SiluProductFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_in, const at::Tensor& up_in) {
    const at::Tensor gate = gate_in.contiguous(), up = up_in.contiguous();
    at::Tensor out = at::empty_like(gate);
    DispatchStorage(gate.scalar_type(), [&](auto storage, auto compute) {
      using Storage = decltype(storage);
      using T = decltype(compute);
      const Storage *g = gate.data_ptr<Storage>(), *u = up.data_ptr<Storage>();
      Storage* const o = out.data_ptr<Storage>();
      at::parallel_for(0, gate.numel(), kWorthAFork, [&](int64_t begin, int64_t end) {
        T gs[kStretch], us[kStretch];
        for (int64_t i = begin; i < end; i += kStretch) {
          const int64_t n = std::min(kStretch, end - i);
          LoadStretch(g + i, n, gs);
          LoadStretch(u + i, n, us);
          Row<T, SiluForward>(static_cast<const T*>(gs), static_cast<const T*>(us), static_cast<T*>(gs), kStretch);
          StoreStretch(gs, n, o + i);
        }
      });
    });
    ctx->save_for_backward({gate, up});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1];
    const at::Tensor d_out = grads[0].contiguous();
    at::Tensor d_gate = at::empty_like(gate), d_up = at::empty_like(up);
    DispatchStorage(gate.scalar_type(), [&](auto storage, auto compute) {
      using Storage = decltype(storage);
      using T = decltype(compute);
      const Storage *g = gate.data_ptr<Storage>(), *u = up.data_ptr<Storage>(), *d = d_out.data_ptr<Storage>();
      Storage *const dg = d_gate.data_ptr<Storage>(), *const du = d_up.data_ptr<Storage>();
      at::parallel_for(0, gate.numel(), kWorthAFork, [&](int64_t begin, int64_t end) {
        T gs[kStretch], us[kStretch], ds[kStretch];
        for (int64_t i = begin; i < end; i += kStretch) {
          const int64_t n = std::min(kStretch, end - i);
          LoadStretch(g + i, n, gs);
          LoadStretch(u + i, n, us);
          LoadStretch(d + i, n, ds);
          Row<T, SiluBackward>(static_cast<const T*>(gs), static_cast<const T*>(us), static_cast<const T*>(ds), static_cast<T*>(us),
                               static_cast<T*>(gs), kStretch);
          StoreStretch(us, n, dg + i);
          StoreStretch(gs, n, du + i);
        }
      });
    });
    return {d_gate, d_up};
  }
};

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x_td, const at::Tensor& weight_d, double eps) {
  return RmsNormFunction::apply(x_td, weight_d, eps);
}

at::Tensor SiluProduct(const at::Tensor& gate, const at::Tensor& up) {
  return SiluProductFunction::apply(gate, up);
}

}  // namespace fedalt
