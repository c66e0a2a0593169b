// The rest of world of each site as the server computes it, for the options that the sum alone cannot serve (algorithm, section 3):
// the best low-rank approximation of the mean product, the mean product itself, rescaling, weights by similarity.
//
// The server sees every contribution then, so a confidential transport offers none of this.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "base/status.h"
#include "fed/method.h"

namespace fedalt {

/// Whether the server must compute RoW_k for each site.
bool NeedsServer(const RestOfWorldOptions& options);
/// Whether that takes the products, so that A must travel even where it is shared and frozen.
bool NeedsFactors(const RestOfWorldOptions& options);

/// What computes RoW_k, flat in the uploads' dtype, for a site k that may be in the ledger or not. Work that all sites share is
/// done once: for kSvd and kExact O(d (n r)^2) per module, then O((n r)^3) per site at most. A reader with nobody else to read gets
/// zeros.
std::function<at::Tensor(int64_t reader)> RestOfWorldAtServer(RoundUploads round, const RestOfWorldOptions& options);

/// A cosine of two sites' B from which on they are taken as alike (kKindred).
inline constexpr double kKindredCosine = 0.05;

/// How much each contributor weighs for a reader. The cosines of all pairs are computed once.
class ReadingWeights {
 public:
  ReadingWeights(const RoundUploads& round, const RestOfWorldOptions& options);

  /// One weight per contributor, all 0 if there is nobody to read. Uniform, by samples, or by the cosine of the flattened B,
  /// negative ones counting as 0 and uniform if none is positive: summing to 1. kKindred: the cosines divided by the greatest, so
  /// that the most similar one weighs 1; if none is above kKindredCosine, everybody weighs 1.
  std::vector<double> For(int64_t reader) const;

 private:
  RestOfWorldOptions options_;
  std::vector<int64_t> sites_;
  std::vector<double> weights_;
  at::Tensor cosines_;  ///< (n, n), for kSimilarity and kKindred
};

/// What contributor `i` sent, flat.
using LoadContribution = std::function<StatusOr<at::Tensor>(size_t i)>;
/// So many contributions are held at once for their products, and one beside them.
inline constexpr size_t kHeldForProducts = 4;
/// <B_i A_i, B_j A_j> of `n` contributors, Frobenius inner products summed over the modules. With one common A, B alone travels and
/// <B_i, B_j> is given: equal but for the spread of A's singular values. Errors: those of `load`.
StatusOr<std::vector<std::vector<double>>> ContributionProducts(size_t n, const LoadContribution& load,
                                                                const std::vector<AdaptedModule>& modules, int64_t r);

/// Who is in whose rest of world: shares[k][j] = <w_j B_j A_j, M_k> / <M_k, M_k> with M_k = sum over i != k of w_i B_i A_i;
/// each row sums to 1 (all 0 where M_k is). `products` as ContributionProducts gives them, `weights[k][j]` as ReadingWeights does.
std::vector<std::vector<double>> Influence(const std::vector<std::vector<double>>& products,
                                           const std::vector<std::vector<double>>& weights);
/// Among so many sites it is computed, after the exchange: a larger table cannot be read.
constexpr int64_t kSitesInInfluence = 64;

}  // namespace fedalt
