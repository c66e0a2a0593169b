// The best low-rank approximation of a sum of products against a dense singular value decomposition of the formed sum.
//
// kTolerance is a relative Frobenius norm. Where the r-th singular value and the next are one the best approximation is not unique,
// so there it is the distance from the sum that must be the least.
#include "fed/factors.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace fedalt {
namespace {

constexpr double kTolerance = 1e-6;

at::Tensor Drawn(int64_t rows, int64_t columns, uint64_t what) {
  const RandomStream stream(3, RandomPurpose::kData, {what});
  at::Tensor values = at::empty({rows, columns}, at::kDouble);
  for (int64_t i = 0; i < values.numel(); ++i) {  // normal enough: a sum of four uniforms
    double sum = -2.0;
    for (uint64_t j = 0; j < 4; ++j) sum += stream.Uniform(4 * static_cast<uint64_t>(i) + j);
    values.data_ptr<double>()[i] = sum;
  }
  return values;
}

/// `n` terms of rank `r` whose sum of products has the singular values `spectrum(i)`, i < n r.
template <typename Spectrum>
std::vector<LoraFactors> WithSpectrum(int64_t n, int64_t r, int64_t out, int64_t in, const Spectrum& spectrum) {
  const at::Tensor u = std::get<0>(at::linalg_qr(Drawn(out, n * r, 1))), v = std::get<0>(at::linalg_qr(Drawn(in, n * r, 2)));
  at::Tensor mixed = std::get<0>(at::linalg_qr(Drawn(n * r, n * r, 3)));  // so that no term is a singular direction
  at::Tensor s = at::empty({n * r}, at::kDouble);
  for (int64_t i = 0; i < n * r; ++i) s.data_ptr<double>()[i] = spectrum(i);
  const at::Tensor b = at::mm(u * s, mixed), a = at::mm(mixed.t(), v.t());
  std::vector<LoraFactors> terms;
  for (int64_t j = 0; j < n; ++j) terms.push_back({a.narrow(0, j * r, r).clone(), b.narrow(1, j * r, r).clone()});
  return terms;
}

std::vector<LoraFactors> Random(int64_t n, int64_t r, int64_t out, int64_t in) {
  std::vector<LoraFactors> terms;
  for (int64_t j = 0; j < n; ++j) {
    const auto what = static_cast<uint64_t>(10 + 2 * j);
    terms.push_back({Drawn(r, in, what), Drawn(out, r, what + 1)});
  }
  return terms;
}

void ExpectBest(const std::vector<LoraFactors>& terms, const ProductSum& sum, const std::vector<double>& weights, int64_t r,
                const std::string& what) {
  at::Tensor formed = at::zeros({terms[0].b_or.size(0), terms[0].a_ri.size(1)}, at::kDouble);
  for (size_t j = 0; j < terms.size(); ++j) formed += weights[j] * at::mm(terms[j].b_or, terms[j].a_ri);
  const auto [u, s, vt] = at::linalg_svd(formed, /*full_matrices=*/false);
  const int64_t kept = std::min(r, s.size(0));
  const at::Tensor dense = at::mm(u.narrow(1, 0, kept) * s.narrow(0, 0, kept), vt.narrow(0, 0, kept));

  const LoraFactors best = sum.Best(weights, r);
  ASSERT_EQ(best.a_ri.size(0), r);
  ASSERT_EQ(best.b_or.size(1), r);
  const at::Tensor product = at::mm(best.b_or, best.a_ri);
  const double scale = formed.norm().item<double>();
  EXPECT_LE((formed - product).norm().item<double>(), (formed - dense).norm().item<double>() + 1e-9 * scale) << what;
  const bool unique = kept == s.size(0) || (s[kept - 1] - s[kept]).item<double>() > 1e-9 * s[0].item<double>() ||
                      s[kept - 1].item<double>() < 1e-9 * s[0].item<double>();
  if (unique) {
    EXPECT_LE((product - dense).norm().item<double>(), kTolerance * dense.norm().item<double>()) << what;
  }
  // Shared out evenly: column i of B and row i of A have the norm sqrt(s_i).
  for (int64_t i = 0; i < kept; ++i) {
    EXPECT_NEAR(best.b_or.select(1, i).norm().item<double>(), std::sqrt(s[i].item<double>()), 1e-5 * std::sqrt(scale)) << what;
    EXPECT_NEAR(best.a_ri.select(0, i).norm().item<double>(), std::sqrt(s[i].item<double>()), 1e-5 * std::sqrt(scale)) << what;
  }
}

std::vector<double> Uniform(size_t n) {
  return std::vector<double>(n, 1.0 / static_cast<double>(n));
}

class ProductSumTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
};

TEST_F(ProductSumTest, SmallSumsEqualTheDenseDecomposition) {
  for (const int64_t n : {1, 2, 5}) {
    const std::vector<LoraFactors> terms = Random(n, 3, 20, 14);
    const ProductSum sum(terms);
    for (const int64_t r : {1, 3, 8, 20}) ExpectBest(terms, sum, Uniform(terms.size()), r, absl::StrCat(n, " terms, r ", r));
  }
}

TEST_F(ProductSumTest, ReadersWithOtherWeightsShareTheWork) {
  for (const int64_t n : {4, 40}) {  // 40: the iteration
    const std::vector<LoraFactors> terms = Random(n, 6, 260, 240);
    const ProductSum sum(terms);
    for (const size_t reader : {0u, 3u}) {
      std::vector<double> weights(terms.size());
      for (size_t j = 0; j < weights.size(); ++j) weights[j] = j == reader ? 0.0 : 0.1 + static_cast<double>(j * 7 % 5);
      ExpectBest(terms, sum, weights, 6, absl::StrCat(n, " terms, reader ", reader));
    }
  }
}

TEST_F(ProductSumTest, TheIterationEqualsTheDenseDecompositionWhateverTheSpectrum) {
  const int64_t n = 32, r = 8, d = 400;  // n r = 256 > kDense
  static_assert(256 > ProductSum::kDense);
  const std::vector<std::pair<std::string, std::function<double(int64_t)>>> spectra = {
      {"falls fast", [](int64_t i) { return std::pow(0.7, i); }},
      {"falls slowly", [](int64_t i) { return std::pow(0.99, i); }},
      {"hardly falls", [](int64_t i) { return 1.0 - 1e-4 * static_cast<double>(i); }},
      {"power law", [](int64_t i) { return 1.0 / static_cast<double>(i + 1); }},
      {"flat", [](int64_t) { return 2.5; }},
      {"a step right behind r", [](int64_t i) { return i < 8 ? 3.0 : 2.0; }},
      {"a small step right behind r", [](int64_t i) { return i < 8 ? 1.0 : 0.999; }},
      {"a step within r", [](int64_t i) { return i < 5 ? 1.0 : 1e-3; }},
      {"of rank 5", [](int64_t i) { return i < 5 ? 1.0 + static_cast<double>(i) : 0.0; }},
      {"spread over ten decades", [](int64_t i) { return std::pow(10.0, -static_cast<double>(i) / 25.0); }},
  };
  for (const auto& [name, spectrum] : spectra) {
    const std::vector<LoraFactors> terms = WithSpectrum(n, r, d, d + 10, spectrum);
    ExpectBest(terms, ProductSum(terms), std::vector<double>(n, 1.0), r, name);
  }
  const std::vector<LoraFactors> terms = Random(n, r, d, d + 10);
  ExpectBest(terms, ProductSum(terms), Uniform(terms.size()), r, "unrelated factors");
}

TEST_F(ProductSumTest, ALowerRankIsPaddedWithZeros) {
  std::vector<LoraFactors> terms = Random(1, 2, 20, 14);
  terms.push_back(terms[0]);
  terms.push_back({terms[0].a_ri, at::zeros_like(terms[0].b_or)});  // before its first step a site's B is zero
  const LoraFactors best = ProductSum(terms).Best(Uniform(3), 5);
  ExpectBest(terms, ProductSum(terms), Uniform(3), 5, "rank 2");
  EXPECT_LE(best.b_or.narrow(1, 2, 3).abs().max().item<double>(), 1e-7);
  const LoraFactors nothing = ProductSum({terms[2]}).Best({1.0}, 3);
  EXPECT_EQ(nothing.b_or.abs().max().item<double>(), 0.0);
  EXPECT_TRUE(at::isfinite(nothing.a_ri).all().item<bool>());
}

TEST(Factors, StacksAndInnerProductsNeedNoFormedProduct) {
  const std::vector<LoraFactors> terms = Random(3, 2, 9, 7);
  const LoraFactors stack = Stacked(terms, {0.5, 0.0, 2.0});
  const at::Tensor want = 0.5 * at::mm(terms[0].b_or, terms[0].a_ri) + 2.0 * at::mm(terms[2].b_or, terms[2].a_ri);
  EXPECT_LE((at::mm(stack.b_or, stack.a_ri) - want).abs().max().item<double>(), 1e-12);
  EXPECT_NEAR(InnerProduct(terms[0], terms[1]),
              (at::mm(terms[0].b_or, terms[0].a_ri) * at::mm(terms[1].b_or, terms[1].a_ri)).sum().item<double>(), 1e-12);
  const LoraFactors longer = WithRank(terms[0], 4), cut = WithRank(longer, 2);
  EXPECT_LE((at::mm(longer.b_or, longer.a_ri) - at::mm(terms[0].b_or, terms[0].a_ri)).abs().max().item<double>(), 1e-15);
  EXPECT_TRUE(at::equal(cut.a_ri, terms[0].a_ri) && at::equal(cut.b_or, terms[0].b_or));
}

TEST(Factors, FlatContributionsSplitAndJoin) {
  const std::vector<AdaptedModule> modules = {{"q", 0, 7, 9}, {"v", 1, 5, 3}};
  const at::Tensor theta = at::arange(2 * (7 + 9 + 5 + 3), at::kFloat);
  EXPECT_EQ(RankOf(theta, modules), 2);
  const std::vector<LoraFactors> factors = SplitFactors(theta, modules);
  EXPECT_EQ(factors[1].a_ri[1][0].item<double>(), 2 * (7 + 9) + 5);
  EXPECT_TRUE(at::equal(JoinFactors(factors), theta.to(at::kDouble)));
  const NamedTensors named = NamedFactors(factors, modules);
  EXPECT_EQ(named[3].first, "v.lora_B.weight");
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor flat = Flatten(Unflatten(theta.to(dtype), named));
    EXPECT_EQ(flat.scalar_type(), dtype);
    EXPECT_TRUE(at::equal(flat, theta.to(dtype)));
  }
}

}  // namespace
}  // namespace fedalt
