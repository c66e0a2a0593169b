// Sequences of a cache are lists of (slot, position): a position is written once, in the slot that its sequence owned at that time,
// and copies of the sequence go on reading it there. Invariant: in the slot that a sequence owns, no one reads at or behind its
// length.
#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "model/attention.h"
#include "model/tensor_memory.h"
#include "model/transformer.h"

namespace fedalt {
namespace {

// Bytes up to which a cache lies in large pages: those hold what is never written, too, and half of a large cache may be that.
constexpr int64_t kSmallCache = 32 << 20;

}  // namespace

KvCache::KvCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype, at::Device device)
    : capacity_(capacity),
      num_slots_(batch),
      lengths_(static_cast<size_t>(batch), 0),
      write_slots_(static_cast<size_t>(batch)),
      slots_(static_cast<size_t>(batch * capacity), 0) {
  std::iota(write_slots_.begin(), write_slots_.end(), 0);
  const at::Tensor all =
      at::empty({2 * config.num_layers, batch, config.num_kv_heads, capacity, config.head_dim}, at::device(device).dtype(dtype));
  if (static_cast<int64_t>(all.nbytes()) <= kSmallCache) UseLargePages({all});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    keys_.push_back(all[2 * layer]);
    values_.push_back(all[2 * layer + 1]);
  }
}

void KvCache::Reserve(const std::vector<int64_t>& offsets) {
  FEDALT_CHECK(offsets.size() == lengths_.size() + 1, "one run of tokens per sequence of the cache");
  for (size_t b = 0; b < lengths_.size(); ++b) {
    const int64_t end = lengths_[b] + offsets[b + 1] - offsets[b];
    FEDALT_CHECK(end <= capacity_, "the cache is full");
    const auto row = slots_.begin() + static_cast<int64_t>(b) * capacity_;
    std::fill(row + lengths_[b], row + end, write_slots_[b]);
  }
}

CacheView KvCache::Layer(int64_t layer) const {
  const size_t i = static_cast<size_t>(layer);
  return {keys_[i], values_[i], slots_.data(), capacity_, lengths_.data()};
}

void KvCache::Advance(const std::vector<int64_t>& offsets) {
  for (size_t b = 0; b < lengths_.size(); ++b) lengths_[b] += offsets[b + 1] - offsets[b];
}

void KvCache::Reorder(const std::vector<int64_t>& source) {
  const size_t count = source.size();
  FEDALT_CHECK(static_cast<int64_t>(count) <= num_slots_, "more sequences than the cache was made for");
  std::vector<int64_t> lengths(count);
  std::vector<int32_t> slots(count * static_cast<size_t>(capacity_)), write_slots(count, -1);
  std::vector<int64_t> read_end(static_cast<size_t>(num_slots_), 0);  // per slot: one past the last position that is still read
  std::vector<bool> owned(static_cast<size_t>(num_slots_), false);
  for (size_t i = 0; i < count; ++i) {
    const size_t from = static_cast<size_t>(source[i]);
    FEDALT_CHECK(from < lengths_.size(), "no such sequence in the cache");
    lengths[i] = lengths_[from];
    const int32_t* const row = slots_.data() + static_cast<int64_t>(from) * capacity_;
    std::copy(row, row + lengths[i], slots.begin() + static_cast<int64_t>(i) * capacity_);
    for (int64_t p = 0; p < lengths[i]; ++p)
      read_end[static_cast<size_t>(row[p])] = std::max(read_end[static_cast<size_t>(row[p])], p + 1);
    const size_t slot = static_cast<size_t>(write_slots_[from]);
    if (!owned[slot]) {  // the first copy goes on in the same slot
      owned[slot] = true;
      write_slots[i] = static_cast<int32_t>(slot);
    }
  }
  for (size_t i = 0; i < count; ++i) {
    if (write_slots[i] >= 0) continue;
    size_t slot = 0;
    while (slot < owned.size() && (owned[slot] || read_end[slot] > lengths[i])) ++slot;
    if (slot == owned.size()) return Compact(source);
    owned[slot] = true;
    write_slots[i] = static_cast<int32_t>(slot);
  }
  lengths_ = std::move(lengths);
  slots_ = std::move(slots);
  write_slots_ = std::move(write_slots);
}

// Every sequence gets a slot with its whole past. Needed only if sequences of different lengths multiply into each other's slots.
void KvCache::Compact(const std::vector<int64_t>& source) {
  const int64_t count = static_cast<int64_t>(source.size());
  std::vector<int64_t> lengths;
  lengths.reserve(source.size());
  for (const int64_t from : source) lengths.push_back(lengths_[static_cast<size_t>(from)]);
  for (std::vector<at::Tensor>* tensors : {&keys_, &values_})
    for (at::Tensor& tensor : *tensors) {
      at::Tensor fresh = at::empty_like(tensor);
      for (int64_t i = 0; i < count; ++i) {
        const int32_t* const row = slots_.data() + source[static_cast<size_t>(i)] * capacity_;
        for (int64_t p = 0, next = 0; p < lengths[static_cast<size_t>(i)]; p = next) {
          while (next < lengths[static_cast<size_t>(i)] && row[next] == row[p]) ++next;
          fresh[i].narrow(1, p, next - p).copy_(tensor[row[p]].narrow(1, p, next - p));
        }
      }
      tensor = fresh;
    }
  lengths_ = std::move(lengths);
  write_slots_.resize(source.size());
  std::iota(write_slots_.begin(), write_slots_.end(), 0);
  slots_.assign(source.size() * static_cast<size_t>(capacity_), 0);
  for (int64_t i = 0; i < count; ++i)
    std::fill(slots_.begin() + i * capacity_, slots_.begin() + (i + 1) * capacity_, static_cast<int32_t>(i));
}

}  // namespace fedalt
