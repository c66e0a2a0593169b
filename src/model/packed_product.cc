#include "model/packed_product.h"

#include <ATen/Parallel.h>
#include <sys/mman.h>

#include <atomic>
#include <limits>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "model/packed_product_kernel.h"

#if defined(__x86_64__)

namespace fedalt {
namespace {

using packed::Base;
using packed::kLine;
using packed::kPanel;
using packed::kPerWord;
using packed::kTileRows;
using packed::LookAhead;
using packed::Word;
using packed::WordsOf;

// Sizes in words. A panel and a block of rows lie in the second-level cache together; a chunk of panels in the third. Found by
// trial (docs/performance.md).
constexpr int64_t kDepthAtOnce = 1408;
constexpr int64_t kRowBlock = 32 * 1024;
constexpr int64_t kChunk = 768 * 1024;
constexpr int64_t kAllRows = 300 * 1024;  // so many are copied once, and the weight passes by two panels at a time
constexpr int64_t kFewPanels = 2;

int64_t Ceiling(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// Whole cache lines, their number odd: rows so far apart do not fall into the same sets of a cache.
int64_t OddLines(int64_t words) {
  return (Ceiling(words, kLine) | 1) * kLine;
}

/// Memory of one thread for copies. It only grows, and lies outside the heap: in the midst of tensors that come and go it would
/// leave holes.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { Release(); }

  Word* Take(int64_t words) {
    const size_t bytes = static_cast<size_t>(words) * sizeof(Word);
    if (bytes > bytes_) {
      Release();
      void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) throw std::bad_alloc();
      words_ = static_cast<Word*>(memory);
      bytes_ = bytes;
    }
    return words_;
  }

 private:
  void Release() {
    if (words_ != nullptr) ::munmap(words_, bytes_);
    words_ = nullptr;
    bytes_ = 0;
  }

  Word* words_ = nullptr;
  size_t bytes_ = 0;
};

/// How a product is cut. "Words" of the depth, tiles of rows, panels of outputs.
struct Cut {
  int64_t blocks = 0, block_words = 0;  ///< of the depth
  int64_t panel_words = 0, row_words = 0;
  int64_t tiles = 0, tiles_at_once = 0, panels_at_once = 0;
  bool all_rows = false;  ///< of one block of the depth are copied once

  Cut(int64_t rows, int64_t outputs, int64_t words) {
    blocks = std::max<int64_t>(1, Ceiling(words, kDepthAtOnce));
    block_words = Ceiling(Ceiling(words, blocks), kLine) * kLine;
    panel_words = OddLines(block_words * kPanel);
    row_words = OddLines(block_words);
    tiles = Ceiling(rows, kTileRows);
    all_rows = blocks == 1 && tiles * kTileRows * row_words <= kAllRows;
    tiles_at_once = all_rows ? tiles : std::clamp<int64_t>(kRowBlock / (row_words * kTileRows), 2, 64);
    panels_at_once = all_rows ? kFewPanels : std::clamp<int64_t>(kChunk / panel_words, 4, 64);
    panels_at_once = std::min(panels_at_once, Ceiling(outputs, kPanel));
  }
  /// Tiles are of nearly the same height.
  int64_t FirstRow(int64_t tile, int64_t rows) const { return tile * rows / tiles; }
};

/// A product in one thread.
template <typename Storage>
class Share {
 public:
  explicit Share(const PackedProductTask<Storage>& task)
      : task_(task), cut_(task.rows, task.outputs, WordsOf<Storage>(task.depth)) {}

  void Run() {
    for (int64_t output = 0; output < task_.outputs; output += cut_.panels_at_once * kPanel)
      for (int64_t block = 0; block < cut_.blocks; ++block) RunChunk(At(output, block));
  }

 private:
  /// Some outputs, some of the depth.
  struct Part {
    int64_t output, outputs, block, begin, depth;
  };
  Part At(int64_t output, int64_t block) const {
    const int64_t begin = block * cut_.block_words * kPerWord<Storage>;
    return {output, std::min(cut_.panels_at_once * kPanel, task_.outputs - output), block, begin,
            std::min(cut_.block_words * kPerWord<Storage>, task_.depth - begin)};
  }
  /// What comes after it, without outputs at the end.
  Part Next(const Part& part) const {
    return part.block + 1 < cut_.blocks ? At(part.output, part.block + 1) : At(part.output + cut_.panels_at_once * kPanel, 0);
  }
  MatrixRows<const Storage> Weight(const Part& part) const {
    const MatrixRows<const Storage>& w = task_.weight;
    return {task_.order == WeightOrder::kOutputs ? w.data + part.output * w.row + part.begin
                                                 : w.data + part.begin * w.row + part.output,
            w.row};
  }
  MatrixRows<const Storage> Rows(int64_t row, const Part& part) const {
    return {task_.x.data + row * task_.x.row + part.begin, task_.x.row};
  }

  void RunChunk(const Part& part) {
    Word* const panels = weights_.Take(cut_.panels_at_once * cut_.panel_words);
    const auto pack = task_.order == WeightOrder::kOutputs ? packed::PackOutputs<Storage> : packed::PackDepth<Storage>;
    pack(Weight(part), part.outputs, part.depth, panels, cut_.panel_words);
    packed::LookAheads ahead;
    const Part next = Next(part);
    const int64_t steps = StepsOf(part, cut_.tiles);
    if (next.outputs > 0)
      ahead.weight = task_.order == WeightOrder::kOutputs ? LookAhead(Weight(next), next.outputs, next.depth, steps)
                                                          : LookAhead(Weight(next), next.depth, next.outputs, steps);
    for (int64_t tile = 0; tile < cut_.tiles; tile += cut_.tiles_at_once) RunRows(part, next, panels, tile, ahead);
  }

  /// At least one, also for an empty depth.
  int64_t StepsOf(const Part& part, int64_t tiles) const {
    return std::max<int64_t>(1, tiles * Ceiling(part.outputs, kPanel) * Ceiling(WordsOf<Storage>(part.depth), packed::kStep));
  }

  void RunRows(const Part& part, const Part& next, const Word* panels, int64_t first_tile, packed::LookAheads& ahead) {
    const int64_t end_tile = std::min(cut_.tiles, first_tile + cut_.tiles_at_once);
    const int64_t first = FirstRow(first_tile), end = FirstRow(end_tile);
    Word* const rows = rows_.Take(cut_.tiles_at_once * kTileRows * cut_.row_words);
    if (!cut_.all_rows || part.output == 0) packed::PackRows(Rows(first, part), end - first, part.depth, rows, cut_.row_words);
    const int64_t steps = StepsOf(part, end_tile - first_tile);
    if (!cut_.all_rows && end_tile < cut_.tiles) {
      const int64_t last = FirstRow(std::min(cut_.tiles, end_tile + cut_.tiles_at_once));
      ahead.rows = LookAhead(Rows(end, part), last - end, part.depth, steps);
    } else if (!cut_.all_rows && next.outputs > 0) {
      ahead.rows = LookAhead(Rows(0, next), FirstRow(std::min(cut_.tiles, cut_.tiles_at_once)), next.depth, steps);
    }
    for (int64_t j = 0; j < part.outputs; j += kPanel)
      for (int64_t tile = first_tile; tile < end_tile; ++tile)
        RunTile(part, j, tile, rows + (FirstRow(tile) - first) * cut_.row_words, panels + j / kPanel * cut_.panel_words, ahead);
  }

  void RunTile(const Part& part, int64_t j, int64_t tile, const Word* x, const Word* panel, packed::LookAheads& ahead) {
    const int64_t row = FirstRow(tile), height = FirstRow(tile + 1) - row, outputs = std::min(kPanel, part.outputs - j);
    const auto run = [&](const Base& base, auto* y, int64_t y_row) {
      TileOf<std::remove_pointer_t<decltype(y)>>(height)(x, cut_.row_words, panel, WordsOf<Storage>(part.depth), base, y, y_row,
                                                         outputs, ahead);
    };
    Storage* const y = task_.y.data + row * task_.y.row + part.output + j;
    Base base;
    if (part.block > 0) {
      base = Sums(row, j);
    } else if (task_.bias != nullptr) {
      for (int64_t o = 0; o < outputs; ++o) bias_[o] = simd::Widen(task_.bias[part.output + j + o]);
      base = {bias_, 0};
    }
    if constexpr (kPerWord<Storage> == 1) {
      if (part.block > 0) base = {y, task_.y.row};
      run(base, y, task_.y.row);
    } else if (part.block + 1 == cut_.blocks) {
      run(base, y, task_.y.row);
    } else {
      const Base to = Sums(row, j);
      run(base, const_cast<float*>(to.data), to.row);
    }
  }

  /// bfloat16 keeps the sums of all but the last block here; float in y itself.
  Base Sums(int64_t row, int64_t j) {
    if (kPerWord<Storage> == 1) return {};
    const int64_t width = cut_.panels_at_once * kPanel;
    return {reinterpret_cast<const float*>(sums_.Take(task_.rows * width)) + row * width + j, width};
  }

  int64_t FirstRow(int64_t tile) const { return cut_.FirstRow(tile, task_.rows); }

  template <typename Result>
  using TileFunction = void (*)(const Word*, int64_t, const Word*, int64_t, const Base&, Result*, int64_t, int64_t,
                                packed::LookAheads&);
  template <typename Result>
  static TileFunction<Result> TileOf(int64_t rows) {
    return [rows]<int... R>(std::integer_sequence<int, R...>) {
      static constexpr TileFunction<Result> kTiles[] = {packed::Tile<Storage, Result, R + 1>...};
      return kTiles[rows - 1];
    }
    (std::make_integer_sequence<int, kTileRows>());
  }

  static thread_local Scratch weights_, rows_, sums_;
  const PackedProductTask<Storage>& task_;
  const Cut cut_;
  float bias_[kPanel];
};
template <typename Storage>
thread_local Scratch Share<Storage>::weights_;
template <typename Storage>
thread_local Scratch Share<Storage>::rows_;
template <typename Storage>
thread_local Scratch Share<Storage>::sums_;

/// Into how many pieces a product is cut: several for each thread, which takes the next when it is done with one, so that a thread
/// that shares its core with another process holds the others up for a piece only.
int64_t PiecesOf(int64_t rows, int64_t outputs, int64_t depth, int64_t threads) {
  constexpr int64_t kMostOfAThread = 4;
  constexpr int64_t kLeastOfAPiece = int64_t{1} << 25;  // multiply-adds, 0.1 to 0.3 ms
  if (threads == 1) return 1;
  return threads * std::clamp<int64_t>(rows * outputs / threads * depth / kLeastOfAPiece, 1, kMostOfAThread);
}

/// Into how many parts the outputs are divided; the rows into pieces / that. Products, and copies of rows and of weights.
int64_t PartsOfOutputs(int64_t rows, int64_t panels, int64_t pieces) {
  int64_t best = 1;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t parts = 1; parts <= pieces; ++parts) {
    if (pieces % parts != 0) continue;
    const double share_rows = static_cast<double>(Ceiling(rows, pieces / parts)),
                 share = static_cast<double>(Ceiling(panels, parts));
    const double cycles = share * 2.0 * share_rows + 0.25 * share_rows + 0.4 * share * kPanel;
    if (cycles < least) std::tie(least, best) = std::pair(cycles, parts);
  }
  return best;
}

}  // namespace

bool HasPackedProduct(c10::ScalarType type) {
  if (type == c10::ScalarType::Float) return ActiveCpuKernels() >= CpuKernels::kAvx512;
  return type == c10::ScalarType::BFloat16 && ActiveCpuKernels() >= CpuKernels::kAvx512Bf16;
}

template <typename Storage>
void PackedProduct(const PackedProductTask<Storage>& task) {
  if (task.rows == 0 || task.outputs == 0) return;
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  const int64_t panels = Ceiling(task.outputs, kPanel);
  const int64_t pieces = PiecesOf(task.rows, task.outputs, task.depth, threads);
  const int64_t by_outputs = PartsOfOutputs(task.rows, panels, pieces), by_rows = pieces / by_outputs;
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < pieces; i = next++) {
      const int64_t o = i % by_outputs, r = i / by_outputs;
      const int64_t first_output = o * panels / by_outputs * kPanel, first_row = r * task.rows / by_rows;
      PackedProductTask<Storage> share = task;
      share.outputs = std::min(task.outputs, (o + 1) * panels / by_outputs * kPanel) - first_output;
      share.rows = (r + 1) * task.rows / by_rows - first_row;
      if (share.outputs <= 0 || share.rows <= 0) continue;
      share.x.data += first_row * task.x.row;
      share.weight.data += first_output * (task.order == WeightOrder::kOutputs ? task.weight.row : 1);
      if (task.bias != nullptr) share.bias += first_output;
      share.y.data += first_row * task.y.row + first_output;
      Share<Storage>(share).Run();
    }
  });
}

}  // namespace fedalt

#else

namespace fedalt {

bool HasPackedProduct(c10::ScalarType) {
  return false;
}
template <typename Storage>
void PackedProduct(const PackedProductTask<Storage>&) {
  FEDALT_CHECK(false, "this processor has no kernel");
}

}  // namespace fedalt
#endif

namespace fedalt {
template void PackedProduct(const PackedProductTask<float>&);
template void PackedProduct(const PackedProductTask<c10::BFloat16>&);
}  // namespace fedalt
