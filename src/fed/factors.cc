#include "fed/factors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/random.h"

namespace fedalt {
namespace {

int64_t WidthOf(const std::vector<AdaptedModule>& modules) {
  int64_t width = 0;
  for (const AdaptedModule& module : modules) width += module.in_features + module.out_features;
  return width;
}

struct SingularTriples {
  at::Tensor u, s, vt;
};

SingularTriples Svd(const at::Tensor& matrix) {
  const auto [u, s, vt] = at::linalg_svd(matrix, /*full_matrices=*/false);
  return {u, s, vt};
}

at::Tensor Orthonormal(const at::Tensor& columns) {
  return std::get<0>(at::linalg_qr(columns));
}

/// Estimated ||X - M_r|| / ||M_r|| for the product X of the first r of `found`, M_r the best approximation of rank r. A singular
/// vector is off by its residual over its distance from the next singular value (Davis and Kahan, Wedin 1972), so where the two
/// values are (nearly) one nothing is ever certain.
double RelativeError(const at::Tensor& matrix, const SingularTriples& found, int64_t r) {
  const at::Tensor leading = found.s.narrow(0, 0, r);
  const at::Tensor residual = (at::mm(matrix, found.vt.narrow(0, 0, r).t()) - found.u.narrow(1, 0, r) * leading).norm(2, 0);
  const double rounding = 1e-16 * leading[0].item<double>();
  const at::Tensor distance = (leading - found.s[r]).clamp_min(std::max(rounding, 1e-300));
  return (leading * residual / distance).norm().item<double>() / std::max(leading.norm().item<double>(), 1e-300);
}

/// The r greatest singular triples of a large matrix, by subspace iteration; nothing where that would take longer than all of
/// them, because the spectrum hardly falls behind the r-th.
std::optional<SingularTriples> LeadingSvd(const at::Tensor& matrix, int64_t r) {
  constexpr int64_t kOversampling = 16, kPowers = 4, kMostLooks = 10;
  constexpr double kEnough = 1e-9;
  const int64_t rows = matrix.size(1), columns = r + kOversampling;
  if (columns > std::min(rows, matrix.size(0))) return std::nullopt;
  at::Tensor start = at::empty({rows, columns}, matrix.options());
  const RandomStream stream(0, RandomPurpose::kInit, {static_cast<uint64_t>(rows), static_cast<uint64_t>(columns)});
  double* const values = start.data_ptr<double>();
  for (int64_t i = 0; i < start.numel(); ++i) values[i] = 2.0 * stream.Uniform(static_cast<uint64_t>(i)) - 1.0;
  at::Tensor q = Orthonormal(at::mm(matrix, start));
  double before = std::numeric_limits<double>::infinity();
  for (int64_t look = 1; look <= kMostLooks; ++look) {
    ThrowIfInterrupted();
    for (int64_t i = 0; i < kPowers; ++i) q = Orthonormal(at::mm(matrix, Orthonormal(at::mm(matrix.t(), q))));
    SingularTriples found = Svd(at::mm(q.t(), matrix));
    found.u = at::mm(q, found.u);
    const double error = RelativeError(matrix, found, r);
    if (error <= kEnough) return found;
    const double at_this_rate = error * std::pow(error / before, static_cast<double>(kMostLooks - look));
    if (!(at_this_rate <= kEnough)) break;
    before = error;
  }
  return std::nullopt;
}

}  // namespace

bool AreFactors(int64_t values, const std::vector<AdaptedModule>& modules) {
  const int64_t width = WidthOf(modules);
  return width > 0 && values > 0 && values % width == 0;
}

int64_t RankOf(const at::Tensor& theta, const std::vector<AdaptedModule>& modules) {
  FEDALT_CHECK(AreFactors(theta.numel(), modules), "A and B of every module, of one rank");
  return theta.numel() / WidthOf(modules);
}

std::vector<LoraFactors> ViewFactors(const at::Tensor& theta, const std::vector<AdaptedModule>& modules) {
  const int64_t r = RankOf(theta, modules);
  std::vector<LoraFactors> factors;
  int64_t begin = 0;
  for (const AdaptedModule& module : modules) {
    LoraFactors pair;
    pair.a_ri = theta.narrow(0, begin, r * module.in_features).view({r, module.in_features});
    begin += r * module.in_features;
    pair.b_or = theta.narrow(0, begin, module.out_features * r).view({module.out_features, r});
    begin += module.out_features * r;
    factors.push_back(std::move(pair));
  }
  return factors;
}

std::vector<LoraFactors> SplitFactors(const at::Tensor& theta, const std::vector<AdaptedModule>& modules) {
  return ViewFactors(theta.to(at::kDouble), modules);
}

at::Tensor JoinFactors(const std::vector<LoraFactors>& factors) {
  std::vector<at::Tensor> parts;
  for (const LoraFactors& pair : factors) {
    parts.push_back(pair.a_ri.reshape({-1}));
    parts.push_back(pair.b_or.reshape({-1}));
  }
  return at::cat(parts);
}

std::vector<double> SharesOf(const RoundUploads& round) {
  double total = 0.0;
  for (const Upload& upload : round.uploads) total += upload.weight;
  std::vector<double> shares;
  for (const Upload& upload : round.uploads) shares.push_back(upload.weight / total);
  return shares;
}

std::vector<std::vector<LoraFactors>> FactorsByModule(const RoundUploads& round) {
  std::vector<std::vector<LoraFactors>> by_module(round.modules.size());
  for (const Upload& upload : round.uploads) {
    std::vector<LoraFactors> factors = SplitFactors(upload.values, round.modules);
    for (size_t i = 0; i < factors.size(); ++i) by_module[i].push_back(std::move(factors[i]));
  }
  return by_module;
}

std::vector<LoraFactors> StackedMean(const RoundUploads& round) {
  const std::vector<double> shares = SharesOf(round);
  std::vector<LoraFactors> stacked;
  for (const std::vector<LoraFactors>& terms : FactorsByModule(round)) stacked.push_back(Stacked(terms, shares));
  return stacked;
}

std::vector<LoraFactors> MeanFactors(const RoundUploads& round) {
  const std::vector<double> shares = SharesOf(round);
  at::Tensor mean = at::zeros_like(round.uploads.front().values, at::kDouble);
  for (size_t j = 0; j < shares.size(); ++j) mean.add_(round.uploads[j].values.to(at::kDouble), shares[j]);
  return SplitFactors(mean, round.modules);
}

NamedTensors NamedFactors(const std::vector<LoraFactors>& factors, const std::vector<AdaptedModule>& modules) {
  NamedTensors named;
  for (size_t i = 0; i < modules.size(); ++i) {
    named.emplace_back(modules[i].name + ".lora_A.weight", factors[i].a_ri);
    named.emplace_back(modules[i].name + ".lora_B.weight", factors[i].b_or);
  }
  return named;
}

LoraFactors Stacked(const std::vector<LoraFactors>& terms, const std::vector<double>& weights) {
  FEDALT_CHECK(terms.size() == weights.size(), "a weight per term");
  std::vector<at::Tensor> a, b;
  for (size_t j = 0; j < terms.size(); ++j) {
    a.push_back(terms[j].a_ri * weights[j]);
    b.push_back(terms[j].b_or);
  }
  return {at::cat(a, 0), at::cat(b, 1)};
}

LoraFactors WithRank(const LoraFactors& factors, int64_t r) {
  const int64_t have = factors.a_ri.size(0);
  if (have >= r) return {factors.a_ri.narrow(0, 0, r), factors.b_or.narrow(1, 0, r)};
  const at::Tensor& a = factors.a_ri;
  const at::Tensor& b = factors.b_or;
  return {at::cat({a, at::zeros({r - have, a.size(1)}, a.options())}, 0),
          at::cat({b, at::zeros({b.size(0), r - have}, b.options())}, 1)};
}

double InnerProduct(const LoraFactors& i, const LoraFactors& j) {
  const auto product = [](const at::Tensor& x, const at::Tensor& y) { return at::mm(x.to(at::kDouble), y.to(at::kDouble)); };
  return (product(i.b_or.t(), j.b_or) * product(i.a_ri, j.a_ri.t())).sum().item<double>();
}

ProductSum::ProductSum(const std::vector<LoraFactors>& terms) {
  ThrowIfInterrupted();
  std::vector<at::Tensor> a, b;
  for (const LoraFactors& term : terms) {
    ranks_.push_back(term.a_ri.size(0));
    a.push_back(term.a_ri);
    b.push_back(term.b_or);
  }
  std::tie(q_b_, r_b_) = at::linalg_qr(at::cat(b, 1).to(at::kDouble));
  std::tie(q_a_, r_a_) = at::linalg_qr(at::cat(a, 0).to(at::kDouble).t());
}

LoraFactors ProductSum::Best(const std::vector<double>& weights, int64_t r) const {
  FEDALT_CHECK(weights.size() == ranks_.size(), "a weight per term");
  ThrowIfInterrupted();
  std::vector<at::Tensor> scales;
  for (size_t j = 0; j < weights.size(); ++j) scales.push_back(at::full({ranks_[j]}, weights[j], at::kDouble));
  const at::Tensor core = at::mm(r_b_ * at::cat(scales), r_a_.t());
  std::optional<SingularTriples> leading;
  if (std::min(core.size(0), core.size(1)) > kDense) leading = LeadingSvd(core, r);
  const auto [u, s, vt] = leading ? *leading : Svd(core);
  const int64_t kept = std::min(r, s.size(0));
  const at::Tensor root = s.narrow(0, 0, kept).sqrt();
  LoraFactors best;
  best.b_or = at::mm(q_b_, u.narrow(1, 0, kept)) * root;
  best.a_ri = root.unsqueeze(1) * at::mm(vt.narrow(0, 0, kept), q_a_.t());
  return WithRank(best, r);
}

}  // namespace fedalt
