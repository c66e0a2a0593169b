#include "fed/rest_of_world.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "fed/factors.h"

namespace fedalt {
namespace {

/// Whether the uploads hold B alone (a shared, frozen A does not travel).
bool OnlyB(const RoundUploads& round) {
  int64_t both = 0;
  for (const AdaptedModule& module : round.modules) both += module.in_features + module.out_features;
  return round.uploads.front().values.numel() != round.r * both;
}

/// All B of a contribution, flat.
at::Tensor FlatB(const RoundUploads& round, const Upload& upload) {
  if (OnlyB(round)) return upload.values.to(at::kDouble);
  std::vector<at::Tensor> parts;
  for (const LoraFactors& factors : SplitFactors(upload.values, round.modules)) parts.push_back(factors.b_or.reshape({-1}));
  return at::cat(parts);
}

double NormOf(const LoraFactors& factors) {
  return std::sqrt(std::max(0.0, InnerProduct(factors, factors)));
}

bool BySimilarity(const RestOfWorldOptions& options) {
  return options.weights == SiteWeights::kSimilarity || options.weights == SiteWeights::kKindred;
}

/// The middle one, or the mean of the two middle ones.
double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

/// What all sites share of the work.
struct AtServer {
  RoundUploads round;
  RestOfWorldOptions options;
  std::vector<std::vector<LoraFactors>> terms;  ///< [module][upload]; empty where only B travel
  std::vector<ProductSum> sums;                 ///< per module, for kSvd
  std::vector<double> norms;                    ///< per module, the median of ||B_j A_j||, for rescale

  at::Tensor For(int64_t reader) const;
  LoraFactors Module(size_t i, const std::vector<double>& weights) const;
};

at::Tensor AtServer::For(int64_t reader) const {
  const std::vector<double> weights = ReadingWeights(round, options, reader);
  const bool nobody = std::all_of(weights.begin(), weights.end(), [](double w) { return w == 0.0; });
  const at::Tensor& like = round.uploads.front().values;
  if (nobody) return at::zeros_like(like);
  if (terms.empty()) {
    at::Tensor mean = at::zeros_like(like, at::kDouble);
    for (size_t j = 0; j < weights.size(); ++j)
      if (weights[j] != 0.0) mean.add_(round.uploads[j].values.to(at::kDouble), weights[j]);
    return mean.to(like.scalar_type());
  }
  std::vector<LoraFactors> modules;
  for (size_t i = 0; i < terms.size(); ++i) modules.push_back(Module(i, weights));
  return JoinFactors(modules).to(like.scalar_type());
}

LoraFactors AtServer::Module(size_t i, const std::vector<double>& weights) const {
  LoraFactors result;
  if (options.aggregate == RestOfWorldAggregate::kSvd) {
    result = sums[i].Best(weights, round.r);
  } else if (options.aggregate == RestOfWorldAggregate::kExact) {
    std::vector<LoraFactors> others;
    std::vector<double> shares;
    for (size_t j = 0; j < weights.size(); ++j) {
      if (weights[j] == 0.0) continue;
      others.push_back(terms[i][j]);
      shares.push_back(weights[j]);
    }
    result = Stacked(others, shares);
  } else {
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);  // of A the mean, also where B is a sum
    result = {at::zeros_like(terms[i].front().a_ri), at::zeros_like(terms[i].front().b_or)};
    for (size_t j = 0; j < weights.size(); ++j) {
      result.a_ri.add_(terms[i][j].a_ri, weights[j] / total);
      result.b_or.add_(terms[i][j].b_or, weights[j]);
    }
  }
  if (!options.rescale) return result;
  const double norm = NormOf(result);
  if (norm > 0.0) result.b_or = result.b_or * (norms[i] / norm);
  return result;
}

}  // namespace

bool NeedsFactors(const RestOfWorldOptions& options) {
  return options.aggregate == RestOfWorldAggregate::kSvd || options.aggregate == RestOfWorldAggregate::kExact || options.rescale;
}

bool NeedsServer(const RestOfWorldOptions& options) {
  return NeedsFactors(options) || BySimilarity(options);
}

std::vector<double> ReadingWeights(const RoundUploads& round, const RestOfWorldOptions& options, int64_t reader) {
  std::vector<double> weights;
  const Upload* own = nullptr;
  for (const Upload& upload : round.uploads) {
    if (upload.site == reader) own = &upload;
    weights.push_back(upload.site == reader && !options.include_self ? 0.0 : upload.weight);
  }
  const double least = options.weights == SiteWeights::kKindred ? kKindredCosine : 0.0;
  if (BySimilarity(options) && own != nullptr) {
    const at::Tensor mine = FlatB(round, *own);
    const double norm = mine.norm().item<double>();
    std::vector<double> cosines(weights.size(), 0.0);
    for (size_t j = 0; j < weights.size(); ++j) {
      if (weights[j] == 0.0) continue;
      const at::Tensor theirs = FlatB(round, round.uploads[j]);
      const double product = norm * theirs.norm().item<double>();
      if (product > 0.0) cosines[j] = std::max(0.0, mine.dot(theirs).item<double>() / product);
    }
    if (std::any_of(cosines.begin(), cosines.end(), [&](double c) { return c > least; })) weights = cosines;
  }
  double whole = 0.0;  // what becomes 1
  for (const double w : weights) whole = options.weights == SiteWeights::kKindred ? std::max(whole, w) : whole + w;
  if (whole > 0.0)
    for (double& w : weights) w /= whole;
  return weights;
}

std::function<at::Tensor(int64_t reader)> RestOfWorldAtServer(RoundUploads round, const RestOfWorldOptions& options) {
  auto server = std::make_shared<AtServer>();
  server->options = options;
  if (!OnlyB(round)) server->terms = FactorsByModule(round);
  FEDALT_CHECK(!server->terms.empty() || !NeedsFactors(options), "A travels where products are wanted");
  for (const std::vector<LoraFactors>& terms : server->terms) {
    if (options.aggregate == RestOfWorldAggregate::kSvd) server->sums.emplace_back(terms);
    if (!options.rescale) continue;
    std::vector<double> norms;
    norms.reserve(terms.size());
    for (const LoraFactors& factors : terms) norms.push_back(NormOf(factors));
    server->norms.push_back(Median(std::move(norms)));
  }
  server->round = std::move(round);
  return [server](int64_t reader) { return server->For(reader); };
}

std::vector<std::vector<double>> Influence(const RoundUploads& round, const std::vector<std::vector<double>>& weights) {
  const size_t n = round.uploads.size();
  // <B_i A_i, B_j A_j> over all modules. With one common A, B alone: equal but for the spread of A's singular values.
  std::vector<std::vector<double>> products(n, std::vector<double>(n, 0.0));
  const bool only_b = OnlyB(round);
  const std::vector<std::vector<LoraFactors>> terms = only_b ? std::vector<std::vector<LoraFactors>>{} : FactorsByModule(round);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j <= i; ++j) {
      double product = 0.0;
      if (only_b) product = round.uploads[i].values.to(at::kDouble).dot(round.uploads[j].values.to(at::kDouble)).item<double>();
      for (const std::vector<LoraFactors>& module : terms) product += InnerProduct(module[i], module[j]);
      products[i][j] = products[j][i] = product;
    }
  std::vector<std::vector<double>> shares;
  for (const std::vector<double>& w : weights) {
    std::vector<double> of(n, 0.0);
    double total = 0.0;
    for (size_t j = 0; j < n; ++j) {
      for (size_t i = 0; i < n; ++i) of[j] += w[j] * w[i] * products[i][j];
      total += of[j];
    }
    for (double& share : of) share = total > 0.0 ? share / total : 0.0;
    shares.push_back(std::move(of));
  }
  return shares;
}

}  // namespace fedalt
