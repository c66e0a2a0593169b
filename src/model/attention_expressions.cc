// Sequences of one group are padded to the longest and computed as one batch. Padded keys lie behind every real query, so the
// causal mask hides them; padded queries are computed and dropped.
//
// Shapes: t packed row, b sequence, s query, l key, h head, k key-value head, g query head of a key-value head, d head_dim.
#include <algorithm>
#include <memory>
#include <vector>

#include "model/recomputed.h"
#include "model/tensor_expressions.h"

namespace fedalt::expressions {

namespace {

constexpr int64_t kScores = int64_t{1} << 28;  ///< entries that exist at once, unless one sequence alone has more
constexpr double kHidden = -1e30;

/// Consecutive sequences that are computed together.
struct Group {
  int64_t first_row = 0, rows = 0;
  int64_t sequences = 0, queries = 0, keys = 0;  ///< of the longest sequence
  at::Tensor place_t;                            ///< row of each token among the padded ones; undefined: nothing is padded
  at::Tensor distance_bsl;                       ///< how far a key lies before a query; b is 1 where all sequences agree
  at::Tensor slot_bl, position_bl;               ///< where a key lies in the cache; undefined without one
};

/// Where the rows of this call go in the cache.
struct Rows {
  at::Tensor slot_t, position_t;
};

}  // namespace

/// What depends on lengths and positions alone.
struct Geometry {
  at::Tensor cos_t1d, sin_t1d;  ///< undefined: no rotation
  at::Tensor slopes_kg11;       ///< float64; undefined: no ALiBi
  std::vector<Group> groups;
  Rows rows;  ///< defined with a cache
};

namespace {

at::Tensor Indices(const std::vector<int64_t>& values, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), host.data_ptr<int64_t>());
  return host.to(device);
}

class GeometryBuilder {
 public:
  GeometryBuilder(const AttentionPlan& plan, const CacheView* cache, at::Device device)
      : plan_(plan), cache_(cache), device_(device) {}

  Geometry Build() {
    Rotation();
    if (!plan_.shape.alibi_slopes.empty()) {
      const at::Tensor slopes = at::tensor(plan_.shape.alibi_slopes, at::kDouble);
      out_.slopes_kg11 = slopes.view({plan_.shape.kv_heads, -1, 1, 1}).to(device_);
    }
    for (int64_t begin = 0; begin < Sequences();) {
      int64_t end = begin + 1, queries = Count(begin), keys = Start(begin) + queries;
      for (; end < Sequences(); ++end) {
        const int64_t q = std::max(queries, Count(end)), k = std::max(keys, Start(end) + Count(end));
        if (plan_.shape.heads * (end + 1 - begin) * q * k > kScores) break;
        queries = q;
        keys = k;
      }
      AddGroup(begin, end, queries, keys);
      begin = end;
    }
    if (cache_ != nullptr) CacheRows();
    return std::move(out_);
  }

 private:
  int64_t Sequences() const { return static_cast<int64_t>(plan_.offsets.size()) - 1; }
  int64_t Offset(int64_t b) const { return plan_.offsets[static_cast<size_t>(b)]; }
  int64_t Count(int64_t b) const { return Offset(b + 1) - Offset(b); }
  /// Tokens of the sequence before this call.
  int64_t Start(int64_t b) const { return cache_ == nullptr ? 0 : cache_->lengths[b]; }
  int64_t Slot(int64_t b, int64_t position) const { return cache_->slots[b * cache_->capacity + position]; }

  void Rotation() {
    if (plan_.ropes.empty()) return;
    std::vector<at::Tensor> cos, sin;
    for (int64_t b = 0; b < Sequences(); ++b) {
      const RopeTable& table = *plan_.ropes[static_cast<size_t>(b)];
      cos.push_back(table.cos.narrow(0, Start(b), Count(b)));
      sin.push_back(table.sin.narrow(0, Start(b), Count(b)));
    }
    if (cos.empty()) return;
    out_.cos_t1d = at::cat(cos).unsqueeze(1).to(device_);
    out_.sin_t1d = at::cat(sin).unsqueeze(1).to(device_);
  }

  void AddGroup(int64_t begin, int64_t end, int64_t queries, int64_t keys) {
    Group group;
    group.first_row = Offset(begin);
    group.rows = Offset(end) - Offset(begin);
    if (group.rows == 0) return;
    group.sequences = end - begin;
    group.queries = queries;
    group.keys = keys;
    std::vector<int64_t> places, starts, slots, positions;
    for (int64_t b = begin; b < end; ++b) {
      starts.push_back(Start(b));
      for (int64_t i = 0; i < Count(b); ++i) places.push_back((b - begin) * queries + i);
      for (int64_t p = 0; cache_ != nullptr && p < keys; ++p) {
        // Behind the end any key will do that was written.
        positions.push_back(p < Start(b) + Count(b) ? p : 0);
        slots.push_back(Slot(b, positions.back()));
      }
    }
    if (group.rows < group.sequences * queries) group.place_t = Indices(places, device_);
    const at::TensorOptions options = at::TensorOptions(at::kLong).device(device_);
    group.distance_bsl = at::arange(queries, options).view({1, -1, 1}) - at::arange(keys, options);
    if (cache_ != nullptr) {
      group.distance_bsl = group.distance_bsl + Indices(starts, device_).view({-1, 1, 1});
      group.slot_bl = Indices(slots, device_).view({group.sequences, keys});
      group.position_bl = Indices(positions, device_).view({group.sequences, keys});
    }
    out_.groups.push_back(std::move(group));
  }

  void CacheRows() {
    std::vector<int64_t> slots, positions;
    for (int64_t b = 0; b < Sequences(); ++b)
      for (int64_t i = 0; i < Count(b); ++i) {
        positions.push_back(Start(b) + i);
        slots.push_back(Slot(b, positions.back()));
      }
    out_.rows = {Indices(slots, device_), Indices(positions, device_)};
  }

  const AttentionPlan& plan_;
  const CacheView* cache_;
  at::Device device_;
  Geometry out_;
};

/// The plan's geometry, worked out by the first layer of a call. A plan belongs to one call, so nobody else looks meanwhile.
std::shared_ptr<const Geometry> GeometryOf(const AttentionPlan& plan, const CacheView* cache, at::Device device) {
  if (plan.geometry == nullptr) plan.geometry = std::make_shared<const Geometry>(GeometryBuilder(plan, cache, device).Build());
  return plan.geometry;
}

struct Heads {
  at::Tensor q_thd, k_tkd, v_tkd;
};

at::Tensor Rotated(const at::Tensor& x_tnd, const at::Tensor& cos_t1d, const at::Tensor& sin_t1d) {
  if (!cos_t1d.defined()) return x_tnd;
  const int64_t half = x_tnd.size(2) / 2;
  const at::Tensor low = x_tnd.narrow(2, 0, half), high = x_tnd.narrow(2, half, half);
  return at::cat({low * cos_t1d - high * sin_t1d, high * cos_t1d + low * sin_t1d}, 2);
}

/// Heads in the type that is computed in, queries and keys rotated.
Heads HeadsOf(const AttentionShape& shape, const at::Tensor& qkv, const at::Tensor& cos_t1d, const at::Tensor& sin_t1d) {
  const int64_t t = qkv.size(0), d = shape.head_dim;
  Heads heads;
  if (shape.order == QkvOrder::kByHead) {
    const at::Tensor qkv_th3d = qkv.reshape({t, shape.heads, 3, d});
    heads = {qkv_th3d.select(2, 0), qkv_th3d.select(2, 1), qkv_th3d.select(2, 2)};
  } else {
    const at::Tensor qkv_tnd = qkv.reshape({t, shape.heads + 2 * shape.kv_heads, d});
    heads = {qkv_tnd.narrow(1, 0, shape.heads), qkv_tnd.narrow(1, shape.heads, shape.kv_heads),
             qkv_tnd.narrow(1, shape.heads + shape.kv_heads, shape.kv_heads)};
  }
  const at::ScalarType type = qkv.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return {Rotated(heads.q_thd.to(type), cos_t1d, sin_t1d), Rotated(heads.k_tkd.to(type), cos_t1d, sin_t1d), heads.v_tkd.to(type)};
}

/// (t, n, d) -> (b, s, n, d)
at::Tensor Padded(const Group& group, const at::Tensor& x_tnd) {
  const int64_t n = x_tnd.size(1), d = x_tnd.size(2);
  at::Tensor rows = x_tnd;
  if (group.place_t.defined())
    rows = at::zeros({group.sequences * group.queries, n, d}, x_tnd.options().requires_grad(false))
               .index_copy(0, group.place_t, x_tnd);
  return rows.reshape({group.sequences, group.queries, n, d});
}

/// q (t, h, d) of the group's rows, k and v (b, l, k, d) -> (t, h * d)
at::Tensor Attend(const AttentionShape& shape, const Group& group, const at::Tensor& slopes_kg11, int64_t window,
                  const at::Tensor& q_thd, const at::Tensor& k_blkd, const at::Tensor& v_blkd) {
  const int64_t b = group.sequences, s = group.queries, l = group.keys, kv = shape.kv_heads, d = shape.head_dim,
                g = shape.heads / kv;
  const at::Tensor q =
      Padded(group, q_thd * shape.scale).view({b, s, kv, g, d}).permute({0, 2, 3, 1, 4}).reshape({b, kv, g * s, d});
  at::Tensor scores = at::matmul(q, k_blkd.permute({0, 2, 3, 1})).view({b, kv, g, s, l});
  const at::Tensor distance = group.distance_bsl.view({-1, 1, 1, s, l});
  if (slopes_kg11.defined()) scores = scores - slopes_kg11.to(scores.scalar_type()) * distance;
  at::Tensor hidden = distance < 0;
  if (window > 0) hidden = hidden.logical_or(distance >= window);
  const at::Tensor p = scores.masked_fill(hidden, kHidden).softmax(-1).view({b, kv, g * s, l});
  const at::Tensor out = at::matmul(p, v_blkd.transpose(1, 2)).view({b, kv, g, s, d}).permute({0, 3, 1, 2, 4});
  const at::Tensor out_rows = out.reshape({b * s, shape.heads * d});
  return group.place_t.defined() ? out_rows.index_select(0, group.place_t) : out_rows;
}

at::Tensor Concatenated(const std::vector<at::Tensor>& parts, const AttentionShape& shape, const at::Tensor& like) {
  if (parts.empty()) return at::empty({0, shape.heads * shape.head_dim}, like.options().requires_grad(false));
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

}  // namespace

at::Tensor PackedAttention(const at::Tensor& qkv, const AttentionPlanPtr& plan, int64_t window) {
  const std::shared_ptr<const Geometry> geometry = GeometryOf(*plan, nullptr, qkv.device());
  std::vector<at::Tensor> parts;
  for (const Group& group : geometry->groups) {
    const auto expression = [geometry, &group = group, shape = plan->shape, window](const std::vector<at::Tensor>& of_group) {
      const auto rows = [&](const at::Tensor& x) { return x.defined() ? x.narrow(0, group.first_row, group.rows) : x; };
      const Heads heads = HeadsOf(shape, of_group[0], rows(geometry->cos_t1d), rows(geometry->sin_t1d));
      return Attend(shape, group, geometry->slopes_kg11, window, heads.q_thd, Padded(group, heads.k_tkd),
                    Padded(group, heads.v_tkd))
          .to(of_group[0].scalar_type());
    };
    parts.push_back(Recomputed(expression, {qkv.narrow(0, group.first_row, group.rows)}));
  }
  return Concatenated(parts, plan->shape, qkv);
}

at::Tensor CachedAttention(const at::Tensor& qkv, const AttentionPlan& plan, int64_t window, const CacheView& cache) {
  const std::shared_ptr<const Geometry> geometry = GeometryOf(plan, &cache, qkv.device());
  const Heads heads = HeadsOf(plan.shape, qkv, geometry->cos_t1d, geometry->sin_t1d);
  // (slots, capacity, kv_heads, head_dim), in place
  at::Tensor keys = cache.keys.transpose(1, 2), values = cache.values.transpose(1, 2);
  keys.index_put_({geometry->rows.slot_t, geometry->rows.position_t}, heads.k_tkd.to(keys.scalar_type()));
  values.index_put_({geometry->rows.slot_t, geometry->rows.position_t}, heads.v_tkd.to(values.scalar_type()));
  std::vector<at::Tensor> parts;
  for (const Group& group : geometry->groups) {
    const at::ScalarType type = heads.q_thd.scalar_type();
    const auto read = [&](const at::Tensor& from) { return from.index({group.slot_bl, group.position_bl}).to(type); };
    parts.push_back(Attend(plan.shape, group, geometry->slopes_kg11, window, heads.q_thd.narrow(0, group.first_row, group.rows),
                           read(keys), read(values))
                        .to(qkv.scalar_type()));
  }
  return Concatenated(parts, plan.shape, qkv);
}

}  // namespace fedalt::expressions
