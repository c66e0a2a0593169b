#include "fed/factors.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace fedalt {
namespace {

int64_t WidthOf(const std::vector<AdaptedModule>& modules) {
  int64_t width = 0;
  for (const AdaptedModule& module : modules) width += module.in_features + module.out_features;
  return width;
}

/// U, S, V^T of a small dense matrix.
std::tuple<at::Tensor, at::Tensor, at::Tensor> Svd(const at::Tensor& matrix) {
  return at::linalg_svd(matrix, /*full_matrices=*/false);
}

/// The r greatest singular triples of a large matrix by subspace iteration. The start is a fixed pseudo-random matrix.
std::tuple<at::Tensor, at::Tensor, at::Tensor> LeadingSvd(const at::Tensor& matrix, int64_t r) {
  constexpr int64_t kOversampling = 16, kMostIterations = 200;
  constexpr double kStill = 1e-13;
  const int64_t columns = std::min(r + kOversampling, std::min(matrix.size(0), matrix.size(1)));
  const at::Tensor index = at::arange(matrix.size(1) * columns, matrix.options());
  at::Tensor q = std::get<0>(at::linalg_qr(at::mm(matrix, at::sin(index * index * 0.7 + index).view({matrix.size(1), columns}))));
  double before = -1.0;
  for (int64_t i = 0; i < kMostIterations; ++i) {
    q = std::get<0>(at::linalg_qr(at::mm(matrix.t(), q)));
    const at::Tensor y = at::mm(matrix, q);
    q = std::get<0>(at::linalg_qr(y));
    const at::Tensor values = std::get<1>(Svd(at::mm(q.t(), matrix)));
    const double now = values.narrow(0, 0, std::min(r, values.size(0))).square().sum().item<double>();
    if (std::abs(now - before) <= kStill * now) break;
    before = now;
  }
  const auto [u, s, vt] = Svd(at::mm(q.t(), matrix));
  return {at::mm(q, u), s, vt};
}

}  // namespace

int64_t RankOf(const at::Tensor& theta, const std::vector<AdaptedModule>& modules) {
  const int64_t width = WidthOf(modules);
  FEDALT_CHECK(width > 0 && theta.numel() > 0 && theta.numel() % width == 0, "A and B of every module, of one rank");
  return theta.numel() / width;
}

std::vector<LoraFactors> SplitFactors(const at::Tensor& theta, const std::vector<AdaptedModule>& modules) {
  const int64_t r = RankOf(theta, modules);
  std::vector<LoraFactors> factors;
  int64_t begin = 0;
  const at::Tensor values = theta.to(at::kDouble);
  for (const AdaptedModule& module : modules) {
    LoraFactors pair;
    pair.a_ri = values.narrow(0, begin, r * module.in_features).view({r, module.in_features});
    begin += r * module.in_features;
    pair.b_or = values.narrow(0, begin, module.out_features * r).view({module.out_features, r});
    begin += module.out_features * r;
    factors.push_back(std::move(pair));
  }
  return factors;
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
  return (at::mm(i.b_or.t(), j.b_or) * at::mm(i.a_ri, j.a_ri.t())).sum().item<double>();
}

ProductSum::ProductSum(const std::vector<LoraFactors>& terms) {
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
  std::vector<at::Tensor> scales;
  for (size_t j = 0; j < weights.size(); ++j) scales.push_back(at::full({ranks_[j]}, weights[j], at::kDouble));
  const at::Tensor core = at::mm(r_b_ * at::cat(scales), r_a_.t());
  const bool dense = std::min(core.size(0), core.size(1)) <= kDense;
  const auto [u, s, vt] = dense ? Svd(core) : LeadingSvd(core, r);
  const int64_t kept = std::min(r, s.size(0));
  const at::Tensor root = s.narrow(0, 0, kept).sqrt();
  LoraFactors best;
  best.b_or = at::mm(q_b_, u.narrow(1, 0, kept)) * root;
  best.a_ri = root.unsqueeze(1) * at::mm(vt.narrow(0, 0, kept), q_a_.t());
  return WithRank(best, r);
}

}  // namespace fedalt
