// LoRA factors inside a flat contribution, and products of them without ever forming a (d_out, d_in) matrix.
//
// Stateless, any thread. A flat contribution holds, module after module, A (r, d_in) and then B (d_out, r); its rank follows from
// its length. Arithmetic is in float64.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "adapter/fedalt_linear.h"
#include "adapter/site_adapters.h"
#include "fed/method.h"

namespace fedalt {

/// Whether so many values can be A and B of every module, of one rank.
bool AreFactors(int64_t values, const std::vector<AdaptedModule>& modules);
/// The rank of a flat contribution. Precondition: AreFactors.
int64_t RankOf(const at::Tensor& theta, const std::vector<AdaptedModule>& modules);
/// Its factors per module, as views in its own dtype.
std::vector<LoraFactors> ViewFactors(const at::Tensor& theta, const std::vector<AdaptedModule>& modules);
/// Its factors per module, float64.
std::vector<LoraFactors> SplitFactors(const at::Tensor& theta, const std::vector<AdaptedModule>& modules);
/// The inverse, float64.
at::Tensor JoinFactors(const std::vector<LoraFactors>& factors);

/// p_k = w_k / sum w of each upload.
std::vector<double> SharesOf(const RoundUploads& round);
/// The factors of all uploads, by module: [module][upload].
std::vector<std::vector<LoraFactors>> FactorsByModule(const RoundUploads& round);
/// Per module [p_1 A_1; ...] and [B_1 ...], whose product is sum p_k B_k A_k.
std::vector<LoraFactors> StackedMean(const RoundUploads& round);
/// Per module sum p_k A_k and sum p_k B_k. Precondition: all uploads have one rank.
std::vector<LoraFactors> MeanFactors(const RoundUploads& round);

/// Under the names of SiteAdapters.
NamedTensors NamedFactors(const std::vector<LoraFactors>& factors, const std::vector<AdaptedModule>& modules);

/// [w_1 A_1; w_2 A_2; ...] and [B_1 B_2 ...]: their product is sum w_j B_j A_j.
LoraFactors Stacked(const std::vector<LoraFactors>& terms, const std::vector<double>& weights);
/// The first `r` of the ranks, padded with zeros if there are fewer.
LoraFactors WithRank(const LoraFactors& factors, int64_t r);

/// <B_i A_i, B_j A_j>, the Frobenius inner product, through r x r matrices; of factors of any dtype.
double InnerProduct(const LoraFactors& i, const LoraFactors& j);

/// sum_j w_j B_j A_j for changing weights: the factors are orthogonalised once, in O(d (n r)^2), then every set of weights costs
/// one singular value decomposition of a matrix no larger than min(d_out, n r) x min(d_in, n r).
class ProductSum {
 public:
  explicit ProductSum(const std::vector<LoraFactors>& terms);

  /// The best rank-r approximation (Eckart and Young 1936), as B = U sqrt(S), A = sqrt(S) V^T, greatest singular values first;
  /// padded with zeros where the sum has a lower rank. Beyond kDense rows and columns by subspace iteration (Halko, Martinsson
  /// and Tropp 2011) until the estimated error is 1e-9, and by the whole decomposition where the spectrum falls too slowly for
  /// that.
  LoraFactors Best(const std::vector<double>& weights, int64_t r) const;
  static constexpr int64_t kDense = 192;

 private:
  std::vector<int64_t> ranks_;
  at::Tensor q_b_, r_b_;  ///< [B_1 B_2 ...] = q_b r_b
  at::Tensor q_a_, r_a_;  ///< [A_1; A_2; ...]^T = q_a r_a
};

}  // namespace fedalt
