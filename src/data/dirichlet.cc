#include "data/dirichlet.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <numeric>

#include "base/check.h"

namespace fedalt {
namespace {

/// The draws of a stream one after the other, in (0, 1].
class Draws {
 public:
  explicit Draws(const RandomStream& stream) : stream_(stream) {}
  double Uniform() { return 1.0 - stream_.Uniform(next_++); }
  double Normal() {  // Box and Muller
    const double radius = std::sqrt(-2.0 * std::log(Uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * Uniform());
  }

 private:
  const RandomStream& stream_;
  uint64_t next_ = 0;
};

}  // namespace

double LogGammaDraw(const RandomStream& stream, double shape) {
  FEDALT_CHECK(shape > 0.0 && std::isfinite(shape), "the shape is checked where it is read");
  Draws draws(stream);
  // Gamma(shape) is Gamma(shape + 1) times U^(1 / shape).
  const double boost = shape < 1.0 ? std::log(draws.Uniform()) / shape : 0.0;
  const double d = (shape < 1.0 ? shape + 1.0 : shape) - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  while (true) {
    const double x = draws.Normal();
    const double root = 1.0 + c * x;
    if (root <= 0.0) continue;
    const double log_v = 3.0 * std::log(root);
    const double log_u = std::log(draws.Uniform());
    if (log_u < 0.5 * x * x + d - d * std::exp(log_v) + d * log_v) return boost + std::log(d) + log_v;
  }
}

std::vector<double> DirichletShares(const std::vector<RandomStream>& streams, double alpha) {
  FEDALT_CHECK(!streams.empty(), "at least one share");
  std::vector<double> shares;
  shares.reserve(streams.size());
  for (const RandomStream& stream : streams) shares.push_back(LogGammaDraw(stream, alpha));
  const double largest = *std::max_element(shares.begin(), shares.end());
  for (double& share : shares) share = std::exp(share - largest);
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= sum;
  return shares;
}

}  // namespace fedalt
