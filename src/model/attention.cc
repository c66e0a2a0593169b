#include "model/attention.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <type_traits>
#include <utility>

#include "base/check.h"
#include "model/attention_kernel.h"
#include "model/attention_kernel_bf16.h"
#include "model/tensor_expressions.h"

namespace fedalt {
namespace {

using attention::Task;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum class Pass { kForward, kBackward, kDecode };

template <Pass pass>
struct OnePass {
  template <int kBytes, typename Storage, typename T>
  static FEDALT_INLINE void Run(const Task<Storage, T>* task, attention::Scratch<T>* scratch) {
    if constexpr (pass == Pass::kForward) attention::Forward<T, kBytes>(*task, *scratch);
    if constexpr (pass == Pass::kBackward) attention::Backward<T, kBytes>(*task, *scratch);
    if constexpr (pass == Pass::kDecode) attention::Decode<T, kBytes>(*task, *scratch);
  }
};
template <typename T>
attention::Scratch<T>& ThreadScratch() {
  thread_local attention::Scratch<T> scratch;
  return scratch;
}
template <Pass pass, typename Storage, typename T>
void Run(const Task<Storage, T>& task) {
  attention::Scratch<T>& scratch = ThreadScratch<T>();
#if defined(__x86_64__)
  if constexpr (std::is_same_v<Storage, at::BFloat16> && pass != Pass::kDecode) {
    if (ActiveCpuKernels() == CpuKernels::kAvx512Bf16)
      return pass == Pass::kForward ? attention::bf16::Forward(task, scratch) : attention::bf16::Backward(task, scratch);
  }
#endif
  simd::Dispatch<OnePass<pass>>(&task, &scratch);
}

// Element (row, head, i) of q, k, v or the output is data[begin + row * this.row + head * this.head + i].
struct HeadLayout {
  int64_t row = 0, head = 0, begin = 0;
};
struct Layout {
  HeadLayout q, k, v, out;
};
Layout LayoutOf(const AttentionShape& shape) {
  const int64_t d = shape.head_dim, row = shape.qkv_features(), q_end = shape.heads * d, k_end = q_end + shape.kv_heads * d;
  const HeadLayout out = {q_end, d, 0};
  if (shape.order == QkvOrder::kByHead) return {{row, 3 * d, 0}, {row, 3 * d, d}, {row, 3 * d, 2 * d}, out};
  return {{row, d, 0}, {row, d, q_end}, {row, d, k_end}, out};
}

template <typename Storage>
attention::Rows<Storage> RowsOf(Storage* data, const HeadLayout& layout, int64_t row, int64_t head) {
  return {data + layout.begin + row * layout.row + head * layout.head, layout.row, nullptr, 0};
}

/// How many rows at the start of a sequence nobody asks for.
int64_t FirstQuery(const AttentionPlan& plan, int64_t sequence, Queries queries) {
  return queries == Queries::kAll || plan.first_wanted.empty() ? 0 : plan.first_wanted[static_cast<size_t>(sequence)];
}

template <typename Storage, typename T>
Task<Storage, T> BaseTask(const AttentionPlan& plan, int64_t sequence, int64_t kv_head, int64_t window) {
  const AttentionShape& shape = plan.shape;
  Task<Storage, T> task;
  task.queries = task.keys = plan.offsets[static_cast<size_t>(sequence) + 1] - plan.offsets[static_cast<size_t>(sequence)];
  task.head_dim = shape.head_dim;
  task.group = shape.heads / shape.kv_heads;
  task.window = window;
  task.scale = static_cast<T>(shape.scale);
  if (!shape.alibi_slopes.empty()) task.slopes = shape.alibi_slopes.data() + kv_head * task.group;
  if (!plan.ropes.empty()) {
    const RopeTable& rope = *plan.ropes[static_cast<size_t>(sequence)];
    task.rope = {rope.cos.data_ptr<T>(), rope.sin.data_ptr<T>()};
  }
  return task;
}

// Calls function(sequence, kv_head) for all pairs, in parallel where that is worth a fork.
template <typename Function>
void ForEachHead(const AttentionPlan& plan, int64_t cost_of_all, const Function& function) {
  const int64_t kv_heads = plan.shape.kv_heads, tasks = (static_cast<int64_t>(plan.offsets.size()) - 1) * kv_heads;
  if (tasks == 0) return;
  constexpr int64_t kWorthAFork = 100'000;  // multiply-adds
  const int64_t grain = std::max<int64_t>(1, kWorthAFork / std::max<int64_t>(1, cost_of_all / tasks));
  at::parallel_for(0, tasks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) function(i / kv_heads, i % kv_heads);
  });
}

int64_t Cost(const AttentionPlan& plan) {
  int64_t pairs = 0;
  for (size_t i = 1; i < plan.offsets.size(); ++i) {
    const int64_t n = plan.offsets[i] - plan.offsets[i - 1];
    pairs += n * n;
  }
  return pairs * plan.shape.heads * plan.shape.head_dim * 2;
}

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv_in, const AttentionPlanPtr& plan, int64_t window,
                            Queries queries) {
    const at::Tensor qkv = qkv_in.contiguous();
    const Layout layout = LayoutOf(plan->shape);
    at::Tensor out = at::empty({qkv.size(0), plan->shape.heads * plan->shape.head_dim}, qkv.options());
    simd::WithTypes(qkv.scalar_type(), [&](auto storage, auto compute) {
      using Storage = decltype(storage);
      using T = decltype(compute);
      const Storage* const in = qkv.data_ptr<Storage>();
      Storage* const out_data = out.data_ptr<Storage>();
      ForEachHead(*plan, Cost(*plan), [&](int64_t sequence, int64_t head) {
        auto task = BaseTask<Storage, T>(*plan, sequence, head, window);
        const int64_t row = plan->offsets[static_cast<size_t>(sequence)], first = FirstQuery(*plan, sequence, queries);
        task.queries -= first;
        if (task.queries == 0) return;
        task.q = RowsOf(in, layout.q, row + first, head * task.group);
        task.k = RowsOf(in, layout.k, row, head);
        task.v = RowsOf(in, layout.v, row, head);
        task.out = RowsOf(out_data, layout.out, row + first, head * task.group);
        task.q_head = layout.q.head;
        task.out_head = layout.out.head;
        Run<Pass::kForward>(task);
      });
    });
    ctx->save_for_backward({qkv});
    ctx->saved_data["plan"] = c10::IValue::make_capsule(plan);
    ctx->saved_data["window"] = window;
    ctx->saved_data["queries"] = static_cast<int64_t>(queries);
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor qkv = ctx->get_saved_variables()[0], d_out = grads[0].contiguous();
    const auto plan = c10::static_intrusive_pointer_cast<AttentionPlan>(ctx->saved_data["plan"].toCapsule());
    const int64_t window = ctx->saved_data["window"].toInt();
    const auto queries = static_cast<Queries>(ctx->saved_data["queries"].toInt());
    const Layout layout = LayoutOf(plan->shape);
    at::Tensor d_qkv = at::empty_like(qkv);
    simd::WithTypes(qkv.scalar_type(), [&](auto storage, auto compute) {
      using Storage = decltype(storage);
      using T = decltype(compute);
      const Storage *const in = qkv.data_ptr<Storage>(), *const d_out_data = d_out.data_ptr<Storage>();
      Storage* const out = d_qkv.data_ptr<Storage>();
      ForEachHead(*plan, 3 * Cost(*plan), [&](int64_t sequence, int64_t head) {
        auto task = BaseTask<Storage, T>(*plan, sequence, head, window);
        const int64_t row = plan->offsets[static_cast<size_t>(sequence)], first = FirstQuery(*plan, sequence, queries);
        task.queries -= first;
        task.q = RowsOf(in, layout.q, row + first, head * task.group);
        task.k = RowsOf(in, layout.k, row, head);
        task.v = RowsOf(in, layout.v, row, head);
        task.d_out = RowsOf(d_out_data, layout.out, row + first, head * task.group);
        task.d_q = RowsOf(out, layout.q, row + first, head * task.group);
        task.d_k = RowsOf(out, layout.k, row, head);
        task.d_v = RowsOf(out, layout.v, row, head);
        task.q_head = layout.q.head;
        task.out_head = layout.out.head;
        for (int64_t member = 0; member < task.group; ++member) {
          const auto unasked = RowsOf(out, layout.q, row, head * task.group + member);
          for (int64_t i = 0; i < first; ++i) std::fill_n(unasked.at(i), task.head_dim, Storage(0));
        }
        Run<Pass::kBackward>(task);
      });
    });
    return {d_qkv, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct Appending {
  template <int kBytes, typename Storage, typename T>
  static FEDALT_INLINE void Run(const Task<Storage, T>* task, attention::Rows<const Storage> k, attention::Rows<const Storage> v,
                                attention::Rows<Storage> keys, attention::Rows<Storage> values, attention::Scratch<T>* scratch) {
    attention::Append(*task, k, v, keys, values, *scratch);
  }
};

}  // namespace

at::Tensor PackedAttention(const at::Tensor& qkv, const AttentionPlanPtr& plan, int64_t window, Queries queries) {
  FEDALT_CHECK(qkv.dim() == 2 && qkv.size(1) == plan->shape.qkv_features(), "one row of q, k and v per token");
  if (ByExpressions(qkv)) return expressions::PackedAttention(qkv, plan, window);
  return AttentionFunction::apply(qkv, plan, window, queries);
}

at::Tensor CachedAttention(const at::Tensor& qkv_in, const AttentionPlan& plan, int64_t window, const CacheView& cache,
                           Queries queries) {
  if (ByExpressions(qkv_in)) return expressions::CachedAttention(qkv_in, plan, window, cache);
  const at::Tensor qkv = qkv_in.contiguous();
  const Layout layout = LayoutOf(plan.shape);
  const int64_t d = plan.shape.head_dim, head_stride = cache.capacity * d, slot_stride = cache.keys.size(1) * head_stride;
  const int64_t first_head = plan.first_kv_head * head_stride;
  at::Tensor out = at::empty({qkv.size(0), plan.shape.heads * d}, qkv.options());
  simd::WithTypes(qkv.scalar_type(), [&](auto storage, auto compute) {
    using Storage = decltype(storage);
    using T = decltype(compute);
    const Storage* const in = qkv.data_ptr<Storage>();
    Storage* const out_data = out.data_ptr<Storage>();
    Storage* const keys = cache.keys.data_ptr<Storage>() + first_head;
    Storage* const values = cache.values.data_ptr<Storage>() + first_head;
    const auto rows_of = [&](Storage* data, int64_t sequence, int64_t head) {
      return attention::Rows<Storage>{data + head * head_stride, d, cache.slots + sequence * cache.capacity, slot_stride};
    };
    const auto read = [](const attention::Rows<Storage>& rows) {
      return attention::Rows<const Storage>{rows.data, rows.row, rows.slots, rows.slot};
    };
    const int64_t sequences = static_cast<int64_t>(plan.offsets.size()) - 1;
    ForEachHead(plan, Cost(plan) + out.numel() * 64, [&](int64_t sequence, int64_t head) {
      auto task = BaseTask<Storage, T>(plan, sequence, head, window);
      if (task.queries == 0) return;
      task.keys += cache.lengths[sequence];
      const int64_t row = plan.offsets[static_cast<size_t>(sequence)];
      const auto key_rows = rows_of(keys, sequence, head), value_rows = rows_of(values, sequence, head);
      simd::Dispatch<Appending>(&std::as_const(task), RowsOf(in, layout.k, row, head), RowsOf(in, layout.v, row, head), key_rows,
                                value_rows, &ThreadScratch<T>());
      const int64_t first = FirstQuery(plan, sequence, queries);
      task.queries -= first;
      if (task.queries == 0) return;
      task.rotate_keys = false;
      task.q = RowsOf(in, layout.q, row + first, head * task.group);
      task.k = read(key_rows);
      task.v = read(value_rows);
      if (head + 1 < plan.shape.kv_heads)
        task.next_k = read(rows_of(keys, sequence, head + 1));
      else if (sequence + 1 < sequences)
        task.next_k = read(rows_of(keys, sequence + 1, 0));
      task.out = RowsOf(out_data, layout.out, row + first, head * task.group);
      task.q_head = layout.q.head;
      task.out_head = layout.out.head;
      constexpr int64_t kFewQueries = 4;
      task.queries < kFewQueries ? Run<Pass::kDecode>(task) : Run<Pass::kForward>(task);
    });
  });
  return out;
}

}  // namespace fedalt
