// The fused attention kernel and the fused small operations against the same formulas written in plain tensor operations, with
// lengths that cross the kernel's blocks, and their gradients against autograd's.
#include "model/attention.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/cpu_kernels.h"
#include "model/attention_kernel.h"
#include "model/transformer_ops.h"
#include "model_test_data.h"

namespace fedalt {
namespace {

struct Case {
  int64_t heads, kv_heads, head_dim, window;
  bool rope, alibi;
};

AttentionPlanPtr MakePlan(const Case& c, const std::vector<int64_t>& offsets, at::ScalarType dtype) {
  auto plan = c10::make_intrusive<AttentionPlan>();
  plan->shape = {c.heads, c.kv_heads, c.head_dim, 1 / std::sqrt(static_cast<double>(c.head_dim)), {}};
  plan->offsets = offsets;
  if (c.alibi)
    for (int64_t h = 0; h < c.heads; ++h) plan->shape.alibi_slopes.push_back(std::pow(0.5, static_cast<double>(h + 1)));
  if (c.rope) {
    ModelConfig config;
    config.head_dim = c.head_dim;
    config.max_position_embeddings = 64;
    plan->ropes = Rope(config, dtype).Tables(std::vector<int64_t>(offsets.size() - 1, 200));
  }
  return plan;
}

at::Tensor Beside(const std::vector<at::Tensor>& parts) {
  return at::cat(parts, 1);
}

// x (S, H, d)
at::Tensor Rotate(const at::Tensor& x, const AttentionPlan& plan) {
  if (plan.ropes.empty()) return x;
  const int64_t s = x.size(0), half = x.size(2) / 2;
  const at::Tensor c = plan.ropes[0]->cos.slice(0, 0, s).unsqueeze(1), n = plan.ropes[0]->sin.slice(0, 0, s).unsqueeze(1);
  const at::Tensor low = x.slice(2, 0, half), high = x.slice(2, half);
  return at::cat({low * c - high * n, high * c + low * n}, 2);
}

at::Tensor Reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionPlan& plan, int64_t window) {
  const AttentionShape& shape = plan.shape;
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i + 1 < plan.offsets.size(); ++i) {
    const int64_t begin = plan.offsets[i], end = plan.offsets[i + 1], s = end - begin, group = shape.heads / shape.kv_heads;
    const auto heads = [&](const at::Tensor& t, int64_t n) { return t.slice(0, begin, end).view({s, n, shape.head_dim}); };
    const at::Tensor qs = Rotate(heads(q, shape.heads), plan).transpose(0, 1);
    const at::Tensor ks = Rotate(heads(k, shape.kv_heads), plan).transpose(0, 1).repeat_interleave(group, 0);
    const at::Tensor vs = heads(v, shape.kv_heads).transpose(0, 1).repeat_interleave(group, 0);
    at::Tensor scores = at::matmul(qs, ks.transpose(1, 2)) * shape.scale;
    const at::Tensor position = at::arange(s, at::kLong), distance = position.unsqueeze(1) - position.unsqueeze(0);
    if (!shape.alibi_slopes.empty())
      scores = scores - at::tensor(shape.alibi_slopes, scores.options()).view({-1, 1, 1}) * distance.to(scores.scalar_type());
    at::Tensor hidden = distance < 0;
    if (window > 0) hidden = hidden.logical_or(distance >= window);
    const at::Tensor p = scores.masked_fill(hidden, -1e30).softmax(-1);
    parts.push_back(at::matmul(p, vs).transpose(0, 1).reshape({s, shape.heads * shape.head_dim}));
  }
  return at::cat(parts);
}

void Compare(const Case& c, at::ScalarType dtype, double tolerance) {
  at::manual_seed(3);
  const std::vector<int64_t> offsets = {0, 1, 1, 14, 63, 112, 242};  // lengths 1, 0, 13, 49, 49, 130
  const AttentionPlanPtr plan = MakePlan(c, offsets, dtype);
  std::vector<at::Tensor> inputs;
  for (const int64_t heads : {c.heads, c.kv_heads, c.kv_heads})
    inputs.push_back(at::randn({offsets.back(), heads * c.head_dim}, dtype).set_requires_grad(true));
  const at::Tensor weight = at::randn({offsets.back(), c.heads * c.head_dim}, dtype);
  const at::Tensor expected = Reference(inputs[0], inputs[1], inputs[2], *plan, c.window);
  (expected * weight).sum().backward();
  std::vector<at::Tensor> expected_grads;
  for (at::Tensor& x : inputs) {
    expected_grads.push_back(x.grad().clone());
    x.mutable_grad().reset();
  }
  const at::Tensor out = PackedAttention(Beside(inputs), plan, c.window);
  EXPECT_LE(MaxDifference(out, expected), tolerance);
  (out * weight).sum().backward();
  for (size_t i = 0; i < 3; ++i) EXPECT_LE(MaxDifference(inputs[i].grad(), expected_grads[i]), 10 * tolerance) << "input " << i;
}

TEST(PackedAttention, AgreesWithPlainTensorOperations) {
  const Case cases[] = {{4, 4, 16, 0, true, false},  {6, 2, 12, 0, true, false}, {4, 1, 32, 9, true, false},
                        {2, 2, 64, 60, true, false}, {3, 3, 20, 0, false, true}, {2, 1, 128, 0, false, false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.heads, " heads, ", c.kv_heads, " kv heads, head_dim ", c.head_dim, ", window ", c.window));
    Compare(c, at::kDouble, 1e-12);
    Compare(c, at::kFloat, 1e-5);
  }
}

TEST(PackedAttention, TheOrderByHeadIsTheStackedOne) {
  const Case c{3, 3, 20, 0, false, true};
  const std::vector<int64_t> offsets = {0, 7, 60};
  const AttentionPlanPtr plan = MakePlan(c, offsets, at::kDouble), by_head = MakePlan(c, offsets, at::kDouble);
  by_head->shape.order = QkvOrder::kByHead;
  at::Tensor qkv = at::randn({60, 180}, at::kDouble).set_requires_grad(true);
  const at::Tensor weight = at::randn({60, 60}, at::kDouble);
  const at::Tensor stacked = PackedAttention(qkv.view({60, 3, 3, 20}).transpose(1, 2).reshape({60, 180}), plan, 0);
  (stacked * weight).sum().backward();
  const at::Tensor expected_grad = qkv.grad().clone();
  qkv.mutable_grad().reset();
  const at::Tensor out = PackedAttention(qkv, by_head, 0);
  EXPECT_TRUE(at::equal(out, stacked));
  (out * weight).sum().backward();
  EXPECT_TRUE(at::equal(qkv.grad(), expected_grad));
}

// A gradient may reach wanted rows only; the others have none to give.
TEST(PackedAttention, UnwantedQueriesAreLeftOut) {
  for (const Case& c : {Case{4, 2, 16, 0, true, false}, Case{2, 1, 64, 60, true, false}, Case{3, 3, 20, 0, false, true}}) {
    for (const at::ScalarType dtype : {at::kDouble, at::kBFloat16}) {
      const std::vector<int64_t> offsets = {0, 5, 130, 190, 200}, first_wanted = {0, 77, 60, 9};
      const AttentionPlanPtr plan = MakePlan(c, offsets, dtype == at::kDouble ? at::kDouble : at::kFloat);
      plan->first_wanted = first_wanted;
      at::Tensor wanted = at::zeros({200, 1}, dtype);
      for (size_t i = 0; i + 1 < offsets.size(); ++i) wanted.slice(0, offsets[i] + first_wanted[i], offsets[i + 1]).fill_(1);
      const at::Tensor weight = at::randn({200, c.heads * c.head_dim}, dtype) * wanted;
      at::Tensor qkv = at::randn({200, plan->shape.qkv_features()}, dtype).set_requires_grad(true);
      const at::Tensor all = PackedAttention(qkv, plan, c.window);
      all.backward(weight);
      const at::Tensor all_grad = qkv.grad().clone();
      qkv.mutable_grad().reset();
      const at::Tensor some = PackedAttention(qkv, plan, c.window, Queries::kFromFirstWanted);
      some.backward(weight);
      const double tolerance = dtype == at::kDouble ? 1e-12 : 0.03;
      EXPECT_LE(MaxDifference(at::where(wanted > 0, some, all), all), tolerance);
      EXPECT_LE(MaxDifference(qkv.grad(), all_grad), tolerance);
    }
  }
}

TEST(PackedAttention, BitsDoNotDependOnTheNumberOfThreads) {
  if (ActiveCpuKernels() == CpuKernels::kTensor) GTEST_SKIP() << "promised for the kernels, not for libtorch's matrix products";
  const Case c{8, 2, 32, 0, true, false};
  const std::vector<int64_t> offsets = {0, 100, 130, 300};
  const AttentionPlanPtr plan = MakePlan(c, offsets, at::kFloat);
  const at::Tensor qkv = at::randn({300, 384});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = PackedAttention(qkv, plan, 0);
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(PackedAttention(qkv, plan, 0), one));
  at::set_num_threads(threads);
}

// The instruction set is chosen at run time; this is the path of a processor without AVX2.
template <typename T>
void CompareBaseline(double tolerance) {
  const Case c{2, 1, 12, 30, true, false};
  const int64_t n = 70;
  const at::ScalarType dtype = std::is_same_v<T, float> ? at::kFloat : at::kDouble;
  const AttentionPlanPtr plan = MakePlan(c, {0, n}, dtype);
  at::Tensor q = at::randn({n, 24}, dtype).set_requires_grad(true), k = at::randn({n, 12}, dtype).set_requires_grad(true),
             v = at::randn({n, 12}, dtype).set_requires_grad(true);
  const at::Tensor d_out = at::randn({n, 24}, dtype), expected = PackedAttention(Beside({q, k, v}), plan, c.window);
  expected.backward(d_out);
  at::Tensor out = at::empty({n, 24}, dtype), decoded = at::empty({n, 24}, dtype), dq = at::empty_like(out),
             dk = at::empty({n, 12}, dtype), dv = at::empty({n, 12}, dtype);
  attention::Task<T, T> task;
  task.queries = task.keys = n;
  task.head_dim = task.q_head = task.out_head = 12;
  task.group = 2;
  task.window = c.window;
  task.scale = static_cast<T>(plan->shape.scale);
  task.rope = {plan->ropes[0]->cos.data_ptr<T>(), plan->ropes[0]->sin.data_ptr<T>()};
  task.q = {q.data_ptr<T>(), 24};
  task.k = {k.data_ptr<T>(), 12};
  task.v = {v.data_ptr<T>(), 12};
  task.out = {out.data_ptr<T>(), 24};
  task.d_out = {d_out.data_ptr<T>(), 24};
  task.d_q = {dq.data_ptr<T>(), 24};
  task.d_k = {dk.data_ptr<T>(), 12};
  task.d_v = {dv.data_ptr<T>(), 12};
  attention::Scratch<T> scratch;
  attention::Forward<T, 16>(task, scratch);
  attention::Backward<T, 16>(task, scratch);
  EXPECT_LE(MaxDifference(out, expected), tolerance);
  EXPECT_LE(MaxDifference(dq, q.grad()), 10 * tolerance);
  EXPECT_LE(MaxDifference(dk, k.grad()), 10 * tolerance);
  EXPECT_LE(MaxDifference(dv, v.grad()), 10 * tolerance);
  const at::Tensor rotated = Rotate(k.detach().view({n, 1, 12}), *plan).contiguous();  // as a cache holds it
  task.k = {rotated.data_ptr<T>(), 12};
  task.rotate_keys = false;
  task.out = {decoded.data_ptr<T>(), 24};
  attention::Decode<T, 16>(task, scratch);
  EXPECT_LE(MaxDifference(decoded, expected), tolerance);
}
TEST(PackedAttention, BaselineInstructionsGiveTheSame) {
  CompareBaseline<float>(2e-6);
  CompareBaseline<double>(1e-14);
}

// Rounding to eight bits once per factor: entries agree to a small part of the largest one.
TEST(PackedAttention, BFloat16ProductsAgreeWithFloat64) {
  const std::vector<int64_t> offsets = {0, 1, 1, 14, 63, 112, 242};  // lengths 1, 0, 13, 49, 49, 130
  for (const Case& c :
       {Case{4, 4, 64, 0, true, false}, {4, 2, 16, 0, true, false}, {2, 1, 20, 9, true, false}, {3, 3, 7, 0, false, true}}) {
    at::manual_seed(5);
    const AttentionPlanPtr plan = MakePlan(c, offsets, at::kFloat), exact_plan = MakePlan(c, offsets, at::kDouble);
    std::vector<at::Tensor> inputs, exact_inputs;
    for (const int64_t heads : {c.heads, c.kv_heads, c.kv_heads}) {
      inputs.push_back(at::randn({offsets.back(), heads * c.head_dim}).to(at::kBFloat16));
      exact_inputs.push_back(inputs.back().to(at::kDouble).set_requires_grad(true));
      inputs.back().set_requires_grad(true);
    }
    const at::Tensor weight = at::randn({offsets.back(), c.heads * c.head_dim}).to(at::kBFloat16);
    const at::Tensor out = PackedAttention(Beside(inputs), plan, c.window);
    const at::Tensor exact = Reference(exact_inputs[0], exact_inputs[1], exact_inputs[2], *exact_plan, c.window);
    const auto part = [](const at::Tensor& found, const at::Tensor& expected) {
      return MaxDifference(found.to(at::kDouble), expected) / expected.abs().max().item<double>();
    };
    EXPECT_LT(part(out, exact), 1.0 / 128);
    out.backward(weight);
    exact.backward(weight.to(at::kDouble));
    for (size_t i = 0; i < 3; ++i) EXPECT_LT(part(inputs[i].grad(), exact_inputs[i].grad()), 1.0 / 64) << "gradient " << i;
  }
}

TEST(PackedAttention, WithoutBFloat16ProductsOnlyInputsAndOutputsAreRounded) {
  const CpuKernelsLimit limit(CpuKernels::kAvx512);
  const Case c{4, 2, 16, 0, true, false};
  const AttentionPlanPtr plan = MakePlan(c, {0, 50}, at::kFloat);
  const at::Tensor qkv = at::randn({50, 128}).to(at::kBFloat16);
  const at::Tensor exact = PackedAttention(qkv.to(at::kFloat), plan, 0);
  EXPECT_TRUE(at::equal(PackedAttention(qkv, plan, 0), exact.to(at::kBFloat16)));
}

// Scores far apart: no overflow, and masked columns stay out.
TEST(PackedAttention, HugeScoresStayFinite) {
  const Case c{1, 1, 16, 0, false, false};
  const AttentionPlanPtr plan = MakePlan(c, {0, 20}, at::kFloat);
  const at::Tensor x = at::randn({20, 16}) * 1e3;
  const at::Tensor out = PackedAttention(Beside({x, x, x}), plan, 0);
  EXPECT_TRUE(at::isfinite(out).all().item<bool>());
  EXPECT_LE(MaxDifference(out, Reference(x, x, x, *plan, 0)), 1e-2);  // of values around 1e3
}

TEST(RmsNorm, AgreesWithPlainTensorOperations) {
  at::manual_seed(4);
  for (const int64_t d : {1, 7, 96, 513}) {
    at::Tensor x = at::randn({11, d}, at::kDouble).set_requires_grad(true), w = at::randn({d}, at::kDouble).set_requires_grad(true);
    const at::Tensor weight = at::randn({11, d}, at::kDouble);
    const at::Tensor expected = w * (x * at::rsqrt(x.pow(2).mean(-1, true) + 1e-5));
    (expected * weight).sum().backward();
    const at::Tensor dx = x.grad().clone(), dw = w.grad().clone();
    x.mutable_grad().reset();
    w.mutable_grad().reset();
    const at::Tensor y = RmsNorm(x, w, 1e-5);
    EXPECT_LE(MaxDifference(y, expected), 1e-13);
    {
      const at::NoGradGuard no_grad;
      EXPECT_TRUE(at::equal(RmsNorm(x, w, 1e-5), y));
    }
    (y * weight).sum().backward();
    EXPECT_LE(MaxDifference(x.grad(), dx), 1e-12);
    EXPECT_LE(MaxDifference(w.grad(), dw), 1e-12);
    const at::Tensor y_float = RmsNorm(x.detach().to(at::kFloat), w.detach().to(at::kFloat), 1e-5);
    EXPECT_LE(MaxDifference(y_float, expected), 1e-5);
  }
}

TEST(SiluProduct, AgreesWithPlainTensorOperations) {
  at::manual_seed(5);
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const double tolerance = dtype == at::kDouble ? 1e-13 : 2e-6;
    at::Tensor gate = (at::randn({37, 41}, dtype) * 4).set_requires_grad(true),
               up = at::randn({37, 41}, dtype).set_requires_grad(true);
    const at::Tensor weight = at::randn({37, 41}, dtype);
    const at::Tensor expected = at::silu(gate) * up;
    (expected * weight).sum().backward();
    const at::Tensor d_gate = gate.grad().clone(), d_up = up.grad().clone();
    gate.mutable_grad().reset();
    up.mutable_grad().reset();
    const at::Tensor out = SiluProduct(Beside({gate, up}));
    EXPECT_LE(MaxDifference(out, expected), 10 * tolerance);
    {
      const at::NoGradGuard no_grad;
      EXPECT_TRUE(at::equal(SiluProduct(Beside({gate, up})), out));
    }
    (out * weight).sum().backward();
    EXPECT_LE(MaxDifference(gate.grad(), d_gate), 10 * tolerance);
    EXPECT_LE(MaxDifference(up.grad(), d_up), 10 * tolerance);
  }
  const at::Tensor far = at::tensor({-1000.0f, -90.0f, 90.0f, 1000.0f}).view({1, 4});
  EXPECT_LE(MaxDifference(SiluProduct(Beside({far, at::ones({1, 4})})), at::tensor({0.0f, 0.0f, 90.0f, 1000.0f}).view({1, 4})),
            1e-30);
}

}  // namespace
}  // namespace fedalt
