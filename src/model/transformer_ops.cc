#include "model/transformer_ops.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <type_traits>

#include "base/check.h"
#include "model/tensor_expressions.h"
#include "model/transformer_simd.h"

namespace fedalt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kWorthAFork = 16'384;     // elements
constexpr int64_t kSiluWorthAFork = 4'096;  // of which each takes an exponential

// One row of the norm, or of its gradient.
struct NormForward {
  template <int kBytes, typename T, typename Storage>
  static FEDALT_INLINE void Run(const Storage* x, const Storage* weight, Storage* y, T* inverse, int64_t d, T eps) {
    using L = simd::Lanes<T, kBytes>;
    const int64_t whole = d / L::kCount * L::kCount;
    typename L::V squares{};
    for (int64_t i = 0; i < whole; i += L::kCount) {
      const typename L::V v = L::Load(x + i);
      squares += v * v;
    }
    T sum = L::Sum(squares);
    for (int64_t i = whole; i < d; ++i) sum += static_cast<T>(x[i]) * static_cast<T>(x[i]);
    const T scale = 1 / std::sqrt(sum / static_cast<T>(d) + eps);
    *inverse = scale;
    for (int64_t i = 0; i < whole; i += L::kCount) L::Store(y + i, L::Load(weight + i) * (L::Load(x + i) * scale));
    for (int64_t i = whole; i < d; ++i) y[i] = static_cast<Storage>(static_cast<T>(weight[i]) * (static_cast<T>(x[i]) * scale));
  }
};
struct NormBackward {
  template <int kBytes, typename T, typename Storage>
  static FEDALT_INLINE void Run(const Storage* x, const Storage* weight, const Storage* dy, Storage* dx, T scale, int64_t d) {
    using L = simd::Lanes<T, kBytes>;
    const int64_t whole = d / L::kCount * L::kCount;
    typename L::V products{};
    for (int64_t i = 0; i < whole; i += L::kCount) products += L::Load(x + i) * (L::Load(dy + i) * L::Load(weight + i));
    T sum = L::Sum(products);
    const auto pulled = [&](int64_t i) { return static_cast<T>(dy[i]) * static_cast<T>(weight[i]); };
    for (int64_t i = whole; i < d; ++i) sum += static_cast<T>(x[i]) * pulled(i);
    const T pull = sum * scale * scale / static_cast<T>(d);
    for (int64_t i = 0; i < whole; i += L::kCount)
      L::Store(dx + i, (L::Load(dy + i) * L::Load(weight + i) - L::Load(x + i) * pull) * scale);
    for (int64_t i = whole; i < d; ++i) dx[i] = static_cast<Storage>(scale * (pulled(i) - pull * static_cast<T>(x[i])));
  }
};

at::ScalarType ComputeType(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// The rows of x (contiguous, weight too), and what each was multiplied by, unless that is null.
at::Tensor NormRows(const at::Tensor& x, const at::Tensor& weight, double eps, at::Tensor* inverse) {
  const int64_t d = x.size(-1), rows = d == 0 ? 0 : x.numel() / d;
  at::Tensor y = at::empty_like(x);
  if (inverse != nullptr) *inverse = at::empty({rows}, x.options().dtype(ComputeType(x)));
  simd::WithTypes(x.scalar_type(), [&](auto storage, auto compute) {
    using Storage = decltype(storage);
    using T = decltype(compute);
    const Storage *xs = x.data_ptr<Storage>(), *w = weight.data_ptr<Storage>();
    Storage* const ys = y.data_ptr<Storage>();
    T* const inverses = inverse != nullptr ? inverse->data_ptr<T>() : nullptr;
    at::parallel_for(0, rows, std::max<int64_t>(1, kWorthAFork / d), [&](int64_t begin, int64_t end) {
      T unused = 0;
      for (int64_t r = begin; r < end; ++r)
        simd::Dispatch<NormForward>(xs + r * d, w, ys + r * d, inverses != nullptr ? inverses + r : &unused, d,
                                    static_cast<T>(eps));
    });
  });
  return y;
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& weight_in, double eps) {
    const at::Tensor x = x_in.contiguous(), weight = weight_in.contiguous();
    at::Tensor inverse;
    at::Tensor y = NormRows(x, weight, eps, &inverse);
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
      simd::WithTypes(x.scalar_type(), [&](auto storage, auto compute) {
        using Storage = decltype(storage);
        using T = decltype(compute);
        const Storage *xs = x.data_ptr<Storage>(), *w = weight.data_ptr<Storage>(), *dys = dy.data_ptr<Storage>();
        Storage* const dxs = dx.data_ptr<Storage>();
        const T* const inverses = inverse.data_ptr<T>();
        at::parallel_for(0, rows, std::max<int64_t>(1, kWorthAFork / d), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r)
            simd::Dispatch<NormBackward>(xs + r * d, w, dys + r * d, dxs + r * d, inverses[r], d);
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

// A stretch of elements of silu(gate) * up, or of its gradients. What does not fill a vector goes through one that is padded.
struct SiluForward {
  template <int kBytes, typename T, typename Storage>
  static FEDALT_INLINE void Run(const Storage* gate, const Storage* up, Storage* out, T, int64_t n) {
    using L = simd::Lanes<T, kBytes>;
    const auto vector = [](const Storage* g_from, const Storage* u_from, Storage* to) FEDALT_INLINE_LAMBDA {
      const typename L::V g = L::Load(g_from);
      L::Store(to, g / (simd::Exp<kBytes>(-g) + T(1)) * L::Load(u_from));
    };
    int64_t i = 0;
    for (; i + L::kCount <= n; i += L::kCount) vector(gate + i, up + i, out + i);
    if (i == n) return;
    Storage rest[3][L::kCount] = {};
    std::copy(gate + i, gate + n, rest[0]);
    std::copy(up + i, up + n, rest[1]);
    vector(rest[0], rest[1], rest[2]);
    std::copy(rest[2], rest[2] + (n - i), out + i);
  }
};
struct SiluBackward {
  template <int kBytes, typename T, typename Storage>
  static FEDALT_INLINE void Run(const Storage* gate, const Storage* up, const Storage* d_out, Storage* d_gate, Storage* d_up, T,
                                int64_t n) {
    using L = simd::Lanes<T, kBytes>;
    const auto vector = [](const Storage* g_from, const Storage* u_from, const Storage* d_from, Storage* dg_to, Storage* du_to)
                            FEDALT_INLINE_LAMBDA {
                              const typename L::V g = L::Load(g_from), u = L::Load(u_from), d = L::Load(d_from);
                              const typename L::V sigmoid = L::Fill(T(1)) / (simd::Exp<kBytes>(-g) + T(1));
                              L::Store(du_to, d * g * sigmoid);
                              L::Store(dg_to, d * u * sigmoid * (g * (T(1) - sigmoid) + T(1)));
                            };
    int64_t i = 0;
    for (; i + L::kCount <= n; i += L::kCount) vector(gate + i, up + i, d_out + i, d_gate + i, d_up + i);
    if (i == n) return;
    Storage rest[5][L::kCount] = {};
    std::copy(gate + i, gate + n, rest[0]);
    std::copy(up + i, up + n, rest[1]);
    std::copy(d_out + i, d_out + n, rest[2]);
    vector(rest[0], rest[1], rest[2], rest[3], rest[4]);
    std::copy(rest[3], rest[3] + (n - i), d_gate + i);
    std::copy(rest[4], rest[4] + (n - i), d_up + i);
  }
};

at::Tensor SiluRows(const at::Tensor& gate_up) {
  const int64_t rows = gate_up.size(0), d = gate_up.size(1) / 2;
  at::Tensor out = at::empty({rows, d}, gate_up.options());
  simd::WithTypes(gate_up.scalar_type(), [&](auto storage, auto compute) {
    using Storage = decltype(storage);
    using T = decltype(compute);
    const Storage* const in = gate_up.data_ptr<Storage>();
    Storage* const o = out.data_ptr<Storage>();
    at::parallel_for(0, rows, std::max<int64_t>(1, kSiluWorthAFork / d), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) simd::Dispatch<SiluForward>(in + 2 * r * d, in + (2 * r + 1) * d, o + r * d, T(0), d);
    });
  });
  return out;
}

class SiluProductFunction : public torch::autograd::Function<SiluProductFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up_in) {
    const at::Tensor gate_up = gate_up_in.contiguous();
    at::Tensor out = SiluRows(gate_up);
    ctx->save_for_backward({gate_up});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor gate_up = ctx->get_saved_variables()[0], d_out = grads[0].contiguous();
    const int64_t rows = gate_up.size(0), d = gate_up.size(1) / 2;
    at::Tensor d_gate_up = at::empty_like(gate_up);
    simd::WithTypes(gate_up.scalar_type(), [&](auto storage, auto compute) {
      using Storage = decltype(storage);
      using T = decltype(compute);
      const Storage *const in = gate_up.data_ptr<Storage>(), *const from = d_out.data_ptr<Storage>();
      Storage* const to = d_gate_up.data_ptr<Storage>();
      at::parallel_for(0, rows, std::max<int64_t>(1, kSiluWorthAFork / d), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t gate = 2 * r * d, up = gate + d;
          simd::Dispatch<SiluBackward>(in + gate, in + up, from + r * d, to + gate, to + up, T(0), d);
        }
      });
    });
    return {d_gate_up};
  }
};

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x_td, const at::Tensor& weight_d, double eps) {
  if (ByExpressions(x_td)) return expressions::RmsNorm(x_td, weight_d, eps);
  if (!at::GradMode::is_enabled()) return NormRows(*x_td.expect_contiguous(), *weight_d.expect_contiguous(), eps, nullptr);
  return RmsNormFunction::apply(x_td, weight_d, eps);
}

at::Tensor SiluProduct(const at::Tensor& gate_up) {
  FEDALT_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0, "gate and up side by side");
  if (ByExpressions(gate_up)) return expressions::SiluProduct(gate_up);
  if (!at::GradMode::is_enabled()) return SiluRows(*gate_up.expect_contiguous());
  return SiluProductFunction::apply(gate_up);
}

}  // namespace fedalt
