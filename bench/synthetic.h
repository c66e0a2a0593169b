// Models, data and adapters that a benchmark makes itself: right geometry, random values.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "adapter/site_adapters.h"
#include "data/dataset.h"
#include "model/transformer.h"

namespace fedalt::bench {

struct Geometry {
  int64_t layers, hidden, intermediate, heads, vocab;
  int64_t kv_heads = heads;
  bool tied = false;  ///< head and embedding are one

  /// Parameters of the layers' linears.
  double LinearParameters() const;
  /// All parameters.
  int64_t Parameters() const;
  ModelConfig Config() const;
};
constexpr Geometry kGeometryTiny{2, 32, 48, 2, 64};
constexpr Geometry kGeometryS{8, 512, 1376, 8, 32000};
constexpr Geometry kGeometryM{12, 1024, 2816, 16, 32000};
constexpr Geometry kGeometrySmol{30, 576, 1536, 9, 49152, 3, true};  // SmolLM2-135M
constexpr Geometry kGeometryQuick{2, 32, 48, 2, 128};                // room for the tokenizer's 96 ids
constexpr Geometry kGeometry7B{32, 4096, 11008, 32, 32000};

/// A batch: `sequences` of `length` tokens each, all of them but the first in the response.
struct Load {
  int64_t sequences, length;
};
constexpr Load kLoadTiny{2, 8};
constexpr Load kLoadTraining{8, 256};

std::shared_ptr<const Transformer> RandomModel(const Geometry& geometry, at::ScalarType dtype);
/// A model directory of random weights (standard deviation 0.02, no end-of-text token), in shards, without a tokenizer. Quick
/// enough for 13 GB: as fast as the disk takes it.
void WriteModelDirectory(const Geometry& geometry, at::ScalarType dtype, const std::filesystem::path& directory);
std::vector<TokenizedExample> RandomExamples(const Geometry& geometry, const Load& load);
/// Adapters of rank 8 on q and v of which nothing is zero, as after some rounds.
std::unique_ptr<SiteAdapters> SomeAdapters(const Transformer& model);

/// Operations that a training step on a frozen base cannot do without: 2 P T forward, 2 P T backward for dX alone (none for the
/// first layer's q, k and v, below which nothing is trained), the head on every response position, causal attention counted at
/// half.
double NecessaryFlops(const Geometry& geometry, const Load& load);

}  // namespace fedalt::bench
