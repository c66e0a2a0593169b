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

/// Whether contributions of so many values hold B alone (a shared, frozen A does not travel).
bool OnlyB(int64_t values, const std::vector<AdaptedModule>& modules, int64_t r) {
  int64_t both = 0;
  for (const AdaptedModule& module : modules) both += module.in_features + module.out_features;
  return values != r * both;
}
bool OnlyB(const RoundUploads& round) {
  return OnlyB(round.uploads.front().values.numel(), round.modules, round.r);
}

/// Uploads as rows of one matrix, of the values in [begin, begin + count).
at::Tensor Rows(const RoundUploads& round, int64_t begin, int64_t count) {
  std::vector<at::Tensor> rows;
  for (const Upload& upload : round.uploads) rows.push_back(upload.values.narrow(0, begin, count).to(at::kDouble));
  return at::stack(rows);
}

/// The cosines (n, n) of the contributors' B, all modules flattened to one vector; 0 where one of them is zero.
at::Tensor CosinesOfB(const RoundUploads& round) {
  const int64_t n = static_cast<int64_t>(round.uploads.size());
  const bool only_b = OnlyB(round);
  at::Tensor products = at::zeros({n, n}, at::kDouble);
  int64_t begin = 0;
  for (const AdaptedModule& module : round.modules) {
    if (!only_b) begin += round.r * module.in_features;
    const at::Tensor b = Rows(round, begin, round.r * module.out_features);
    products.addmm_(b, b.t());
    begin += round.r * module.out_features;
  }
  const at::Tensor norms = products.diagonal().sqrt();
  const at::Tensor scale = at::outer(norms, norms);
  return at::where(scale > 0, products / scale, at::zeros_like(products));
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
  ReadingWeights weights;
  std::vector<std::vector<LoraFactors>> terms;  ///< [module][upload]; empty where only B travel
  std::vector<ProductSum> sums;                 ///< per module, for kSvd
  std::vector<double> norms;                    ///< per module, the median of ||B_j A_j||, for rescale

  at::Tensor For(int64_t reader) const;
  LoraFactors Module(size_t i, const std::vector<double>& reading) const;
};

at::Tensor AtServer::For(int64_t reader) const {
  const std::vector<double> reading = weights.For(reader);
  const bool nobody = std::all_of(reading.begin(), reading.end(), [](double w) { return w == 0.0; });
  const at::Tensor& like = round.uploads.front().values;
  if (nobody) return at::zeros_like(like);
  if (terms.empty()) {
    at::Tensor mean = at::zeros_like(like, at::kDouble);
    for (size_t j = 0; j < reading.size(); ++j)
      if (reading[j] != 0.0) mean.add_(round.uploads[j].values.to(at::kDouble), reading[j]);
    return mean.to(like.scalar_type());
  }
  std::vector<LoraFactors> modules;
  for (size_t i = 0; i < terms.size(); ++i) modules.push_back(Module(i, reading));
  return JoinFactors(modules).to(like.scalar_type());
}

LoraFactors AtServer::Module(size_t i, const std::vector<double>& reading) const {
  LoraFactors result;
  if (options.aggregate == RestOfWorldAggregate::kSvd) {
    result = sums[i].Best(reading, round.r);
  } else if (options.aggregate == RestOfWorldAggregate::kExact) {
    std::vector<LoraFactors> others;
    std::vector<double> shares;
    for (size_t j = 0; j < reading.size(); ++j) {
      if (reading[j] == 0.0) continue;
      others.push_back(terms[i][j]);
      shares.push_back(reading[j]);
    }
    result = Stacked(others, shares);
  } else {
    const double total = std::accumulate(reading.begin(), reading.end(), 0.0);  // of A the mean, also where B is a sum
    result = {at::zeros_like(terms[i].front().a_ri), at::zeros_like(terms[i].front().b_or)};
    for (size_t j = 0; j < reading.size(); ++j) {
      result.a_ri.add_(terms[i][j].a_ri, reading[j] / total);
      result.b_or.add_(terms[i][j].b_or, reading[j]);
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

ReadingWeights::ReadingWeights(const RoundUploads& round, const RestOfWorldOptions& options) : options_(options) {
  for (const Upload& upload : round.uploads) {
    sites_.push_back(upload.site);
    weights_.push_back(upload.weight);
  }
  if (BySimilarity(options) && !round.uploads.empty()) cosines_ = CosinesOfB(round);
}

std::vector<double> ReadingWeights::For(int64_t reader) const {
  std::vector<double> weights = weights_;
  const size_t own = static_cast<size_t>(std::find(sites_.begin(), sites_.end(), reader) - sites_.begin());
  const bool known = own < sites_.size();
  if (known && !options_.include_self) weights[own] = 0.0;
  const bool kindred = options_.weights == SiteWeights::kKindred;
  if (known && cosines_.defined()) {
    const double* cosines = cosines_.data_ptr<double>() + own * sites_.size();
    std::vector<double> alike(weights.size(), 0.0);
    for (size_t j = 0; j < weights.size(); ++j)
      if (weights[j] != 0.0 && cosines[j] > 0.0) alike[j] = cosines[j];  // one that is not a number counts as 0
    const double least = kindred ? kKindredCosine : 0.0;
    if (std::any_of(alike.begin(), alike.end(), [&](double cosine) { return cosine > least; })) weights = alike;
  }
  double whole = 0.0;  // what becomes 1
  for (const double w : weights) whole = kindred ? std::max(whole, w) : whole + w;
  if (whole > 0.0)
    for (double& w : weights) w /= whole;
  return weights;
}

std::function<at::Tensor(int64_t reader)> RestOfWorldAtServer(RoundUploads round, const RestOfWorldOptions& options) {
  auto server = std::make_shared<AtServer>(AtServer{{}, options, ReadingWeights(round, options), {}, {}, {}});
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

StatusOr<std::vector<std::vector<double>>> ContributionProducts(size_t n, const LoadContribution& load,
                                                                const std::vector<AdaptedModule>& modules, int64_t r) {
  const auto product = [&](const at::Tensor& x, const at::Tensor& y) {
    if (OnlyB(x.numel(), modules, r)) return x.to(at::kDouble).dot(y.to(at::kDouble)).item<double>();
    const std::vector<LoraFactors> of_x = ViewFactors(x, modules), of_y = ViewFactors(y, modules);
    double sum = 0.0;
    for (size_t module = 0; module < modules.size(); ++module) sum += InnerProduct(of_x[module], of_y[module]);
    return sum;
  };
  std::vector<std::vector<double>> products(n, std::vector<double>(n, 0.0));
  for (size_t begin = 0; begin < n; begin += kHeldForProducts) {
    std::vector<at::Tensor> held;
    for (size_t i = begin; i < std::min(n, begin + kHeldForProducts); ++i) {
      ASSIGN_OR_RETURN(at::Tensor values, load(i));
      held.push_back(std::move(values));
    }
    for (size_t j = 0; j < begin + held.size(); ++j) {
      at::Tensor other;
      if (j < begin) {
        ASSIGN_OR_RETURN(other, load(j));
      } else {
        other = held[j - begin];
      }
      for (size_t i = std::max(begin, j); i < begin + held.size(); ++i)
        products[i][j] = products[j][i] = product(held[i - begin], other);
    }
  }
  return products;
}

std::vector<std::vector<double>> Influence(const std::vector<std::vector<double>>& products,
                                           const std::vector<std::vector<double>>& weights) {
  const size_t n = products.size();
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
